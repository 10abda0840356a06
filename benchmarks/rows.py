"""The rows of `make bench`: what each measures, beside what, and what it is held to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import history, planning

ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One figure. `target`: the most that the ratio may be, or without `beside` the value."""

    name: str
    what: str
    unit: str
    ours: Callable[[], float]
    target: float
    beside: Callable[[], float] | None = None
    ratio_to: str = ""


def measured(row: Row, times: int) -> dict[str, Any]:
    """The figure, measured so many times, each time after what it is compared with."""
    values, others = [], []
    for _ in range(max(1, times)):
        if row.beside is not None:
            others.append(row.beside())
        values.append(row.ours())
    # pair by pair: what slows the machine down slows both
    ratios = [value / other for value, other in zip(values, others, strict=False)]
    ratio = median(ratios) if ratios else None
    said = median(values) if ratio is None else ratio
    return {
        "what": row.what,
        "value": median(values),
        "unit": row.unit,
        "min": min(values),
        "max": max(values),
        "ratio_to": row.ratio_to,
        "ratio": ratio,
        "target": row.target,
        "met": said <= row.target,
    }


def program(*argv: str) -> dict[str, Any]:
    """What a benchmark prints that runs in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", *argv], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _makespan() -> float:
    sizes = ("--worksets", "200", "--seconds", "10", "--clusters", "10", "--slots", "3")
    return float(program("benchmarks.makespan", *sizes)["makespan_s"])


def _overhead() -> float:
    sizes = ("--worksets", "60", "--seconds", "0", "--clusters", "10", "--slots", "3")
    return float(program("benchmarks.makespan", *sizes)["cpu_s_per_workset"])


def _bare() -> float:
    return float(program("benchmarks.bare", "--runs", "60")["cpu_s_per_run"])


def _plan(slots: int) -> Callable[[], float]:
    return lambda: float(planning.measure(slots, 1, scipy=False)["plan_s"])


ROWS: Final = {
    row.name: row
    for row in (
        Row(
            "plan_300", "a plan: 10,000 ready, 100 clusters, 200 customers, 300 free slots", "s",
            _plan(3), 1.0,
        ),
        Row("plan_1000", "the same with 1,000 free slots", "s", _plan(10), 1.0),
        Row("plan_3000", "the same with 3,000 free slots", "s", _plan(30), 1.0),
        Row(
            "history", "what a poll, the display and the queue ask of SQLite beside 100,000 "
            "finished worksets", "ms", lambda: history.look_ms(100_000), 1.2,
            lambda: history.look_ms(200), "200 finished: those that discovery asks for",
        ),
        Row(
            "overhead", "CPU of server and client a workset", "s", _overhead, 1.2, _bare,
            "a bare flow of five tasks, one with three tag limits, on the same server settings",
        ),
        Row(
            "makespan", "200 worksets of 10 s on 10 clusters of 3 slots, the server on the same "
            "machine", "s", _makespan, 1.15, lambda: 70.0, "70 s: seven waves of jobs",
        ),
    )
}  # fmt: skip
