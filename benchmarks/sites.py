"""Small installations for the benchmarks: worksets of jobs that sleep, on local clusters."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any, Final

import yaml

CUSTOMERS: Final = 4
AT_REST_S: Final = 3600.0
"""Age, in seconds, of a delivered file: it need not be waited for until it is quiet."""


def deliver(folder: Path, number: int) -> None:
    """Make the folder of one workset, whole and at rest, below one that is not watched; move it."""
    name = f"w{number:05d}"
    made = folder / "made" / name
    made.mkdir(parents=True)
    work = {
        "samples": [{"sample_id": "s1", "fastq_r1": "a.fq"}],
        "reference_genome": "hg38",
        "customer_id": f"customer{number % CUSTOMERS}",
    }
    files = {"a.fq": "@a\nACGT\n+\nIIII\n", "daylily_work.yaml": yaml.safe_dump(work)}
    then = time.time() - AT_REST_S
    for file, text in files.items():
        (made / file).write_text(text)
        os.utime(made / file, (then, then))
    made.rename(folder / "worksets" / name)


def write_site(
    folder: Path, *, worksets: int, seconds: float, clusters: int, slots: int, **more: Any
) -> Path:
    """So many worksets, and a settings file for them; `more`: settings beside these."""
    (folder / "worksets").mkdir(parents=True)
    for number in range(worksets):
        deliver(folder, number)
    settings = {
        "state_db": {"type": "sqlite", "path": str(folder / "state.db")},
        "worksets": [str(folder / "worksets")],
        "results": str(folder / "results"),
        # its other settings are a user's by default
        "processor": {"max_concurrent_worksets": 10_000},
        "customers": {f"customer{n}": {} for n in range(CUSTOMERS)},
        "clusters": [
            {
                "type": "local-cluster",
                "cluster_name": f"c{n}",
                "max_concurrent_worksets": slots,
                "work_folder": str(folder / f"c{n}"),
            }
            for n in range(clusters)
        ],
        "pipelines": {
            "germline": {"stage": ["true"], "run": ["sleep", str(seconds)], "export": ["true"]}
        },
    } | more
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    return folder / "settings.yaml"


def sized(parser: argparse.ArgumentParser) -> None:
    """The options that say how many worksets there are, how long each takes, and on what."""
    parser.add_argument("--worksets", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--clusters", type=int, default=10)
    parser.add_argument("--slots", type=int, default=3)


def percentile(values: list[float], share: float) -> float:
    """The least value that so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
