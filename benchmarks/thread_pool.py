"""The same worksets by a thread pool, as Daylily's description has its concurrent processor.

``python -m benchmarks.thread_pool --workers 5 --poll 30 --worksets 200 --seconds 10`` prints one
JSON object with its makespan. It is a correct one: it registers what lies there, takes at every
poll what its global limit lets it start, by priority and age, on the cluster with most room; a
worker validates, locks, runs the steps as processes, and writes how it ended, all by a SQLite file.
It has no retry, no recovery, no limit of a customer, and nothing to look at; those cost time, too.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from benchmarks.sites import sized, write_site

STATES = "CREATE TABLE worksets (id TEXT PRIMARY KEY, state TEXT, cluster TEXT, made REAL)"


class Processor:
    """Polls, and hands what it may start to the workers of a pool."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.options = options
        self.incoming = folder / "worksets"
        self.work = folder / "work"
        self.lock = threading.Lock()
        self.db = sqlite3.connect(folder / "pool.db", check_same_thread=False, isolation_level=None)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute(STATES)

    def run(self) -> float:
        """Seconds from its first poll until the last workset has ended."""
        began = time.monotonic()
        with ThreadPoolExecutor(self.options.workers) as pool:
            while True:
                self.discover()
                for id_, cluster in self.claim():
                    pool.submit(self.process, id_, cluster)
                self.wait(began)
                if self.count("state != 'complete'") == 0:
                    return self.ended - began

    def wait(self, began: float) -> None:
        """Until the next poll; or the end of all, which nothing else would tell it sooner."""
        until = time.monotonic() + self.options.poll
        while time.monotonic() < until:
            time.sleep(0.05)
            if self.count("state != 'complete'") == 0:
                break
        self.ended = time.monotonic()

    def discover(self) -> None:
        for folder in self.incoming.iterdir():
            if (folder / "daylily_work.yaml").exists():
                self.write(
                    "INSERT OR IGNORE INTO worksets VALUES (?, 'ready', '', ?)",
                    folder.name, time.time(),
                )  # fmt: skip

    def claim(self) -> list[tuple[str, str]]:
        """Lock what the limits let start: ids, each with its cluster."""
        with self.lock:
            held = Counter(
                cluster
                for (cluster,) in self.db.execute(
                    "SELECT cluster FROM worksets WHERE state IN ('locked', 'in_progress')"
                )
            )
            ready = self.db.execute(
                "SELECT id FROM worksets WHERE state = 'ready' ORDER BY made, id"
            ).fetchall()
        found = []
        for (id_,) in ready:
            free = {
                name: self.options.slots - held[name]
                for name in (f"c{n}" for n in range(self.options.clusters))
            }
            cluster = max(free, key=lambda name: free[name])
            if held.total() >= self.options.at_once or free[cluster] <= 0:
                break
            held[cluster] += 1
            self.write("UPDATE worksets SET state = 'locked', cluster = ? WHERE id = ?",
                       cluster, id_)  # fmt: skip
            found.append((id_, cluster))
        return found

    def process(self, id_: str, cluster: str) -> None:
        work = yaml.safe_load((self.incoming / id_ / "daylily_work.yaml").read_text())
        assert all((self.incoming / id_ / s["fastq_r1"]).stat().st_size for s in work["samples"])
        self.write("UPDATE worksets SET state = 'in_progress' WHERE id = ?", id_)
        folder = self.work / cluster / id_
        folder.mkdir(parents=True)
        for command in (["true"], ["sleep", str(self.options.seconds)], ["true"]):
            subprocess.run(command, cwd=folder, check=True)
        self.write("UPDATE worksets SET state = 'complete' WHERE id = ?", id_)

    def write(self, statement: str, *values: object) -> None:
        with self.lock:
            self.db.execute(statement, values)

    def count(self, where: str) -> int:
        with self.lock:
            found: int = self.db.execute(f"SELECT count(*) FROM worksets WHERE {where}").fetchone()[
                0
            ]
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    sized(parser)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--poll", type=float, default=30, help="seconds between two polls")
    parser.add_argument("--at-once", type=int, default=10, help="worksets at once, of all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = {k: getattr(options, k) for k in ("worksets", "seconds", "clusters", "slots")}
        write_site(folder, **sizes)
        print(json.dumps({"makespan_s": round(Processor(folder, options).run(), 1)}))


if __name__ == "__main__":
    main()
