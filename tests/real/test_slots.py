"""Slots of tag limits, as our tasks take them from a real server."""

import asyncio
import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
import pytest_asyncio
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.settings import PREFECT_API_URL, temporary_settings

from host import slots
from tests.real.conftest import made_site
from tests.services import free_port


class Limits:
    """Limits of tags that no other test has."""

    def __init__(self, prefect, *sizes):
        self.prefect = prefect
        self.tags = [f"slots-{uuid4().hex}" for _ in sizes]
        self.sizes = sizes

    async def make(self):
        async with get_client() as client:
            for tag, size in zip(self.tags, self.sizes, strict=True):
                await client.create_global_concurrency_limit(
                    GlobalConcurrencyLimitCreate(name=f"tag:{tag}", limit=size)
                )

    def taken(self):
        there = {limit["name"]: limit["active_slots"] for limit in self.prefect.limits()}
        return [there[f"tag:{tag}"] for tag in self.tags]


@pytest_asyncio.fixture
async def prefect(prefect_server, server_log, tmp_path, request):
    with (
        made_site(prefect_server, tmp_path, request.node.name) as site,
        temporary_settings(updates=site.client_settings()),
    ):
        yield site.prefect


@task(cache_policy=NO_CACHE)
async def step(limits, seen):
    seen.append(limits.taken())


async def test_they_are_taken_once_for_a_block_and_not_given_back_between(prefect):
    limits, seen = Limits(prefect, 1, 5), []
    await limits.make()

    @flow
    async def two_steps():
        limited = step.with_options(tags=limits.tags)
        async with slots.taken_once():
            seen.append(limits.taken())
            await limited(limits, seen)
            seen.append(limits.taken())
            # of the limit of one there is none left: it would wait for ever for a second
            await limited(limits, seen)
            await step(limits, seen)
        seen.append(limits.taken())

    async with slots.renewed_together():
        await two_steps()
    assert seen == [[0, 0], [1, 1], [1, 1], [1, 1], [1, 1], [0, 0]]


async def test_the_next_waits_until_they_are_given_back(prefect):
    limits, order = Limits(prefect, 1), []
    await limits.make()

    @task(cache_policy=NO_CACHE)
    async def work(number):
        order.append(f"{number} begins")
        await asyncio.sleep(0.5)
        order.append(f"{number} ends")

    @flow
    async def one(number):
        async with slots.taken_once():
            await work.with_options(tags=limits.tags)(number)

    @flow
    async def both():
        await asyncio.gather(one(1), one(2))

    async with slots.renewed_together():
        await asyncio.wait_for(both(), 120)
    assert sorted([order[:2], order[2:]]) == [["1 begins", "1 ends"], ["2 begins", "2 ends"]]
    assert limits.taken() == [0]


async def test_of_what_runs_none_has_a_thread(prefect):
    limits, names = Limits(prefect, 10), set()
    await limits.make()

    @task(cache_policy=NO_CACHE)
    async def look():
        names.update(thread.name for thread in threading.enumerate())

    @flow
    async def with_slots(once):
        limited = look.with_options(tags=limits.tags)
        if once:
            async with slots.taken_once():
                await limited()
        else:
            await limited()

    def of_slots():
        return [name for name in names if "oncurrency" in name]

    async with slots.renewed_together():
        await with_slots(True)
        assert of_slots() == []
        await with_slots(False)
    assert of_slots(), "who takes them elsewhere takes them as Prefect does, and the look sees it"


async def test_a_flow_that_is_broken_off_gives_them_back(prefect):
    limits, begun = Limits(prefect, 1), asyncio.Event()
    await limits.make()

    @task(cache_policy=NO_CACHE)
    async def endless():
        begun.set()
        await asyncio.sleep(1000)

    @flow
    async def broken_off():
        async with slots.taken_once():
            await endless.with_options(tags=limits.tags)()

    async with slots.renewed_together():
        running = asyncio.create_task(broken_off())
        await begun.wait()
        assert limits.taken() == [1]
        running.cancel()
        await asyncio.wait([running])
    assert limits.taken() == [0]


@pytest.mark.parametrize("after_s", [0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1])
async def test_who_is_broken_off_while_it_takes_them_keeps_none(prefect, after_s):
    limits, held = Limits(prefect, 1), slots.Slots()
    await limits.make()
    taking = asyncio.create_task(held.take([f"tag:{tag}" for tag in limits.tags], 1, None))
    await asyncio.sleep(after_s)
    taking.cancel()
    await asyncio.wait([taking])
    if taking.cancelled():
        assert limits.taken() == [0] and not held._renewed_at
    else:
        assert limits.taken() == [1], "it had them already"


@contextmanager
def soon(monkeypatch):
    """Every lease is due at each look, and looks follow one another."""
    with monkeypatch.context() as patched:
        patched.setattr(slots, "LOOK_S", 0.05)
        patched.setattr(slots, "RENEW_S", 0.0)
        yield


async def test_a_lease_is_renewed_until_a_person_resets_its_limit(prefect, monkeypatch):
    limits, held = Limits(prefect, 1), slots.Slots()
    await limits.make()
    names = [f"tag:{tag}" for tag in limits.tags]
    with soon(monkeypatch):
        lease = await held.take(names, 1, None)
        at = held._renewed_at[lease]
        renewing = asyncio.create_task(held.renew())
        async with asyncio.timeout(10):
            while held._renewed_at[lease] == at:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        other = await held.take([f"tag:{uuid4()}"], 1, None)
        assert other is None, "there is no limit of that name, and nothing to renew"
        prefect.post(f"concurrency_limits/tag/{limits.tags[0]}/reset")
        async with asyncio.timeout(10):
            while held._renewed_at:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert not renewing.done()
        renewing.cancel()


async def test_a_server_that_is_away_is_prefects_trouble_and_ends_no_renewing(monkeypatch):
    nowhere = f"http://127.0.0.1:{free_port()}/api"
    held, lease = slots.Slots(), uuid4()
    with temporary_settings({PREFECT_API_URL: nowhere}), soon(monkeypatch):
        with pytest.raises(ConcurrencySlotAcquisitionError, match="no slot of tag:a"):
            await held.take(["tag:a"], 1, None)
        held._renewed_at[lease] = 0.0
        renewing = asyncio.create_task(held.renew())
        await asyncio.sleep(0.5)
        assert not renewing.done() and held._due() == [lease]
        await held.give_back(lease)
        renewing.cancel()
    assert held._renewed_at == {}
