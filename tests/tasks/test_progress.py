"""The bars of many jobs: their logs are read in turn, and one that hangs holds up nobody else."""

import asyncio
from itertools import pairwise
from types import SimpleNamespace

import tasks.progress
from tests.virtual_time import run
from worksets.jobs import JobStatus, Phase
from worksets.record import Estimates


def test_however_many_jobs_there_are_one_log_is_read_in_ten_seconds(monkeypatch):
    read = []

    async def call(function, *arguments):
        return function(*arguments)

    async def main():
        loop = asyncio.get_running_loop()

        def log_tail(name, _step):
            read.append((loop.time(), name))
            if name == "j0.a1":
                raise OSError("its log cannot be read")
            return ""

        record = SimpleNamespace(workset_id="w", uid="u", pipeline="p", estimates=Estimates())
        db = SimpleNamespace(get=lambda _: record, now=lambda: None)
        here = SimpleNamespace(call=call, db=db, settings=SimpleNamespace(pipelines={}))
        cluster = SimpleNamespace(log_tail=log_tail, vcpus_per_workset=1)
        watch = SimpleNamespace(call=call, cluster=cluster, unreachable="", one_log=asyncio.Lock())
        shows = []
        for number in range(50):
            seen = tasks.progress.Seen(here, watch, f"j{number}.a1")
            seen.status = JobStatus(f"j{number}.a1", Phase.QUEUED)
            shows.append(asyncio.create_task(seen.show()))
        await asyncio.sleep(30 + 10 * 50 + 5)
        for show in shows:
            show.cancel()

    monkeypatch.setattr(tasks.progress, "run_log", lambda: SimpleNamespace(warning=lambda *_: 0))
    run(main())
    assert {name for _, name in read} == {f"j{n}.a1" for n in range(50)}, "each has its turn"
    times = [at for at, name in read if name != "j0.a1"]
    assert all(later - at >= 10 for at, later in pairwise(times))
