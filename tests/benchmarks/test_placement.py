"""The simulator: the figures are right, whatever the files look like, and the plan's are better."""

import json
import sys

import pytest

from benchmarks import placement
from benchmarks.placement import HERE, POLICIES, compare
from benchmarks.trace import COLUMNS, generate, read_clusters, read_trace

CLUSTERS = """
- {name: slow, region: us, vcpus: 20, memory_gb: 64, max_concurrent_worksets: 2,
   cost_per_vcpu_hour: 0.02, references: [hg38]}
- {name: fast, region: eu, vcpus: 100, memory_gb: 256, max_concurrent_worksets: 1,
   cost_per_vcpu_hour: 0.05}
"""
HEADER = ", ".join(COLUMNS)


@pytest.fixture
def figures(tmp_path):
    def run(*lines, clusters=CLUSTERS):
        (tmp_path / "t.csv").write_text("\n".join([HEADER, *lines]) + "\n")
        (tmp_path / "c.yaml").write_text(clusters)
        return compare(tmp_path / "t.csv", tmp_path / "c.yaml")["policies"]

    return run


def test_one_workset_by_hand(figures):
    found = figures("100, w, acme, normal, 200, 8, 50e9, us, hg38")
    for name in ("plan", "fcfs"):
        # $4 on slow, where it takes 200 / 10 h; $10 + 50 GB × $0.02 on fast
        assert found[name] == {
            "cost_usd": 4.0, "makespan_s": 20 * 3600, "wait_p50_s": {"normal": 0},
            "wait_p95_s": {"normal": 0}, "jain": 1.0, "never_started": 0,
        }  # fmt: skip


def test_transfer_is_paid_where_the_region_is_another(figures):
    (found,) = {f["cost_usd"] for f in figures("0, w, a, normal, 10, 128, 100e9, us, b37").values()}
    assert found == 10 * 0.05 + 100 * 0.02


def test_waits_makespan_and_priority_by_hand(figures):
    """Three worksets of 10 h for one slot: the urgent one, though it came last, goes second."""
    found = figures(
        "0, w1, a, normal, 1000, 128, 0, , ",
        "0, w2, a, normal, 1000, 128, 0, , ",
        "60, w3, a, urgent, 1000, 128, 0, , ",
    )
    assert found["plan"]["makespan_s"] == found["fcfs"]["makespan_s"] == 30 * 3600
    assert found["plan"]["wait_p95_s"] == {"urgent": 36000 - 60, "normal": 72000}
    assert found["fcfs"]["wait_p95_s"] == {"urgent": 72000 - 60, "normal": 36000}
    assert found["daylily_rule"]["wait_p95_s"] == found["plan"]["wait_p95_s"]


def test_what_nothing_fits_never_starts_and_blocks_nobody(figures):
    for found in figures(
        "0, huge, a, urgent, 1, 512, 0, us, hg38",
        "0, unknown, a, urgent, 1, 8, 0, us, t2t",
        "0, fits, b, low, 20, 8, 0, us, hg38",
        clusters=CLUSTERS.replace("cost_per_vcpu_hour: 0.05}", "references: [hg38, b37]}"),
    ).values():
        assert found["never_started"] == 2
        assert found["wait_p50_s"] == {"low": 0}


def test_blank_fields_and_odd_files(figures, tmp_path):
    for found in figures(
        "", ",,,,,,,,", "5,,,,,,,,", "1, w, , URGENT, 2, , , nowhere, ", "7, w, , soon, 3, , , , "
    ).values():
        assert found["never_started"] == 0
        assert set(found["wait_p50_s"]) == {"urgent", "normal"}
    assert figures()["plan"]["never_started"] == 0, "no worksets at all"
    for found in figures("0, w, a, normal, 1, 1, 1, us, hg38", clusters="[]").values():
        assert found["never_started"] == 1
    with pytest.raises(SystemExit, match="vcpu_hours: 'many'"):
        figures("0, w, a, normal, many, 1, 1, us, hg38")


def test_a_generated_trace_is_the_same_for_the_same_seed(tmp_path):
    files = [(tmp_path / f"{n}.csv", tmp_path / f"{n}.yaml") for n in range(3)]
    for (trace, clusters), seed in zip(files, (7, 7, 8), strict=True):
        generate(trace, clusters, 50, seed)
    texts = [trace.read_text() + clusters.read_text() for trace, clusters in files]
    assert texts[0] == texts[1] != texts[2]
    assert len(read_trace(files[0][0])) == 50 and len(read_clusters(files[0][1])) == 12


def test_the_example_runs_without_arguments_and_the_plan_is_the_better_one(
    tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["placement", "--json", str(out)])
    placement.main()
    found = json.loads(out.read_text())["policies"]
    assert list(found) == list(POLICIES)
    assert "Jain's index" in capsys.readouterr().out
    plan, fcfs = found["plan"], found["fcfs"]
    assert plan["cost_usd"] < 0.95 * fcfs["cost_usd"]
    assert plan["jain"] > max(0.9, fcfs["jain"]), "over the day that the example is"
    assert plan["makespan_s"] < 1.1 * fcfs["makespan_s"]
    assert plan["wait_p95_s"]["urgent"] < 0.2 * fcfs["wait_p95_s"]["urgent"]
    assert plan["never_started"] == fcfs["never_started"] == 0
    assert len(read_trace(HERE / "example_trace.csv")) >= 500


def test_showing_the_plan_only_what_can_start_changes_nothing(tmp_path, monkeypatch):
    """The replay leaves out worksets that cannot start; with all of them the figures are equal."""
    from benchmarks import replay

    trace, clusters = tmp_path / "t.csv", tmp_path / "c.yaml"
    generate(trace, clusters, 150, 3)
    worksets, places = read_trace(trace), read_clusters(clusters)[:4]
    few = replay.replay(worksets, places, replay.Plan)

    class All(replay.Plan):
        def shown(self, slots, now_s):
            return {
                f"{workset.n:08d}": (key, workset)
                for key, line in self.lines.items()
                for workset in line
            }

    assert replay.replay(worksets, places, All) == few
    assert few["wait_p95_s"]["low"] > 3600, "too little waiting to compare anything"


@pytest.mark.parametrize("seed", [0, 3, 8])
def test_no_worse_than_daylilys_rule_in_anything_and_fair_in_time(tmp_path, seed):
    """An overloaded day: dollars, the last end, the slow results, and hours by customer."""
    trace, clusters = HERE / "example_trace.csv", HERE / "example_clusters.yaml"
    if seed:
        trace, clusters = tmp_path / "t.csv", tmp_path / "c.yaml"
        generate(trace, clusters, 1000, seed)
    found = compare(trace, clusters)
    plan, rule = (found["policies"][name] for name in ("plan", "daylily_rule"))
    assert plan["cost_usd"] <= rule["cost_usd"]
    assert plan["makespan_s"] <= rule["makespan_s"]
    slow = found["turnaround_s"]
    assert slow["plan"]["p95"] <= slow["daylily_rule"]["p95"]
    assert plan["jain"] >= 0.95
    assert plan["wait_p95_s"]["urgent"] <= 1800, "what is urgent waits for no backlog"
