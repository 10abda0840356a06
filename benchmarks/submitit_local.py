"""The same worksets by submitit's local executor, as somebody would write it in an afternoon.

``python -m benchmarks.submitit_local --worksets 200 --seconds 10 --clusters 10 --slots 3`` prints
one JSON object with the makespan of a program that has as many threads for a cluster as that has
slots; each submits a job for the next folder, which runs the steps, and waits for its result. There
is no state DB, no recovery, no order, and nothing to look at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sites import sized, write_site


def process(folder: str, seconds: float) -> str:
    for command in (["true"], ["sleep", str(seconds)], ["true"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def measure(folder: Path, options: argparse.Namespace) -> float:
    """Seconds that all take."""
    import submitit

    def one(workset: Path) -> str:
        executor = submitit.AutoExecutor(folder=folder / "logs" / workset.name, cluster="local")
        executor.update_parameters(timeout_min=60)
        done: str = executor.submit(process, str(workset), options.seconds).result()
        return done

    began = time.monotonic()
    worksets = sorted((folder / "worksets").iterdir())
    with ThreadPoolExecutor(options.clusters * options.slots) as slots:
        assert len([*slots.map(one, worksets)]) == options.worksets
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sized(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write_site(Path(name), **vars(options))
        print(json.dumps({"makespan_s": round(measure(Path(name), options), 1)}))


if __name__ == "__main__":
    main()
