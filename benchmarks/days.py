"""What an hour's price buys: days replayed at several prices, as figures and as a picture.

``python -m benchmarks.days --picture docs/result-price.svg`` replays days of 600 worksets on a
dozen clusters whose slots have 8 to 64 vCPUs, at half the load and at 1.2 times what the clusters
can do, by `worksets.placement.plan` with several values of `result_usd_per_hour` (of a normal
workset; an urgent one's is four times, a low one's half of it). Cost, mean turnaround and makespan
are those of first come first served times what is printed, in the mean over the seeds.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any, Final

from benchmarks.replay import DaylilyRule, FirstComeFirstServed, Plan, Policy, Site
from benchmarks.replay import replay as replayed
from benchmarks.trace import Cluster, Workset, generate, read_clusters, read_trace
from worksets.costs import Costs
from worksets.record import Priority

LOADS: Final = (0.5, 1.2)
"""vCPU-hours of a day's worksets by those of its clusters."""
PRICES: Final = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0)
"""US dollars an hour, of a normal workset."""
WORKSETS: Final = 600
RULE: Final = "daylily_rule"
Point = tuple[float, float, float]
"""Cost, mean turnaround and makespan, by those of first come first served."""


def day(seed: int, load: float) -> tuple[list[Workset], list[Cluster]]:
    """A day of worksets, and clusters whose slots are unlike."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "t.csv", Path(folder) / "c.yaml"
        generate(*files, WORKSETS, seed)
        trace, clusters = read_trace(files[0]), read_clusters(files[1])
    clusters = [
        replace(c, max_concurrent_worksets=int(c.vcpus / draw.choice([8, 16, 32, 64])))
        for c in clusters
    ]
    asked = sum(workset.vcpu_hours for workset in trace)
    times = load * 24 * sum(cluster.vcpus for cluster in clusters) / asked
    return [replace(w, vcpu_hours=w.vcpu_hours * times) for w in trace], clusters


def priced(usd: float) -> type[Policy]:
    """The plan, with this price of an hour of a normal workset's run."""
    prices = {Priority.URGENT: 4 * usd, Priority.NORMAL: usd, Priority.LOW: usd / 2}

    class Priced(Plan):
        def __init__(self, site: Site) -> None:
            site.policy = site.policy.model_copy(update={"result_usd_per_hour": prices})
            site.costs = Costs(site.fit, site.policy)
            super().__init__(site)

    return Priced


def curve(load: float, seeds: Sequence[int]) -> Iterator[tuple[str, Point]]:
    """A point for each price, and the last one for Daylily's rule."""
    days = [day(seed, load) for seed in seeds]
    first = [replayed(*one, FirstComeFirstServed) for one in days]
    rules: list[tuple[str, type[Policy]]] = [(f"{usd:g}", priced(usd)) for usd in PRICES]
    for name, rule in [*rules, (RULE, DaylilyRule)]:
        found = [replayed(*one, rule) for one in days]
        yield (
            name,
            (
                _ratio(found, first, lambda one: one["cost_usd"]),
                _ratio(found, first, lambda one: one["turnaround_s"]["mean"]),
                _ratio(found, first, lambda one: one["makespan_s"]),
            ),
        )


def _ratio(found: Sequence[dict[str, Any]], first: Sequence[dict[str, Any]], of: Any) -> float:
    return round(mean(of(a) / of(b) for a, b in zip(found, first, strict=True)), 3)


def picture(curves: dict[float, dict[str, Point]], path: Path) -> None:
    """Cost against mean turnaround, a line for each load."""
    from matplotlib.figure import Figure

    from benchmarks import pictures

    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    for load, points in curves.items():
        ours = [(cost, turn) for name, (cost, turn, _) in points.items() if name != RULE]
        name = f"asked for: {load:g} times what the clusters can do in a day"
        [line] = axes.plot(*zip(*ours, strict=True), marker="o", label=name)
        axes.plot(
            *points[RULE][:2],
            marker="s",
            linestyle="",
            color=line.get_color(),
            label="Daylily's rule, the same",
        )
        for name, (cost, turn, _) in points.items():
            if name != RULE:
                axes.annotate(f"\\${name}", (cost, turn), (6, 2), textcoords="offset points")
    axes.set_xlabel("cost (first come first served: 1)")
    axes.set_ylabel("mean turnaround (first come first served: 1)")
    axes.margins(x=0.15)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.6))
    pictures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.days", description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="days for each load (4)")
    parser.add_argument("--picture", type=Path, help="SVG file for the curves")
    options = parser.parse_args()
    seeds = range(1, options.seeds + 1)
    curves = {load: dict(curve(load, seeds)) for load in LOADS}
    print(json.dumps(curves))
    if options.picture:
        picture(curves, options.picture)


if __name__ == "__main__":
    main()
