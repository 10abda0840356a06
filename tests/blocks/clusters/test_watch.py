"""One watch per cluster, on a virtual clock: few questions, never late by more than its share."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from blocks.clusters import ClusterWatch, JobMissing, LocalCluster
from tests.virtual_time import run
from worksets.errors import ClusterUnreachable
from worksets.jobs import JobStatus, Phase

MINUTE = 60.0
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Scripted(LocalCluster):
    """Jobs that end at given times; remembers when it was asked, and for how many jobs."""

    _block_type_slug = "scripted-cluster"
    _ends: dict = {}
    _down: tuple = (0.0, 0.0)
    _asked: list = []

    def observe(self, names):
        now = asyncio.get_running_loop().time()
        self._asked.append((now, len(names)))
        if self._down[0] <= now < self._down[1]:
            raise ClusterUnreachable("no route to host")
        over = {True: Phase.ENDED, False: Phase.RUNNING}
        return {
            name: JobStatus(name, over[now >= self._ends[name]])
            if name in self._ends
            else JobStatus(name, Phase.ABSENT)
            for name in names
        }


@pytest.fixture
def watch(tmp_path):
    cluster = Scripted(cluster_name="a", work_folder=str(tmp_path))
    cluster._asked, cluster._ends = [], {}

    async def call(function, *args):
        await asyncio.sleep(0.01)
        return function(*args)

    def now():
        return BEGIN + timedelta(seconds=asyncio.get_running_loop().time())

    return ClusterWatch(cluster, call, now=now)


async def ended(watch, name, length_s):
    """Start a job now; how many seconds late its end was known."""
    now = asyncio.get_running_loop().time
    end = watch.cluster._ends[name] = now() + length_s
    status = await watch.wait(name)
    assert status.phase is Phase.ENDED
    return now() - end


def test_an_end_is_known_within_a_twentieth_of_the_jobs_age(watch):
    async def main():
        for number, length_s in enumerate((1, 10, MINUTE, 10 * MINUTE, 600 * MINUTE)):
            late = await ended(watch, f"w{number}", length_s)
            assert 0 <= late <= min(max(0.5, length_s / 20), 30) + 0.1

    run(main())
    assert len(watch.cluster._asked) < 1500  # ten hours are not asked for twice a second


def test_a_job_that_starts_when_others_have_just_ended_is_not_waited_for_at_their_pace(watch):
    async def main():
        await asyncio.gather(*(ended(watch, f"old{n}", 60 * MINUTE) for n in range(5)))
        assert await ended(watch, "next", 1) <= 0.6

    run(main())


def test_a_new_job_beside_old_ones_is_seen_at_its_own_pace(watch):
    async def main():
        old = asyncio.create_task(ended(watch, "old", 600 * MINUTE))
        await asyncio.sleep(300 * MINUTE + 1.234)
        assert await ended(watch, "new", 2) <= 0.6
        old.cancel()

    run(main())


def test_one_question_for_all_the_jobs_of_a_cluster(watch):
    async def main():
        await asyncio.gather(*(ended(watch, f"w{n}", MINUTE) for n in range(1000)))

    run(main())
    assert watch.cluster._asked[0][1] == 1000 and len(watch.cluster._asked) < 80


def test_jobs_of_an_unreachable_cluster_are_unknown_and_it_is_avoided_and_asked_ever_less(watch):
    watch.cluster._down = (5.0, 20 * MINUTE)
    told = []

    def tell(_watch, *words):
        told.append(words)
        watch.was_told()

    watch._tell = tell

    async def main():
        job = asyncio.create_task(ended(watch, "w", 10))
        await asyncio.sleep(10 * MINUTE)
        assert not job.done() and "no route to host" in watch.unreachable
        assert [what for what, _ in told] == ["cluster_unreachable"]
        assert 0 <= await job <= 20 * MINUTE + 170
        assert watch.unreachable == ""

    run(main())
    assert [what for what, _ in told] == ["cluster_unreachable", "cluster_reachable"]
    asked_while_down = [at for at, _ in watch.cluster._asked if 5 <= at < 20 * MINUTE]
    assert len(asked_while_down) < 20


def test_a_hiccup_of_two_questions_is_nobodys_business(watch):
    watch.cluster._down = (5.0, 6.0)
    told = []
    watch._tell = lambda *words: told.append(words)

    async def main():
        assert 0 <= await ended(watch, "w", 20) <= 2

    run(main())
    assert told == []


def test_a_cluster_on_which_nothing_runs_is_back_when_it_says_its_capacity(watch):
    told, asked = [], []

    def tell(_watch, what, _message):
        told.append(what)
        if told != ["cluster_unreachable"]:  # the first time nobody could be told
            watch.was_told()

    watch._tell = tell

    def capacity(needs):
        asked.append(round(asyncio.get_running_loop().time()))
        if len(asked) <= 4:
            raise ClusterUnreachable("no route")
        return 7

    watch.cluster.__dict__["capacity"] = capacity

    async def main():
        for _ in range(10):
            await watch.look()
            await asyncio.sleep(5)
        assert watch.unreachable == "" and watch.capacity == 7

    run(main())
    assert told == ["cluster_unreachable", "cluster_unreachable", "cluster_reachable"]
    assert asked == [0, 5, 10, 20, 40, 45]  # after 2, 4, 8 and 16 s, and not every 5


def test_a_job_that_is_gone_is_not_waited_for_for_ever_and_a_moment_is_not_for_ever(watch):
    async def main():
        now = asyncio.get_running_loop().time
        beside = asyncio.create_task(ended(watch, "beside", 10 * MINUTE))
        with pytest.raises(JobMissing, match=r"deleted\.a1 has not been on a for 60 s"):
            await watch.wait("deleted.a1")
        assert MINUTE <= now() <= 1.2 * MINUTE
        job = asyncio.create_task(watch.wait("late.a1"))  # absent for 50 s, then it is there
        await asyncio.sleep(50)
        watch.cluster._ends["late.a1"] = now() + 100
        assert (await job).phase is Phase.ENDED
        assert await beside < MINUTE

    run(main())
