"""`make bench`, `make bench NAME=plan`: the figures that the project is held to, measured here.

All rows are measured in turn, at least three rounds of them, each beside what it is compared with,
so that what else the machine does meets both. `benchmarks/results/latest.json` keeps what was
measured last of each: the median, the least and the most, the ratio, and whether the target is met;
`latest.md` is the same as a table, with the machine and the versions. Exit code 1: a row could not
be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rows import PROGRAMS, ROWS, Figure, Row

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, str]:
    """What the figures hold for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {version(name)}" for name in ("prefect", "boto3", "pydantic"))
    return {
        "machine": f"{os.cpu_count()} CPUs, {memory:.0f} GB, {platform.system()}",
        "versions": f"Python {platform.python_version()}, {versions}",
    }


def table(found: Mapping[str, Mapping[str, Any]], about: Mapping[str, str]) -> str:
    """The figures, for people."""
    lines = [
        "# Benchmarks",
        "",
        *(f"{key.capitalize()}: {text}  " for key, text in about.items()),
        "",
        "| name | what | value | least – most | beside | ratio | target | met |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in sorted(found.items()):
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.3g}"
        lines.append(
            f"| `{name}` | {one['what']} | {one['value']:.3g} {one['unit']} | {one['min']:.3g} – "
            f"{one['max']:.3g} | {one['ratio_to']} | {ratio} | ≤ {one['target']:.3g} | "
            f"{'yes' if one['met'] else '**no**'} |"
        )
    return "\n".join([*lines, ""])


def run(rows: Sequence[Row], times: int, results: Path) -> int:
    """Measure these round by round and keep what is known after each; the exit code."""
    latest, failed = results / "latest.json", 0
    kept = json.loads(latest.read_text()) if latest.exists() else {}
    results.mkdir(exist_ok=True)
    figures = [Figure(row) for row in rows]
    for _ in range(max(1, times)):
        PROGRAMS.begin_round()
        for figure in list(figures):
            row = figure.row
            try:
                figure.measure()
            except Exception as error:  # the others can be measured all the same
                print(f"{row.name}: not measured: {type(error).__name__}: {error}", file=sys.stderr)
                figures.remove(figure)
                failed = 1
                continue
            about = machine() | {"measured": f"{datetime.now(UTC):%Y-%m-%d}"}
            kept[row.name] = figure.kept() | about
            latest.write_text(json.dumps(kept, indent=1) + "\n")
            (results / "latest.md").write_text(table(kept, about))
            end = "met" if figure.met else "MISSED"
            print(f"{row.name}: {figure.said:.3g} (at most {row.target:.3g}): {end}", flush=True)
    return failed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--times", type=int, default=3, help="at least so many times (3)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the results")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.names) - ROWS.keys()):
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    rows = [ROWS[name] for name in options.names or ROWS]
    return run(rows, options.times, options.results)


if __name__ == "__main__":
    sys.exit(main())
