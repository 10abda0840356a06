"""Replay a trace of worksets against the real placement, beside two simpler rules.

  python -m benchmarks.placement [--trace T.csv --clusters C.yaml] [--json OUT]
  python -m benchmarks.placement --generate 1000 --seed 7 --trace T.csv --clusters C.yaml

Policies: `plan` is worksets.placement.plan, every time something arrives or ends; `fcfs` gives a
free slot to the oldest workset that fits, on the first such cluster of the file; `daylily_rule`
takes priority, then age, on the cluster with the lowest 10 x price + |0.6 - utilisation|.

Trace: CSV with the columns arrival_s, workset_id, customer_id, priority (urgent, normal, low),
vcpu_hours, memory_gb, bytes, region, reference. Blank: 0, normal, or no demand. A workset runs
for vcpu_hours / (vcpus / max_concurrent_worksets) hours.

Clusters: a YAML list of {name, region, vcpus, memory_gb, max_concurrent_worksets,
cost_per_vcpu_hour, references}. memory_gb is what one workset may use there at the most: a
workset fits if it needs no more, it is not divided by the slots. No references: all are there.

cost_usd: vCPU-hours x price, and $0.02 a GB between regions. makespan_s: first arrival to last
end. turnaround_s: arrival to end, mean and p95. wait_p50_s,
wait_p95_s: arrival to start, by priority. never_started: worksets that nothing
fits. jain: Jain's index over the customers, each with the slot-seconds it had by those it was
due in a max-min fair sharing of the slots in use, while it had anything running or waiting.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from benchmarks.replay import DaylilyRule, FirstComeFirstServed, Plan, Policy, replay
from benchmarks.trace import generate, read_clusters, read_trace

HERE = Path(__file__).parent
POLICIES: dict[str, type[Policy]] = {
    "plan": Plan,
    "fcfs": FirstComeFirstServed,
    "daylily_rule": DaylilyRule,
}


def compare(trace: Path, clusters: Path) -> dict[str, Any]:
    worksets, places = read_trace(trace), read_clusters(clusters)
    found = {name: replay(worksets, places, of) for name, of in POLICIES.items()}
    turnaround = {name: figures.pop("turnaround_s") for name, figures in found.items()}
    return {"policies": found, "turnaround_s": turnaround}


def table(result: dict[str, Any]) -> str:
    """The figures side by side, waits in minutes."""
    lines = [f"{'':24}" + "".join(f"{name:>15}" for name in result["policies"])]
    found = list(result["policies"].values())

    def line(label: str, values: list[Any]) -> None:
        lines.append(f"{label:24}" + "".join(f"{value:>15}" for value in values))

    line("cost, US dollars", [f"{p['cost_usd']:,.2f}" for p in found])
    line("makespan, hours", [f"{p['makespan_s'] / 3600:.2f}" for p in found])
    for key in ("mean", "p95"):
        hours = [one[key] / 3600 for one in result["turnaround_s"].values()]
        line(f"turnaround {key}, hours", [f"{h:.2f}" for h in hours])
    for key, label in (("wait_p50_s", "p50"), ("wait_p95_s", "p95")):
        for priority in found[0][key]:
            waits = [f"{p[key][priority] / 60:.1f}" for p in found]
            line(f"wait {label} {priority}, min", waits)
    line("Jain's index", [f"{p['jain']:.3f}" for p in found])
    line("never started", [p["never_started"] for p in found])
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trace", type=Path, default=HERE / "example_trace.csv")
    parser.add_argument("--clusters", type=Path, default=HERE / "example_clusters.yaml")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--generate", type=int, metavar="N", help="write a trace of N worksets")
    parser.add_argument("--seed", type=int, default=1, help="of --generate")
    options = parser.parse_args()
    if options.generate:
        generate(options.trace, options.clusters, options.generate, options.seed)
        print(f"written: {options.trace}, {options.clusters}")
        return
    began = time.perf_counter()
    result = compare(options.trace, options.clusters)
    print(table(result))
    print(f"replayed in {time.perf_counter() - began:.1f} s")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
