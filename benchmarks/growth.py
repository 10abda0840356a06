"""How what is measured grows with its number.

``python -m benchmarks.growth`` measures each thing at several sizes, and keeps what it found in
`benchmarks/results/growth.json`, from which `benchmarks.scale` reckons; with `--picture FILE` it is
drawn. `--draw FILE` draws what was kept, and measures nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import history, planning
from benchmarks.__main__ import RESULTS, machine
from benchmarks.rows import program

KEPT: Final = RESULTS / "growth.json"
NOTHING: Final = ("--seconds", "0", "--clusters", "10", "--slots", "3", "--worksets")
Points = dict[str, dict[str, Any]]
"""By size, what a benchmark printed for it."""


@dataclass(frozen=True)
class Series:
    """One thing that is measured at several sizes."""

    sizes: tuple[int, ...]
    measure: Callable[[int], dict[str, Any]]


SERIES: Final = {
    "plan": Series((1000, 3000, 10_000, 30_000), lambda n: {"plan_s": planning.plan_s(n)}),
    "forecast": Series((100, 300, 1000), lambda n: {"queue_s": planning.queue_s(n)}),
    "history": Series((200, 2000, 20_000, 100_000), lambda n: {"look_ms": history.look_ms(n)}),
    "lives": Series((60, 240), lambda n: program("benchmarks.makespan", *NOTHING, str(n))),
    "running": Series((10, 50, 150), lambda n: program("benchmarks.density", "--worksets", str(n))),
}
PANELS: Final = (
    ("plan", "ready worksets", {"plan_s": "seconds for a plan, 1,000 free slots"}),
    ("forecast", "waiting worksets", {"queue_s": "seconds for the forecast of the queue"}),
    ("history", "finished worksets", {"look_ms": "ms for a poll's questions (SQLite)"}),
    ("lives", "worksets", {"client_cpu_s_per_workset": "CPU seconds of the poller for one",
                           "server_cpu_s_per_workset": "of Prefect's server"}),
    ("running", "running jobs", {"memory_mb": "MB of the poller", "threads": "its threads"}),
    ("running", "running jobs", {"own_share": "processors: the poller",
                                 "server_share": "Prefect's server"}),
)  # fmt: skip
"""What is measured, the number that grows, and the figures that are drawn, with their names."""


def draw(found: dict[str, Points], path: Path) -> None:
    """A panel for each figure; the number that grows is drawn by its logarithm."""
    from matplotlib.figure import Figure

    from benchmarks import pictures

    figure = Figure(figsize=(10, 7), layout="constrained")
    for axes, (name, number, figures) in zip(figure.subplots(2, 3).flat, PANELS, strict=True):
        sizes = [int(size) for size in found[name]]
        for key, label in figures.items():
            axes.plot(sizes, [at[key] for at in found[name].values()], marker="o", label=label)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(number)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30, minor=False)
        axes.set_xticks([], minor=True)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    pictures.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SERIES))
    parser.add_argument("--picture", type=Path, help="SVG file for what is measured")
    parser.add_argument("--draw", type=Path, help="SVG file for what was kept")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - SERIES.keys()):
        parser.error(f"no such series: {', '.join(unknown)}; there are {', '.join(SERIES)}")
    found: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for name in () if options.draw else options.names or SERIES:
        series = SERIES[name]
        found[name] = {str(size): series.measure(size) for size in series.sizes}
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(found | {"about": machine()}, indent=1) + "\n")
        print(name, json.dumps(found[name]), flush=True)
    if path := options.draw or options.picture:
        draw(found, path)


if __name__ == "__main__":
    main()
