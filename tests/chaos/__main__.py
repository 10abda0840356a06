"""`python -m tests.chaos --minutes N --seed S`: exit code 0 if nothing was lost or done twice."""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from local import server
from tests import services, slurm
from tests.chaos import checks, parts
from tests.real.conftest import Site
from worksets.record import FINAL

LIMITS = {"global": 6, "cluster": 4, "acme": 3, "cedar": 5}
SETTLE_S = 300
"""Seconds after the last fault in which every workset must have come to its end."""
STEP = 'echo "$0 $1 $2 $SLURM_CLUSTER_NAME begin $(date +%s.%N)" >> "$3"; sleep "$4"; '
DONE = 'echo "$0 $1 $2 $SLURM_CLUSTER_NAME end $(date +%s.%N)" >> "$3"'
SLOTS = """
import asyncio
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        for limit in await client.read_global_concurrency_limits(limit=200):
            if limit.active_slots:
                print(limit.name, limit.active_slots)
asyncio.run(main())
"""


def pipelines(journal):
    """`good`, one that fails the first time, and one whose data are damaged."""

    def step(name, seconds, before=""):
        shell = before + STEP + DONE
        return ["sh", "-c", shell, "{workset_id}", "{attempt}", name, journal, str(seconds)]

    plain = {"stage": step("stage", 0.3), "run": step("run", 4), "export": step("export", 0.3)}
    return {
        "good": plain,
        "flaky": {**plain, "run": step("run", 2, '[ "$1" -gt 1 ] || exit 75; ')},
        "damaged": {**plain, "run": step("run", 1, "exit 65; ")},
    }


class Chaos:
    """One run, from its seed."""

    def __init__(self, folder, seed, stack):
        self.rng = random.Random(seed)
        self.folder = folder
        self.faults = Counter()
        self.waiting = []
        self.expected = {}
        self.clusters = stack.enter_context(slurm.clusters(folder, "a", "b"))
        self.dynamodb = stack.enter_context(services.dynamodb_process(folder / "dynamodb.log"))
        stack.callback(server.stop, folder / "prefect")
        prefect = server.start(folder / "prefect")
        prefect.wait()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        env |= prefect.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"}
        env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.site = Site("chaos", folder, env)
        self.db = services.dynamodb_state_db(self.dynamodb.url)
        self.configure()
        self.pollers = parts.Pollers(self.site, 3)

    def configure(self):
        clusters = [
            {
                "type": "slurm-cluster",
                "cluster_name": real.name,
                "max_concurrent_worksets": LIMITS["cluster"],
                "memory_gb_per_workset": 0.1,
                "work_folder": str(self.folder / f"work-{real.name}"),
                "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
            }
            for real in self.clusters
        ]
        self.site.configure(
            customers={c: {"max_concurrent_worksets": LIMITS[c]} for c in ("acme", "cedar")},
            max_concurrent_worksets=LIMITS["global"],
            overrides={
                "clusters": clusters,
                "pipelines": pipelines(str(self.folder / "journal")),
                "default_max_retries": 10,
                "state_db": {
                    "type": "dynamodb", "table_name": self.db.table_name,
                    "region_name": "us-west-2", "endpoint_url": self.dynamodb.url,
                },
            },
        )  # fmt: skip

    def arrive(self):
        kind = self.rng.choice(["good"] * 6 + ["flaky"] * 2 + ["damaged"])
        id_ = f"{kind}-{len(self.expected)}"
        self.site.add(id_, 1, self.rng.choice(["acme", "cedar"]), pipeline=kind)
        self.expected[id_] = "failed" if kind == "damaged" else "complete"

    # --- Faults ---

    def fault(self):
        kinds = {
            "poller killed": (5, lambda: self.pollers.kill(self.rng)),
            "poller stopped by SIGTERM": (1, lambda: self.pollers.stop_politely(self.rng)),
            "poller frozen": (2, lambda: self._later(*self.pollers.freeze(self.rng))),
            "slurmctld killed": (2, self._kill_controller),
            "slurmctld frozen": (2, self._freeze_controller),
            "state DB frozen": (
                1, lambda: self._later(*parts.frozen(self.dynamodb.pid, self.rng.uniform(1, 6))),
            ),
            "Prefect's server killed": (1, lambda: self._again(parts.kill_prefect)),
            "PostgreSQL killed": (1, lambda: self._again(parts.kill_postgres)),
        }  # fmt: skip
        kind = self.rng.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        self.faults[kind] += 1
        kinds[kind][1]()

    def _later(self, at, what):
        self.waiting.append((at, what))

    def _again(self, kill):
        start = kill(self.folder / "prefect")
        self._later(time.monotonic() + self.rng.uniform(0, 4), start)

    def _kill_controller(self):
        real = self.rng.choice(self.clusters)
        if real.slurmctld.poll() is None:
            real.slurmctld.kill()
            real.slurmctld.wait()
            self._later(time.monotonic() + self.rng.uniform(0, 5), real.start_controller)

    def _freeze_controller(self):
        real = self.rng.choice(self.clusters)
        self._later(*parts.frozen(real.slurmctld.pid, self.rng.uniform(3, 14)))

    def tend(self, everything=False):
        """What a service manager and an operator do: start what ended, resume drained nodes."""
        now = time.monotonic()
        for at, what in list(self.waiting):
            if everything or at <= now:
                self.waiting.remove((at, what))
                what()
        self.pollers.look_after()

    def resume_nodes(self):
        for real in self.clusters:
            if "drain" in real.call("sinfo", "-h", "-o", "%T").stdout:
                real.call("scontrol", "update", f"nodename={real.node}", "state=resume")

    # --- From start to end ---

    def run(self, minutes):
        end = time.monotonic() + 60 * minutes
        next_workset = next_fault = time.monotonic() + 3
        while (now := time.monotonic()) < end:
            if now >= next_workset and now < end - 10:
                self.arrive()
                next_workset = now + self.rng.uniform(1, 4)
            if now >= next_fault:
                self.fault()
                next_fault = now + self.rng.uniform(2, 7)
            self.tend()
            time.sleep(0.2)
        self.tend(everything=True)
        server.start(self.folder / "prefect").wait()
        return self.settle()

    def settle(self):
        deadline, began = time.monotonic() + SETTLE_S, time.monotonic()
        while time.monotonic() < deadline:
            self.tend(everything=True)
            self.resume_nodes()
            records = self.records()
            if len(records) == len(self.expected) and all(r.state in FINAL for r in records):
                break
            time.sleep(2)
        settled_s = time.monotonic() - began
        self.pollers.end()
        return self.report(settled_s)

    def records(self):
        known = self.db.known(list(self.expected))
        return [self.db.get(id_) for id_ in known]

    def report(self, settled_s):
        records = self.records()
        journal = self.folder / "journal"
        jobs = checks.jobs_of(journal.read_text().splitlines() if journal.exists() else [])
        customer = {record.workset_id: record.customer_id for record in records}
        peaks = checks.most_at_once(jobs, lambda job: "global")
        peaks |= checks.most_at_once(jobs, lambda job: f"cluster {job.cluster}")
        peaks |= checks.most_at_once(jobs, lambda job: customer.get(job.workset_id))
        limits = {name: LIMITS[name.partition(" ")[0]] for name in peaks}
        leaked = self.site.call("-c", SLOTS).splitlines()
        wrong = checks.ends_wrong(records, self.expected)
        wrong += checks.steps_wrong(jobs, checks.moves_of(records))
        wrong += [f"{n}: {peaks[n]} at once" for n in peaks if peaks[n] > limits[n]]
        wrong += [f"Prefect's slots leaked: {line}" for line in leaked]
        return {
            "worksets": dict(Counter(record.state.value for record in records)),
            "attempts": sum(record.attempt for record in records),
            "jobs": len(jobs),
            "faults": dict(self.faults),
            "pollers_restarted": self.pollers.restarts,
            "most_at_once": peaks,
            "limits": LIMITS,
            "settled_s": round(settled_s),
            "wrong": wrong,
        }


def chaos(minutes, seed, folder):
    """The report of one run."""
    with ExitStack() as stack:
        here = Chaos(folder, seed, stack)
        try:
            return here.run(minutes)
        finally:
            here.pollers.kill_all()
            for _, what in here.waiting:  # wake what is frozen, so that it can be stopped
                what()


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    report = chaos(asked.minutes, asked.seed, folder)
    print(json.dumps({"seed": asked.seed, "minutes": asked.minutes, **report}, indent=2))
    if report["wrong"] or asked.keep:
        print(f"logs: {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return 1 if report["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
