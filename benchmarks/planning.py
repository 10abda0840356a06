"""How long one cycle's plan takes: 10,000 ready worksets of 200 customers on 100 clusters.

``python -m benchmarks.planning`` prints one JSON object: seconds for `plan` at 1, 10 and 30 free
slots a cluster (the best of three), and for SciPy's `linear_sum_assignment` on the same starts,
which answers only where and not who, and has every slot as a column.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from worksets.capacity import ClusterView, Fit, Limits
from worksets.costs import Costs, PlacementPolicy
from worksets.overview import queue
from worksets.placement import plan
from worksets.record import Estimates, Priority, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)
REGIONS = ("us-east-1", "us-west-2", "eu-central-1", "ap-southeast-2")


def backlog(
    worksets: int, customers: int, clusters: int, slots: int, seed: int
) -> tuple[list[WorksetRecord], list[ClusterView], dict[str, float], PlacementPolicy]:
    """Worksets of unlike sizes, clusters of unlike prices, customers of whom a few are large."""
    draw = random.Random(seed)
    views = [
        ClusterView(
            name=f"c{n}",
            max_concurrent_worksets=slots,
            vcpus_per_workset=draw.choice([16, 32, 64]),
            memory_gb_per_workset=draw.choice([64, 128, 256]),
            reference_genomes=draw.choice(
                [frozenset(), frozenset({"hg38"}), frozenset({"hg38", "b37"})]
            ),
            region=draw.choice(REGIONS),
            price_per_vcpu_hour=draw.uniform(0.02, 0.07),
        )
        for n in range(clusters)
    ]
    ready = [
        WorksetRecord(
            workset_id=f"w{n}",
            customer_id=f"k{int(customers * draw.random() ** 2)}",
            priority=draw.choices(list(Priority), [1, 7, 2])[0],
            location=f"s3://{draw.choice(REGIONS)}/w{n}",
            reference_genome=draw.choice(["hg38", "hg38", "b37"]),
            input_bytes=int(draw.uniform(10, 500) * 1e9),
            estimates=Estimates(
                vcpus=draw.choice([8, 16, 32]),
                memory_gb=draw.uniform(10, 250),
                vcpu_hours=draw.uniform(10, 600),
            ),
            created_at=NOW - timedelta(seconds=draw.randrange(86400)),
            updated_at=NOW,
        )
        for n in range(worksets)
    ]
    policy = PlacementPolicy(regions={f"s3://{region}": region for region in REGIONS})
    return ready, views, {f"k{n}": 1.0 for n in range(customers)}, policy


def measure(slots: int, seed: int, *, scipy: bool) -> dict[str, Any]:
    ready, clusters, customers, policy = backlog(10_000, 200, 100, slots, seed)
    limits = Limits(max_worksets=10**6, clusters={view.name: slots for view in clusters})
    decisions = plan(ready, clusters, {}, limits, customers, policy, NOW)
    started = {d.workset_id: d.cluster_name for d in decisions if d.action == "start"}
    costs = Costs(Fit(clusters), policy)
    rows = {
        r.workset_id: costs.weighed(r, costs.fit.mask(r)) for r in ready if r.workset_id in started
    }
    number = {view.name: n for n, view in enumerate(costs.fit.clusters)}
    total = sum(rows[id_][number[name]] for id_, name in started.items())
    found: dict[str, Any] = {
        "slots": slots * len(clusters),
        "started": len(started),
        "plan_s": round(plan_s(10_000, slots, seed), 3),
        "usd": round(total / 1e6, 2),
    }
    if scipy:
        optimum, found["scipy_s"] = _by_scipy(list(rows.values()), len(clusters), slots)
        found["over_optimum"] = total / optimum - 1
    return found


def plan_s(worksets: int, slots: int = 10, seed: int = 1) -> float:
    """Seconds for one plan, the best of three: so many ready, 100 clusters with `slots` free."""
    ready, clusters, customers, policy = backlog(worksets, 200, 100, slots, seed)
    limits = Limits(max_worksets=10**6, clusters={view.name: slots for view in clusters})
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        plan(ready, clusters, {}, limits, customers, policy, NOW)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def queue_s(waiting: int = 1000, slots: int = 10, seed: int = 1) -> float:
    """Seconds for all that is foretold of what waits, on 30 clusters that are full.

    As many as there are slots run, and 300 have come in the last three hours.
    """
    records, clusters, customers, policy = backlog(waiting + 30 * slots + 300, 30, 30, slots, seed)
    names = [view.name for view in clusters for _ in range(slots)]
    held = [
        record.model_copy(
            update={"state": State.IN_PROGRESS, "cluster_name": name, "lock_owner": "p",
                    "updated_at": record.created_at}
        )
        for record, name in zip(records[waiting:], names, strict=False)
    ]  # fmt: skip
    came = [
        record.model_copy(update={"created_at": NOW - timedelta(minutes=n % 180)})
        for n, record in enumerate(records[-300:])
    ]
    limits = Limits(max_worksets=10**6, clusters={view.name: slots for view in clusters})
    began = time.perf_counter()
    found = queue([*records[:waiting], *held], clusters, limits, customers, policy, NOW, {}, came)
    took = time.perf_counter() - began
    assert sum(row["starts"] is not None for row in found) > 0.9 * waiting
    return took


def _by_scipy(rows: list[dict[int, int]], clusters: int, slots: int) -> tuple[float, float]:
    """The least total, in millionths of a dollar, and the seconds it took."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    table = np.full((len(rows), clusters), 1e12)
    for i, row in enumerate(rows):
        table[i, list(row)] = list(row.values())
    table = np.repeat(table, slots, axis=1)
    began = time.perf_counter()
    chosen = linear_sum_assignment(table)
    took = time.perf_counter() - began
    return table[chosen].sum(), round(took, 3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = [measure(slots, options.seed, scipy=slots <= 10) for slots in (1, 10, 30)]
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
