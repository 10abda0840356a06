"""What a workset is expected to need, and how finished ones correct that."""

from datetime import UTC, datetime, timedelta
from math import ceil
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.clusters import LocalCluster
from blocks.state_db import SQLiteStateDB
from tasks.settle import _learn
from worksets.config import MAX_MINUTES, Pipeline
from worksets.estimates import (
    BOUNDS,
    KEPT,
    KEPT_THERE,
    Ratio,
    correction,
    estimate,
    paces,
    remembered,
    taken,
    with_ratio,
)
from worksets.growth import Asks
from worksets.record import Estimates, Step, StepRun, WorksetRecord
from worksets.spec import parse_spec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TABLE = Pipeline(
    run=("true",),
    vcpus=16,
    memory_gb=32,
    memory_gb_per_gb=0.5,
    vcpu_hours_base=4,
    vcpu_hours_per_gb=2,
    vcpu_hours_per_sample=10,
    vcpu_hours_per_coverage=0.5,
    storage_factor=4,
)
SILENT = TABLE.model_copy(update={"vcpus": 0, "memory_gb": 0, "memory_gb_per_gb": 0})
"""Says nothing of what a job asks for."""
SPEC = parse_spec(
    b"reference_genome: hg38\nestimated_coverage: 20\nsamples:\n"
    b"- {sample_id: a, fastq_r1: a1.fq.gz, fastq_r2: a2.fq.gz, coverage: 40}\n"
    b"- {sample_id: b, fastq_r1: b1.fq.gz}\n"
).spec


def all_took(*ratios):
    return [Ratio(ratio) for ratio in ratios]


SIZES = {"a1.fq.gz": 30 * 10**9, "a2.fq.gz": 34 * 10**9, "b1.fq.gz": 10 * 10**9}


def test_an_estimate_is_linear_in_gb_samples_and_coverage():
    found = estimate(SPEC, TABLE, SIZES)
    assert found.vcpu_hours == pytest.approx(4 + 2 * 74 + 10 * 2 + 0.5 * (40 + 20))
    assert found.memory_gb == pytest.approx(32 + 0.5 * 64), "by the largest sample"
    assert found.storage_gb == pytest.approx(4 * 74)
    assert (found.vcpus, found.correction) == (16, 1.0)
    assert found.duration_hours(1) == pytest.approx(found.vcpu_hours / 16)


def test_time_and_disk_grow_with_all_files_and_what_is_not_said_is_nothing():
    asks = {
        "minutes": 10,
        "minutes_per_gb": 2.5,
        "gpus": 2,
        "scratch_gb": 5,
        "scratch_gb_per_gb": 3,
    }
    found = estimate(SPEC, TABLE.model_copy(update=asks), SIZES)
    gb = sum(SIZES.values()) / 1e9
    assert found.minutes == ceil(10 + 2.5 * gb) and found.gpus == 2
    assert found.scratch_gb == pytest.approx(5 + 3 * gb)
    endless = estimate(SPEC, TABLE.model_copy(update={"minutes_per_gb": 500_000.0}), SIZES)
    assert endless.minutes == MAX_MINUTES
    silent = estimate(SPEC, SILENT, SIZES)
    assert (silent.vcpus, silent.memory_gb, silent.minutes, silent.gpus) == (0, 0, 0, 0)
    assert silent.scratch_gb == 0


def test_a_correction_scales_the_time_and_nothing_else():
    plain, longer = estimate(SPEC, TABLE, SIZES), estimate(SPEC, TABLE, SIZES, all_took(*[1.5] * 4))
    assert (plain.learned_from, longer.learned_from) == (0, 4)
    assert estimate(SPEC, TABLE, SIZES, all_took(1.5, 1.5)) == plain, "too few to say anything"
    assert longer.vcpu_hours == pytest.approx(1.5 * plain.vcpu_hours)
    assert (longer.memory_gb, longer.storage_gb) == (plain.memory_gb, plain.storage_gb)


def test_without_a_table_or_sizes_nothing_is_made_up():
    assert estimate(SPEC, Pipeline(run=("true",)), SIZES).vcpu_hours == 0
    assert estimate(SPEC, TABLE, None).vcpu_hours == pytest.approx(4 + 20 + 30)


def test_a_few_observations_are_needed_and_an_odd_one_changes_little():
    assert correction(all_took(3.0, 3.0)) == 1.0
    assert correction(all_took(1.2, 1.3, 40.0)) == 1.3


@given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(0, 99)), max_size=150))
def test_a_correction_is_bounded_and_the_memory_of_it_too(seen):
    note = ""
    for ratio, cluster in seen:
        note = with_ratio(note, ratio, f"c{cluster}")
    kept = remembered(note)
    last = tuple(ratio for ratio, _ in seen[-KEPT:])
    assert tuple(ratio.taken for ratio in kept[-KEPT:]) == pytest.approx(last, rel=1e-3)
    assert BOUNDS[0] <= correction(kept) <= BOUNDS[1]
    assert len(note.encode()) < 1024, "a unit of writing"
    assert all(1 / 16 <= pace <= 16 for pace in paces(kept, [f"c{n}" for n in range(100)]).values())


def noted(*seen):
    note = ""
    for ratio, cluster in seen:
        note = with_ratio(note, ratio, cluster)
    return remembered(note)


@given(st.floats(0.3, 3.9), st.floats(0.3, 3.9), st.permutations([*"aaabbbbbbb"]))
def test_what_a_cluster_is_expected_to_take_is_what_it_has_taken(fast, slow, order):
    """Whichever of the two has had more of them, and in whatever order."""
    kept = noted(*((fast if name == "a" else slow, name) for name in order))
    found = paces(kept, ["a", "b", "other"])
    for name, took in (("a", fast), ("b", slow)):
        assert correction(kept) * found.get(name, 1.0) == pytest.approx(took, rel=0.12)
    assert "other" not in found


def test_a_pace_needs_three_and_a_difference_and_outlives_what_others_finish():
    assert paces(noted(*[(1.0, "a")] * 9, *[(2.0, "b")] * 2), ["a", "b"]) == {}
    assert paces(noted(*[(1.0, "a")] * 9, *[(1.08, "b")] * 9), ["a", "b"]) == {}, "chance"
    assert paces(noted(*[(2.0, "b")] * 9, *[(1.0, "a")] * 100), ["a", "b"]) == {"b": 2.0}
    assert len(noted(*[(2.0, "b")] * 9, *[(1.0, "a")] * 100)) == KEPT + KEPT_THERE


def test_what_cannot_be_read_of_a_note_is_none_of_it():
    """All pipelines are looked up together: one note must not stop the others."""
    kept = remembered("1.5@aa x@aa nan@bb @ inf 1.5 1.5@\0")
    assert [ratio.taken for ratio in kept] == [1.5] * 3 and correction(kept) == 1.5


def test_a_note_of_before_there_were_paces_corrects_still():
    old = remembered("1.5 1.5 1.5 1.5")
    assert correction(old) == 1.5 and paces(old, ["a"]) == {}


def finished(name, hours, estimates, runs=1):
    step = StepRun(
        step=Step.RUN, attempt=1, cluster_name="c1", exit_code=0, started_at=NOW,
        ended_at=NOW + timedelta(hours=hours),
    )  # fmt: skip
    return WorksetRecord(
        workset_id=name, pipeline="germline", cluster_name="c1", location="file:///w",
        estimates=estimates, created_at=NOW, updated_at=NOW,
        step_runs=tuple(step.model_copy(update={"attempt": n + 1}) for n in range(runs)),
    )  # fmt: skip


def test_what_says_nothing_teaches_nothing():
    expected = Estimates(vcpu_hours=100)
    assert taken(finished("w", 2, expected), 16) == pytest.approx(0.32)
    assert taken(finished("w", 2, expected, runs=2), 16) is None, "resumed: the rest of a run"
    assert taken(finished("w", 2, Estimates()), 16) is None, "no table"
    assert taken(finished("w", 0, expected), 16) is None
    assert taken(finished("w", 2, Estimates(vcpu_hours=200, correction=2)), 16) == pytest.approx(
        0.32
    ), "against the table, not against what was corrected already"


@pytest.mark.parametrize(("table", "had"), [(TABLE, 16), (SILENT, 32)])
async def test_estimates_learn_from_what_finished_and_settle(tmp_path, table, had):
    """The pipeline takes 1.5 times what its table says, on the vCPUs that its job had."""
    db = SQLiteStateDB(path=str(tmp_path / "state.db"))
    cluster = LocalCluster(cluster_name="c", vcpus_per_workset=32, work_folder=str(tmp_path))

    async def call(function, *arguments):
        return function(*arguments)

    here = SimpleNamespace(
        db=db, call=call, watch=lambda _: SimpleNamespace(cluster=cluster),
        asks_of=lambda _: Asks("a", "b"), settings=SimpleNamespace(pipeline=lambda _: table),
    )  # fmt: skip
    truth = estimate(SPEC, table, SIZES).vcpu_hours * 1.5
    errors = []
    for n in range(8):
        expected = estimate(SPEC, table, SIZES, db.estimate_ratios("germline"))
        errors.append(abs(expected.vcpu_hours / truth - 1))
        await _learn(here, finished(f"w{n}", truth / had, expected))
    assert errors[:3] == pytest.approx([1 / 3] * 3)
    assert errors[3:] == pytest.approx([0] * 5, abs=1e-3)
    assert db.estimate_ratios("rna-seq") == (), "each pipeline for itself"
    for n in range(8):
        db.add_estimate_ratio("germline", 3.0, f"slow{n % 2}")
    assert db.paces(["germline", "rna-seq"], ["c1", "slow0", "slow1", "c3"]) == {
        "c1": {"germline": pytest.approx(2 / 3, rel=0.01)},
        "slow0": {"germline": pytest.approx(4 / 3, rel=0.01)},
        "slow1": {"germline": pytest.approx(4 / 3, rel=0.01)},
    }, "half took 1.5, half 3"
