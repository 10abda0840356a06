"""What people must know is told though its process dies, or a channel is away for a while."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace

import pytest
from prefect.blocks.abstract import NotificationBlock

import host.telling
from blocks.notify import Announcer
from blocks.notify import announcer as sending
from blocks.state_db import SQLiteStateDB
from host.outbox import OTHERS_S, Outbox
from host.telling import Telling
from worksets.config import ProcessorConfig
from worksets.errors import ErrorCategory
from worksets.record import WorksetRecord


class Mail(NotificationBlock):
    """Takes what it is sent, or refuses it."""

    _block_type_slug = "mail-channel"
    _got: list = []
    _away: bool = False

    async def notify(self, body, subject=None):
        if self._away:
            raise ConnectionError("no route to the mail server")
        self._got.append(subject)


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Makes a process that tells by these channels; all share one state DB."""
    monkeypatch.setattr(host.telling, "emit_event", lambda **_: None)
    monkeypatch.setattr(sending, "REST_S", 0.01)
    path = str(tmp_path / "state.db")

    async def call(function, *args, **named):
        return function(*args, **named)

    def new(*channels, later_s=0.0, config=None):
        db = SQLiteStateDB(path=path)
        start = db._now
        db._now = lambda: start() + timedelta(seconds=later_s)
        here = SimpleNamespace(db=db, call=call, telling=Telling(config or ProcessorConfig()))
        here.telling._announcer = Announcer(list(channels))
        here.outbox = Outbox(here)
        return here

    return new


def mail(name, away=False):
    block = Mail()
    block._block_document_name, block._got, block._away = name, [], away
    return block


def dead_letter(db):
    now = db.now()
    db.register(
        WorksetRecord(
            workset_id="w", customer_id="c", location="file:///w", created_at=now, updated_at=now
        )
    )
    db.record_failure("w", "no reads", ErrorCategory.DATA, "validate")
    return db.get("w")


async def looked(here):
    here.outbox.begin()
    await here.outbox._look
    await here.outbox.close()


async def test_who_writes_it_tells_it_and_nobody_else_does(process):
    one, here = mail("one"), None
    here = process(one)
    here.outbox.tell(dead_letter(here.db))
    await here.outbox.close()
    assert len(one._got) == 1 and here.db.get("w").owed is None
    await looked(process(one, later_s=OTHERS_S + 1))
    assert len(one._got) == 1


async def test_a_process_that_died_before_it_told_is_made_up_for(process):
    one = mail("one")
    dead_letter(process(one).db)
    await looked(process(one))
    assert one._got == [], "the one that wrote it may be just telling it"
    await looked(process(one, later_s=OTHERS_S + 1))
    assert len(one._got) == 1 and "dead letter" in one._got[0]
    await looked(process(one, later_s=OTHERS_S + 9))
    assert len(one._got) == 1


async def test_a_channel_that_was_away_is_told_when_it_is_back_and_the_other_not_again(process):
    one, two = mail("one"), mail("two", away=True)
    here = process(one, two, later_s=OTHERS_S + 1)
    dead_letter(process().db)
    await looked(here)
    assert (len(one._got), len(two._got)) == (1, 0)
    assert here.db.get("w").owed.told == ("Prefect's events", "one")
    two._away = False
    await asyncio.sleep(0.05)
    await looked(here)
    assert (len(one._got), len(two._got)) == (1, 1) and here.db.get("w").owed is None


async def test_a_channel_that_fails_is_not_asked_for_each_of_a_thousand(process, monkeypatch):
    monkeypatch.setattr(sending, "REST_S", 60)
    asked, two = [], mail("two", away=True)
    here = process(two, later_s=OTHERS_S + 1)
    two.__dict__["notify"] = lambda *_: asked.append(1) or 1 / 0
    now = here.db.now() - timedelta(seconds=200)
    for n in range(90):
        here.db.register(
            WorksetRecord(
                workset_id=f"w{n}", customer_id="c", location="f", created_at=now, updated_at=now
            )
        )
        here.db._now = lambda: now
        here.db.record_failure(f"w{n}", "no reads", ErrorCategory.DATA, "validate")
    here.db._now = lambda: now + timedelta(seconds=200)
    await looked(here)
    assert len(asked) == 1 and len(here.db.owed()) == 90


async def test_where_nobody_wants_to_be_told_nothing_stays_owed(process):
    one = mail("one")
    here = process(one, config=ProcessorConfig(enable_notifications=False))
    here.outbox.tell(dead_letter(here.db))
    await here.outbox.close()
    assert one._got == [] and here.db.owed() == []
