"""`python -m benchmarks.forecasts --trace T.csv --clusters C.yaml`: how good is the forecast?

A trace is replayed as by `benchmarks.placement`. Whenever worksets arrive, and every half hour, the
forecast of the queue is asked when each will start; when it starts, the two are compared. Real
durations are the expected ones times a log-normal factor of the given spread, drawn from the seed.

Prints JSON: how far off the forecasts were, as parts of the whole wait, of all looks and of the
first one, on arrival (`…_on_arrival`); and of how many looks the wait that was left had said how
far off they would be at the most (`sure`).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.replay import START, Plan, Site, Start, replay
from benchmarks.trace import Cluster, Workset, read_clusters, read_trace
from worksets.forecast import Expected, forecast
from worksets.record import Estimates, HistoryEntry, State, WorksetRecord

SHORTEST_S = 60.0
"""Seconds; a shorter wait has no error that anybody would ask for."""
EVERY_S = 1800.0
"""Seconds between two looks at the queue."""


@dataclass(frozen=True)
class Look:
    """What was foretold of one workset at one time, beside what came; seconds."""

    wait_s: float
    error_s: float
    sure_s: float
    on_arrival: bool


class Foretold(Plan):
    """`Plan`, and what the forecast says of each workset while it waits."""

    expected_hours: dict[int, float]
    """vCPU-hours of each workset, as they are believed."""
    looks: list[Look]

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.slot_vcpus = max(1, round(median(c.vcpus_a_slot for c in site.clusters)))
        self.told: dict[int, list[tuple[float, Expected]]] = {}
        self.new: list[Workset] = []
        self.came: list[WorksetRecord] = []
        self.looked_at = float("-inf")
        self.running: dict[int, WorksetRecord] = {}
        for n, record in site.records.items():
            hours = Estimates(vcpus=self.slot_vcpus, vcpu_hours=self.expected_hours[n],
                              memory_gb=record.estimates.memory_gb)  # fmt: skip
            # what a job asks for is the cluster's slot here; the forecast is told how long it takes
            site.records[n] = record.model_copy(update={"estimates": hours})

    def arrived(self, workset: Workset, mask: int) -> None:
        super().arrived(workset, mask)
        self.new.append(workset)
        self.came.append(self.site.records[workset.n])

    def starts(self, now_s: float) -> Iterator[Start]:
        if self.new or now_s - self.looked_at >= EVERY_S:
            self._look(now_s)
        for workset, n in super().starts(now_s):
            wait_s = now_s - workset.arrival_s
            for at_s, told in self.told.pop(workset.n, []):
                if wait_s >= SHORTEST_S:
                    error = (told.starts - START).total_seconds() - now_s
                    first = at_s == workset.arrival_s
                    self.looks.append(Look(wait_s, error, told.sure.total_seconds(), first))
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

    def _look(self, now_s: float) -> None:
        """Ask about those that are new, and now and then about all that wait."""
        waiting = [self.site.records[w.n] for line in self.lines.values() for w in line]
        now = START + timedelta(seconds=now_s)
        found = forecast(
            waiting, self.running.values(), self.site.views, self.limits, self.weights,
            self.site.policy, now, self.shares.lately(now, self.since.values()), self.came,
        )  # fmt: skip
        asked = {f"{workset.n:08d}" for workset in self.new}
        if now_s - self.looked_at >= EVERY_S:
            asked, self.looked_at = set(found), now_s
        for id_ in asked & found.keys():
            self.told.setdefault(int(id_), []).append((now_s, found[id_]))
        self.new.clear()


def foretold(
    trace: Sequence[Workset], clusters: Sequence[Cluster], spread: float, seed: int
) -> dict[str, Any]:
    """How far off the forecasts were, as parts of the waits."""
    rng = random.Random(seed)
    real = [replace(w, vcpu_hours=w.vcpu_hours * rng.lognormvariate(0, spread)) for w in trace]
    looks: list[Look] = []
    believed = {w.n: w.vcpu_hours for w in trace}
    replay(real, clusters, type("Day", (Foretold,), {"expected_hours": believed, "looks": looks}))
    waits = [look.wait_s for look in looks if look.on_arrival]
    found: dict[str, Any] = {
        "spread": spread,
        "waited": len(waits),
        "median_wait_s": round(median(waits)) if waits else 0,
        "looks": len(looks),
    }
    for name, some in (("", looks), ("_on_arrival", [look for look in looks if look.on_arrival])):
        parts = sorted(abs(look.error_s) / look.wait_s for look in some)
        found[f"median_error{name}"] = round(median(parts), 3) if parts else None
        found[f"p90_error{name}"] = round(parts[int(0.9 * (len(parts) - 1))], 3) if parts else None
    sure = sum(abs(look.error_s) <= look.sure_s for look in looks)
    return found | {"sure": round(sure / len(looks), 3) if looks else None}


def main() -> int:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forecasts", description=__doc__)
    parser.add_argument("--trace", type=Path, default=here / "example_trace.csv")
    parser.add_argument("--clusters", type=Path, default=here / "example_clusters.yaml")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    trace, clusters = read_trace(asked.trace), read_clusters(asked.clusters)
    for spread in (0.0, 0.3):
        print(json.dumps(foretold(trace, clusters, spread, asked.seed)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
