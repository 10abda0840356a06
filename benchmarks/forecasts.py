"""`python -m benchmarks.forecasts --trace T.csv --clusters C.yaml`: how good is the forecast?

A trace is replayed as by `benchmarks.placement`. Whenever worksets arrive, the forecast of the
queue is asked when each will start; when it starts, the two are compared. Real durations are the
expected ones times a log-normal factor of the given spread, drawn from the seed. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.replay import START, Plan, Site, Start, replay
from benchmarks.trace import Cluster, Workset, read_clusters, read_trace
from worksets.forecast import forecast
from worksets.record import Estimates, HistoryEntry, State, WorksetRecord

SHORTEST_S = 60.0
"""Seconds; a shorter wait has no error that anybody would ask for."""


class Foretold(Plan):
    """`Plan`, and what the forecast says of each workset when it arrives."""

    expected_hours: dict[int, float]
    """vCPU-hours of each workset, as they are believed."""
    errors: list[tuple[float, float]]
    """For each workset that waited: the wait in seconds, and how far off its forecast was."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.slot_vcpus = max(1, round(median(c.vcpus_a_slot for c in site.clusters)))
        self.told: dict[int, float] = {}
        self.new: list[Workset] = []
        self.running: dict[int, WorksetRecord] = {}
        for n, record in site.records.items():
            hours = Estimates(vcpus=self.slot_vcpus, vcpu_hours=self.expected_hours[n],
                              memory_gb=record.estimates.memory_gb)  # fmt: skip
            # what a job asks for is the cluster's slot here; the forecast is told how long it takes
            site.records[n] = record.model_copy(update={"estimates": hours})

    def arrived(self, workset: Workset, mask: int) -> None:
        super().arrived(workset, mask)
        self.new.append(workset)

    def starts(self, now_s: float) -> Iterator[Start]:
        if self.new:
            self._foretell(now_s)
        for workset, n in super().starts(now_s):
            if (told := self.told.pop(workset.n, None)) is not None:
                wait = now_s - workset.arrival_s
                if wait >= SHORTEST_S:
                    self.errors.append((wait, told - now_s))
            self.running[workset.n] = self._held(workset, n, now_s)
            yield workset, n

    def ended(self, workset: Workset, n: int) -> None:
        super().ended(workset, n)
        del self.running[workset.n]

    def _held(self, workset: Workset, n: int, now_s: float) -> WorksetRecord:
        at = START + timedelta(seconds=now_s)
        record = self.site.records[workset.n]
        slot = max(1, round(self.site.clusters[n].vcpus_a_slot))
        return record.model_copy(
            update={
                "state": State.IN_PROGRESS,
                "cluster_name": self.site.views[n].name,
                "estimates": record.estimates.model_copy(update={"vcpus": slot}),
                "history": (HistoryEntry(at=at, event="Begin", note=""),),
            }
        )

    def _foretell(self, now_s: float) -> None:
        waiting = [self.site.records[w.n] for line in self.lines.values() for w in line]
        now = START + timedelta(seconds=now_s)
        found = forecast(
            waiting, self.running.values(), self.site.views, self.limits, self.weights,
            self.site.policy, now, self.shares.lately(now, self.since.values()),
        )  # fmt: skip
        for workset in self.new:
            if expected := found.get(f"{workset.n:08d}"):
                self.told[workset.n] = (expected.starts - START).total_seconds()
        self.new.clear()


def foretold(
    trace: Sequence[Workset], clusters: Sequence[Cluster], spread: float, seed: int
) -> dict[str, Any]:
    """How far off the forecasts were, as shares of the waits."""
    rng = random.Random(seed)
    real = [replace(w, vcpu_hours=w.vcpu_hours * rng.lognormvariate(0, spread)) for w in trace]
    errors: list[tuple[float, float]] = []
    believed = {w.n: w.vcpu_hours for w in trace}
    policy = type("Day", (Foretold,), {"expected_hours": believed, "errors": errors})
    replay(real, clusters, policy)
    shares = sorted(abs(error) / wait for wait, error in errors)
    return {
        "spread": spread,
        "waited": len(shares),
        "median_wait_s": round(median(wait for wait, _ in errors)) if errors else 0,
        "median_error": round(median(shares), 3) if shares else None,
        "p90_error": round(shares[int(0.9 * (len(shares) - 1))], 3) if shares else None,
    }


def main() -> int:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("--trace", type=Path, default=here / "example_trace.csv")
    parser.add_argument("--clusters", type=Path, default=here / "example_clusters.yaml")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    trace, clusters = read_trace(asked.trace), read_clusters(asked.clusters)
    for spread in (0.0, 0.3):
        print(json.dumps(foretold(trace, clusters, spread, asked.seed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
