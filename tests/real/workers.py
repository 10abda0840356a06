"""Workers that die: `python -m tests.real.workers PLAN.json` plays one round of trials.

Every trial is one workset, carried by real steps of the product (lock, begin, dispatch, monitor,
settle) in a process of its own that is killed with -9 at a point that the plan names; another one
follows and goes on from what the state DB and the cluster say. Prefect has no part in it.
"""

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from prefect.logging import disable_run_logger

import host.opening
from blocks.clusters import ClusterWatch, SlurmCluster
from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host
from tasks import settle as ending
from tasks.dispatch import dispatch
from tasks.monitor import monitor
from tasks.validate import Validated
from worksets.config import ProcessorConfig
from worksets.errors import WorksetError
from worksets.record import FINAL, HELD, State, WorksetRecord
from worksets.spec import parse_spec

POINTS = ("before intent", "after intent", "in submit", "after submit", "in monitor", "never")
SPEC = b"""
samples: [{sample_id: s, fastq_r1: a.fq}]
reference_genome: hg38
pipeline: p
"""
# a step says that it ran before anything else; a second time is seen, however it ends
STEP = ["sh", "-c", 'echo "$0 $1" >> "$2"; sleep 0.3', "{workset_id} {attempt}"]


def host_of(plan):
    journal = plan["journal"]
    pipeline = {
        step: [*STEP, step, journal] for step in ("stage", "run", "export")
    }  # fmt: skip
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results=plan["folder"], customers={"c": {}},
        pipelines={"p": pipeline},
    )  # fmt: skip
    db = SQLiteStateDB(path=plan["db"])
    here = Host("trials", settings, db, ProcessorConfig(enable_notifications=False))
    here.owner = f"{os.getpid()}:{time.monotonic_ns()}"
    cluster = SlurmCluster.model_validate(plan["cluster"])
    here.watches = {"a": ClusterWatch(cluster, here.call)}
    db.renew_lease(here.owner, 600)
    return here


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(here, point, seed):
    """Have this process die at the point."""
    db, cluster = here.db, here.watches["a"].cluster
    begin, submit = db.begin, cluster.submit

    def dying_begin(*args):
        if point == "before intent":
            die()
        record = begin(*args)
        if point == "after intent":
            die()
        return record

    def dying_submit(spec):
        if point == "in submit":
            # the shell and the sbatch below it are left to themselves, wherever they stand
            threading.Timer(random.Random(seed).uniform(0, 0.06), die).start()
        submit(spec)
        if point in ("in submit", "after submit"):
            die()

    db.__dict__["begin"], cluster.__dict__["submit"] = dying_begin, dying_submit
    if point == "in monitor":
        threading.Timer(random.Random(seed).uniform(0.1, 1.5), die).start()


async def carry(here, workset_id):
    """Bring a workset to its end, attempt after attempt."""
    while (record := here.db.get(workset_id)).state not in FINAL:
        try:
            if record.state is State.RETRYING:
                await asyncio.sleep(0.5)
                here.db.requeue_due()
                continue
            if record.state in HELD:
                record = here.db.take_over(workset_id, here.owner, record.lock_owner)
            else:
                record = here.db.lock(workset_id, here.owner, "a", "trial", {})
            begun = await dispatch.fn(Validated(record, parse_spec(SPEC).spec), record)
            await ending.settle(begun.record, await monitor.fn(begun.run))
        except WorksetError:
            await asyncio.sleep(0.5)  # what a step tries again; here all of it is


def worker(plan, workset_id, point, seed):
    """One process; never returns."""
    pid = os.fork()
    if pid:
        return pid
    here = host_of(plan)
    deadly(here, point, seed)
    host.opening._current.set(here)
    with disable_run_logger():
        asyncio.run(carry(here, workset_id))
    os._exit(0)


def main(plan):
    async def no_report(*_):
        return

    ending.show = no_report  # it would go to Prefect's server
    db, now = SQLiteStateDB(path=plan["db"]), SQLiteStateDB(path=plan["db"]).now()
    for trial in plan["trials"]:
        db.register(
            WorksetRecord(
                workset_id=trial["id"], customer_id="c", pipeline="p", reference_genome="hg38",
                location=f"file://{plan['folder']}", max_retries=10, created_at=now, updated_at=now,
            )
        )  # fmt: skip
    first = [worker(plan, t["id"], t["point"], t["seed"]) for t in plan["trials"]]
    Path(plan["started"]).touch()
    died = sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL for pid in first)
    second = [worker(plan, t["id"], "never", t["seed"]) for t in plan["trials"]]
    for pid in second:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    records = [db.get(t["id"]) for t in plan["trials"]]
    print(json.dumps({"died": died, "ends": {r.workset_id: [r.state, r.attempt] for r in records}}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
