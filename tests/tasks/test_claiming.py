"""Of several pollers one alone starts a workset."""

from datetime import timedelta
from types import SimpleNamespace

import pytest

from blocks.state_db import SQLiteStateDB
from tasks.claiming import Claiming
from worksets.claims import CLAIM_S
from worksets.leases import CLOCK_SKEW_S


@pytest.fixture
def pollers(tmp_path):
    """Two of one state DB, each with a lease."""

    def poller(owner):
        db = SQLiteStateDB(path=str(tmp_path / "state.db"))
        db.renew_lease(owner, 30)

        async def call(function, *arguments):
            return function(*arguments)

        return Claiming(SimpleNamespace(db=db, owner=owner, call=call))

    return poller("p"), poller("q")


READY = {name: SimpleNamespace(version=1) for name in ("w1", "w2", "w3")}


def without(name):
    return {id_: record for id_, record in READY.items() if id_ != name}


async def test_what_one_is_about_to_start_the_other_leaves_and_counts(pollers):
    p, q = pollers
    assert await p.claim({"w1": "a"}, {}, READY) == {"w1"}
    await q.look()
    assert q.theirs == {"w1": "a"}
    # both have decided at once
    assert await q.claim({"w1": "a", "w2": "b"}, {}, READY) == {"w2"}
    # what is locked is ready no more, and is said no more
    assert await p.claim({"w3": "a"}, {"w1": "a"}, without("w1")) == {"w3"}
    await q.look()
    assert q.theirs == {"w3": "a"}


async def test_what_was_started_before_stays_claimed(pollers):
    p, q = pollers
    await p.claim({"w1": "a"}, {}, READY)
    assert set(await p.claim({"w2": "b"}, {"w1": "a"}, READY)) == {"w1", "w2"}
    await q.look()
    assert q.theirs == {"w1": "a", "w2": "b"}


async def test_what_is_not_locked_in_its_time_anybody_may_start(pollers):
    """A run of a deployment for which there is no worker, however often it is planned again."""
    p, q = pollers
    now = p._here.db.now()
    await p.claim({"w1": "a"}, {}, READY)
    for seconds, theirs in ((CLAIM_S - 1, {"w1": "a"}), (CLAIM_S + 1, {})):
        for one in (p, q):
            one._here.db._now = lambda at=now + timedelta(seconds=seconds): at
            one._here.db.renew_lease(one._here.owner, 30)
        await p.claim({"w1": "a"}, {"w1": "a"}, READY)
        await q.look()
        assert q.theirs == theirs
    assert await q.claim({"w1": "a"}, {}, READY) == {"w1"}
    assert not await p.claim({"w1": "a"}, {"w1": "a"}, READY)


async def test_one_whose_runs_break_off_again_and_again_keeps_no_other_from_it(pollers):
    p, q = pollers
    now = p._here.db.now()
    for seconds in (0, 30, CLAIM_S + 1):
        for one in (p, q):
            one._here.db._now = lambda at=now + timedelta(seconds=seconds): at
            one._here.db.renew_lease(one._here.owner, 30)
        assert await p.claim({"w1": "a"}, {}, READY) == {"w1"}
        await q.look()
        assert q.theirs == ({} if seconds > CLAIM_S else {"w1": "a"})
        # its run has broken off: what it said is taken back
        await p.claim({}, {}, READY)
        await q.look()
        assert q.theirs == {}
    # the workset has changed: it has failed, say, and is tried again
    again = {**READY, "w1": SimpleNamespace(version=2)}
    assert await p.claim({"w1": "a"}, {}, again) == {"w1"}
    await q.look()
    assert q.theirs == {"w1": "a"}


async def test_what_a_dead_one_was_about_to_start_is_anybodys(pollers):
    p, q = pollers
    await p.claim({"w1": "a"}, {}, READY)
    now = q._here.db.now()
    p._here.db.renew_lease("p", 5)
    q._here.db._now = lambda: now + timedelta(seconds=6 + CLOCK_SKEW_S)
    assert CLAIM_S > 6 + CLOCK_SKEW_S
    await q.look()
    assert q.theirs == {}
    assert await q.claim({"w1": "a"}, {}, READY) == {"w1"}, "and not only to look at"
    q._here.db._put_note("starts", "{}")
    await p.claim({"w2": "a"}, {"w1": "a"}, READY)
    p._here.db.renew_lease("p", 30)
    await q.look()
    assert q.theirs == {"w1": "a", "w2": "a"}
    p._here.db.drop_lease("p")
    await q.look()
    assert q.theirs == {}


async def test_one_that_is_alone_says_nothing_until_it_hears_of_another(pollers):
    p, q = pollers
    p.others = False
    assert set(await p.claim({"w1": "a"}, {}, READY)) == {"w1"}
    assert q._here.db.about_to_start() == {}
    await q.claim({"w2": "b"}, {}, READY)
    await p.look()
    assert p.others and p.theirs == {"w2": "b"}
    assert await p.claim({"w2": "b", "w3": "b"}, {}, READY) == {"w3"}


async def test_where_nothing_starts_nothing_is_written(pollers):
    p, _ = pollers
    assert not await p.claim({}, {"w1": "a"}, READY)
    assert p._here.db._get_note("starts") == ""
