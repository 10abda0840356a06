"""The planted variants are lawful, apart, and the same in every run; they alone are true."""

import gzip
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.genomes import verify
from examples.genomes.simulate import (
    APART_BP,
    HERE,
    READ_BP,
    Variant,
    genome,
    left_aligned,
    pairs,
    planted,
    with_variants,
)
from examples.simulate import reverse_complement, seeded
from local import settings_file
from worksets.estimates import estimate
from worksets.placement import plan
from worksets.registration import describe, new_record
from worksets.spec import parse_spec

BASES = st.text("ACGT", min_size=1, max_size=4)


@given(st.text("AC", min_size=12, max_size=40), st.data())
def test_left_alignment_keeps_the_sequence_and_can_go_no_further(bases, data):
    at = data.draw(st.integers(5, len(bases) - 5))
    ref, alt = data.draw(
        st.one_of(
            st.tuples(st.just(bases[at]), BASES.map(lambda more: bases[at] + more)),
            st.integers(1, 4).map(lambda size: (bases[at : at + size + 1], bases[at])),
        )
    )
    variant = Variant(at + 1, ref, alt)
    aligned = left_aligned(bases, variant)
    assert with_variants(bases, (aligned,)) == with_variants(bases, (variant,))
    assert left_aligned(bases, aligned) == aligned and aligned.pos <= variant.pos
    # both end otherwise: it could go no further to the left, but for the end of the sequence
    assert aligned.ref[-1] != aligned.alt[-1] or aligned.pos == 1


@pytest.mark.parametrize("reference", ["phix174", "synthetic"])
def test_what_is_planted_is_apart_and_in_order(reference):
    bases = genome(reference)
    variants = planted(reference, "w", "s")
    assert len(variants) > len(bases) / 1500
    for before, after in pairwise(variants):
        assert after.pos - (before.pos + len(before.ref)) >= APART_BP
    for pos, ref, alt in variants:
        assert bases[pos - 1 : pos - 1 + len(ref)] == ref != alt
    kinds = {len(v.ref) - len(v.alt) for v in planted("synthetic", "w", "s")}
    assert 0 in kinds and min(kinds) < 0 < max(kinds)


def test_reads_are_pairs_of_both_strands():
    bases = genome("phix174")
    found = list(pairs(bases, 5, seeded("reads")))
    assert len(found) == round(len(bases) * 5 / (2 * READ_BP))
    forward = sum(first in bases and reverse_complement(second) in bases for first, second in found)
    backward = sum(
        second in bases and reverse_complement(first) in bases for first, second in found
    )
    assert forward + backward == len(found) and 0.3 < forward / len(found) < 0.7


def vcf(path, variants):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"x\t{v.pos}\t.\t{v.ref}\t{v.alt}\t99\tPASS\t.\n" for v in variants]
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.write("".join(["##fileformat=VCFv4.2\n", *rows]))


@pytest.mark.parametrize(
    ("missed", "more", "code", "says"),
    [
        (0, [], 0, "recall 1.0000 precision 1.0000"),
        (6, [], 1, "recall 0.45"),
        (0, [Variant(9, "A", "T")], 1, "precision 0.91"),
    ],
)
def test_verify_counts_what_is_found_and_what_is_not_true(
    tmp_path, capsys, monkeypatch, missed, more, code, says
):
    for sample in ("P1", "P2"):
        truth = planted("phix174", "gw-001-phix174", sample)
        found = list(truth)[: len(truth) - missed // 2]
        place = tmp_path / "results" / "phage-lab" / "gw-001-phix174" / f"{sample}.vcf.gz"
        vcf(place, [*found, *(more if sample == "P1" else [])])
    only = tmp_path / "worksets" / "gw-001-phix174"
    only.mkdir(parents=True)
    work = (HERE / "worksets" / "gw-001-phix174" / "daylily_work.yaml").read_text()
    (only / "daylily_work.yaml").write_text(work)
    argv = ["verify", "--run-dir", str(tmp_path), "--worksets", str(only.parent)]
    monkeypatch.setattr("sys.argv", argv)
    assert verify.main() == code
    assert says in capsys.readouterr().out.splitlines()[-1]
    (tmp_path / "results" / "phage-lab" / "gw-001-phix174" / "P2.vcf.gz").unlink()
    assert verify.main() == 1 and "P2: there is no" in capsys.readouterr().err


def test_each_workset_fits_on_a_cluster_of_the_settings(monkeypatch):
    """Once no cluster took any: the pipeline needs more CPUs than a workset was given."""
    monkeypatch.chdir(HERE.parents[1])
    settings, _, clusters = settings_file.read(HERE / "settings.yaml", Path.cwd())
    views = [cluster.view() for cluster in clusters]
    now = datetime.now(UTC)
    records = []
    for file in sorted((HERE / "worksets").glob("*/daylily_work.yaml")):
        spec = parse_spec(file.read_bytes()).spec
        needs = estimate(spec, settings.pipeline(spec.pipeline), {"a": 50_000_000})
        description = describe(spec, "", 3, estimates=needs)
        records.append(new_record(file.parent.name, f"file://{file.parent}", now, description))
    limits = settings.limits(settings.processor, views)
    decisions = plan(records, views, {}, limits, settings.weights, settings.placement, now)
    assert [one.action for one in decisions] == ["start"] * len(records) != []
