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
from tests.chaos import parts
from tests.chaos.installation import LIMITS, Installation

SETTLE_S = 300
"""Seconds after the last fault in which every workset must have come to its end."""
RESUMED_S = 20
"""Seconds after which an operator resumes the nodes that a killed slurmctld has drained."""
BESIDE_S = 120
"""Seconds in which worksets must be complete while the share beside them hangs, and only that."""
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


class Chaos:
    """One run, from its seed."""

    def __init__(self, folder, seed, stack):
        self.rng = random.Random(seed)
        self.folder = folder
        self.faults = Counter()
        self.waiting = []
        self.clusters = stack.enter_context(slurm.clusters(folder, "a", "b"))
        self.dynamodb = stack.enter_context(services.dynamodb_process(folder / "dynamodb.log"))
        stack.callback(server.stop, folder / "prefect")
        prefect = server.start(folder / "prefect")
        prefect.wait()
        env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
        env |= prefect.environment | {"PREFECT_LOGGING_LEVEL": "WARNING"}
        env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        self.installations = []
        for name, pollers in (("first", 3), ("other", self.rng.choice([1, 2]))):
            shared = (folder, env, self.clusters, self.dynamodb.url)
            self.installations.append(Installation(name, pollers, *shared))
            stack.callback(self.installations[-1].close)

    # --- Faults ---

    def fault(self):
        somewhere = self.rng.choice(self.installations)
        kinds = {
            "poller killed": (5, lambda: somewhere.pollers.kill(self.rng)),
            "poller stopped by SIGTERM": (1, lambda: somewhere.pollers.stop_politely(self.rng)),
            "poller frozen": (2, lambda: self._later(*somewhere.pollers.freeze(self.rng))),
            "share hangs": (2, lambda: self._hang(somewhere.share)),
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

    def _hang(self, share):
        share.hang()
        self._later(time.monotonic() + self.rng.uniform(3, 40), share.back)

    def tend(self, everything=False):
        """What a service manager and an operator do: start what ended, resume drained nodes."""
        now = time.monotonic()
        for at, what in list(self.waiting):
            if everything or at <= now:
                self.waiting.remove((at, what))
                what()
        for each in self.installations:
            each.pollers.look_after()

    def resume_nodes(self):
        for real in self.clusters:
            if "drain" in real.call("sinfo", "-h", "-o", "%T").stdout:
                real.call("scontrol", "update", f"nodename={real.node}", "state=resume")

    # --- From start to end ---

    def run(self, minutes):
        end = time.monotonic() + 60 * minutes
        next_workset = next_fault = time.monotonic() + 3
        next_resumed = time.monotonic() + RESUMED_S
        while (now := time.monotonic()) < end:
            if now >= next_workset and now < end - 10:
                self.rng.choice(self.installations).arrive(self.rng)
                next_workset = now + self.rng.uniform(1, 4)
            if now >= next_fault:
                self.fault()
                next_fault = now + self.rng.uniform(2, 7)
            if now >= next_resumed:
                self.resume_nodes()
                next_resumed = now + RESUMED_S
            self.tend()
            time.sleep(0.2)
        self.tend(everything=True)
        server.start(self.folder / "prefect").wait()
        settled_s = self.settle()
        held_up = self.hang_alone()
        self.settle()
        for each in self.installations:
            each.pollers.end()
        return self.report(settled_s, held_up)

    def settle(self):
        """Wait for every workset's end; how long it took, in seconds."""
        began = time.monotonic()
        while time.monotonic() < began + SETTLE_S:
            self.tend(everything=True)
            self.resume_nodes()
            if all(each.settled for each in self.installations):
                break
            time.sleep(2)
        return time.monotonic() - began

    def hang_alone(self):
        """The shares hang, and nothing else is wrong: what that holds up of the other folders.

        The pollers begin while it hangs already, so that none knows the share from before.
        """
        asked = []
        for each in self.installations:
            each.share.hang()
            each.pollers.anew()
            for _ in range(2):
                each.add(self.rng, "good", in_share=True)
                asked.append((each, each.add(self.rng, "good", in_share=False)))
        began = time.monotonic()
        while (left := [(e, id_) for e, id_ in asked if not e.is_complete(id_)]) and (
            time.monotonic() < began + BESIDE_S
        ):
            self.tend()
            time.sleep(1)
        self.beside_s = time.monotonic() - began
        for each in self.installations:
            each.share.back()
        return [f"{each.name}: {id_} was held up by a share that hung" for each, id_ in left]

    def report(self, settled_s, held_up):
        of_each = {each.name: each.report() for each in self.installations}
        leaked = self.installations[0].site.call("-c", SLOTS).splitlines()
        wrong = [what for found in of_each.values() for what in found.pop("wrong")]
        wrong += held_up + [f"Prefect's slots leaked: {line}" for line in leaked]
        return {
            "faults": dict(self.faults),
            "limits": LIMITS,
            **of_each,
            "settled_s": round(settled_s),
            "beside_hung_share_s": round(self.beside_s),
            "wrong": wrong,
        }


def chaos(minutes, seed, folder):
    """The report of one run."""
    with ExitStack() as stack:
        here = Chaos(folder, seed, stack)
        try:
            return here.run(minutes)
        finally:
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
