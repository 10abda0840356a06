"""What it brings to say when a result is wanted.

``python -m benchmarks.lateness`` replays days of 600 worksets (`benchmarks.days`), a fifth of them
due after two to six lengths of their run, by rules that know it and by rules that do not. Prints
one JSON object: for each load and rule the share of the due ones that end late, the mean of their
hours late, and cost and mean turnaround of all worksets by those of the plan that does not know.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from statistics import mean
from typing import Any, Final

from benchmarks.days import LOADS, day
from benchmarks.replay import DaylilyRule, Plan, Policy, Site, Start, replay
from benchmarks.trace import Cluster, Workset

SHARE: Final = 0.2
"""Of all worksets, those that are due."""
LENGTHS: Final = (2.0, 6.0)
"""From when it is found until it is due, in lengths of its run on a usual cluster."""


def dues(site: Site, seed: int) -> dict[int, float]:
    """By the number of a workset, the hours after it was found at which it is due."""
    draw, found = random.Random(seed), {}
    for n, record in sorted(site.records.items()):
        if draw.random() < SHARE:
            found[n] = draw.uniform(*LENGTHS) * site.costs.usual_hours(record)
    return found


def watched(rule: type[Policy], ends: list[tuple[Workset, float]], seed: int) -> type[Policy]:
    """The rule, which notes when each workset ends; `seed` of what is due, if it is to know."""

    class Watched(rule):  # type: ignore[valid-type, misc]
        def __init__(self, site: Site) -> None:
            super().__init__(site)
            for n, hours in dues(site, seed).items() if seed else ():
                record = site.records[n]
                due = record.created_at + timedelta(hours=hours)
                site.records[n] = record.model_copy(update={"due": due})

        def starts(self, now_s: float) -> Iterator[Start]:
            for workset, n in super().starts(now_s):
                hours = workset.vcpu_hours / self.site.clusters[n].vcpus_a_slot
                ends.append((workset, now_s + hours * 3600))
                yield workset, n

    return Watched


def one_day(
    trace: Sequence[Workset], clusters: Sequence[Cluster], rule: type[Policy], seed: int, *,
    knows: bool,
) -> dict[str, float]:  # fmt: skip
    ends: list[tuple[Workset, float]] = []
    found: dict[str, Any] = replay(trace, clusters, watched(rule, ends, seed if knows else 0))
    due = dues(Site(trace, clusters), seed)
    late_h = [
        max(0.0, (end - workset.arrival_s) / 3600 - due[workset.n])
        for workset, end in ends
        if workset.n in due
    ]
    return {
        "late": mean(hours > 0 for hours in late_h),
        "late_h": mean(late_h),
        "cost": found["cost_usd"],
        "turnaround": found["turnaround_s"]["mean"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lateness", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="days for each load (4)")
    options = parser.parse_args()
    rules = {
        "plan": (Plan, True),
        "plan_without_due": (Plan, False),
        "daylily_rule": (DaylilyRule, False),
    }
    told: dict[str, dict[str, dict[str, float]]] = {}
    for load in LOADS:
        days = [(seed, day(seed, load)) for seed in range(1, options.seeds + 1)]
        found = {
            name: [one_day(*one, rule, seed, knows=knows) for seed, one in days]
            for name, (rule, knows) in rules.items()
        }
        base = found["plan_without_due"]
        told[f"{load:g}"] = {
            name: {
                "late": round(mean(one["late"] for one in some), 3),
                "late_h": round(mean(one["late_h"] for one in some), 2),
                "cost": round(
                    mean(a["cost"] / b["cost"] for a, b in zip(some, base, strict=True)), 3
                ),
                "turnaround": round(
                    mean(
                        a["turnaround"] / b["turnaround"] for a, b in zip(some, base, strict=True)
                    ),
                    3,
                ),
            }
            for name, some in found.items()
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
