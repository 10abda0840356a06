"""What one process counts, and tells, of what customers may spend."""

from datetime import UTC, datetime, timedelta

import pytest

from blocks.clusters import LocalCluster, SlurmCluster
from blocks.clusters.watch import ClusterWatch
from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host
from worksets.announcements import Kind
from worksets.config import ProcessorConfig
from worksets.jobs import JobStatus, Phase, StepMarkers
from worksets.record import Estimates, State, Step, WorksetRecord

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
MONTH = "2026-11"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A host with a budget of $10 for acme, and two clusters at $1 a vCPU-hour."""
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", pipelines={},
        customers={"acme": {"budget_usd_per_month": 10}, "borealis": {}},
    )  # fmt: skip
    db = SQLiteStateDB(path=str(tmp_path / "db"))
    db._now = lambda: NOW
    found = Host("s", settings, db, ProcessorConfig())
    for kind, name in ((LocalCluster, "local"), (SlurmCluster, "slurm")):
        cluster = kind(cluster_name=name, work_folder=str(tmp_path), price_per_vcpu_hour=1)
        found.watches[name] = ClusterWatch(cluster, found.call)
    found.told = []
    monkeypatch.setattr(found, "announce", found.told.append)
    return found


def attempt(name, hours, customer="acme", cluster="local", ended=True):
    """A record whose first attempt has run so long, and what its cluster says of it."""
    record = WorksetRecord(
        workset_id=name, customer_id=customer, location=f"file:///{name}", cluster_name=cluster,
        attempt=1, created_at=NOW, updated_at=NOW, estimates=Estimates(),
    )  # fmt: skip
    began = NOW - timedelta(hours=hours)
    steps = (StepMarkers(Step.RUN, began, NOW if ended else None, 0 if ended else None),)
    return record, JobStatus(f"{name}.a1", Phase.ENDED if ended else Phase.VANISHED, steps)


async def test_an_attempt_is_counted_once_whether_there_is_a_budget_or_not(here):
    """It may be set later in the month."""
    for _ in range(2):
        await here.budgets.count(*attempt("w", 3))
    await here.budgets.count(*attempt("v", 3, "borealis"))
    found = here.db.spent(MONTH, ["acme", "borealis"])
    assert [found[name].usd for name in ("acme", "borealis")] == [3, 3]


async def test_what_costs_nothing_is_not_noted(here):
    free = here.watch("local").cluster
    here.watch("local").cluster = free.model_copy(update={"price_per_vcpu_hour": 0.0})
    await here.budgets.count(*attempt("w", 3))
    record, status = attempt("w", 3, cluster="slurm")
    await here.budgets.count(record, JobStatus(status.name, Phase.VANISHED))
    assert here.db.spent(MONTH, ["acme"]) == {}


async def test_a_retry_costs_what_the_partition_costs_to_which_it_went(here):
    small = {"name": "small", "max_memory_gb": 8}
    large = {"name": "large", "price_per_vcpu_hour": 5}
    slurm = here.watch("slurm").cluster
    here.watch("slurm").cluster = SlurmCluster(
        **{**slurm.model_dump(), "partitions": [small, large], "memory_gb_per_workset": 8}
    )
    record, status = attempt("w", 1, cluster="slurm")
    await here.budgets.count(record, status)
    again = record.model_copy(update={"out_of_memory": 1})
    await here.budgets.count(again, JobStatus("w.a2", Phase.ENDED, status.steps))
    assert here.db.spent(MONTH, ["acme"])["acme"].usd == 1 + 5


async def test_what_was_killed_is_counted_to_its_time_limit(here):
    """A poller that was away for two days sees it then; it had a day."""
    await here.budgets.count(*attempt("w", 48, cluster="slurm", ended=False))
    assert here.db.spent(MONTH, ["acme"])["acme"].usd == 24


async def test_what_is_begun_counts_before_it_is_held(here):
    begun, _ = attempt("w", 1)
    begun = begun.model_copy(update={"estimates": Estimates(vcpu_hours=7)})
    await here.budgets.look([begun])
    assert here.budgets.known["acme"].expected_usd == 7
    here.db.register(begun.model_copy(update={"state": State.IN_PROGRESS, "lock_owner": "p"}))
    await here.budgets.look([begun])
    assert here.budgets.known["acme"].expected_usd == 7, "and once when it is"
    assert here.limits.budgets == here.budgets.known


async def test_people_are_told_at_each_level_until_that_is_noted(here, monkeypatch, caplog):
    await here.budgets.look()
    assert here.told == []
    await here.budgets.count(*attempt("w1", 8))
    noted = here.db.budget_told
    with monkeypatch.context() as away:
        away.setitem(here.db.__dict__, "budget_told", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await here.budgets.look()
    assert here.db.budget_told == noted
    for _ in range(2):
        await here.budgets.look()
    assert [one.kind for one in here.told] == [Kind.BUDGET] * 2, "a death between is told twice by"
    assert "at 100 % nothing begins" in here.told[-1].message
    await here.budgets.count(*attempt("w2", 2))
    for _ in range(2):
        await here.budgets.look()
    await here.budgets.look()
    assert len(here.told) == 3 and "nothing of it begins" in here.told[-1].message
    assert caplog.messages[-1] == here.told[-1].message
    assert (here.told[-1].about, here.told[-1].attributes["customer_id"]) == ("acme", "acme")


async def test_who_raises_it_is_told_of_the_raised_one(here):
    await here.budgets.count(*attempt("w1", 10))
    await here.budgets.look()
    more = here.settings.customers["acme"].model_copy(update={"budget_usd_per_month": 20})
    here.settings = here.settings.model_copy(update={"customers": {"acme": more}})
    await here.budgets.look()
    assert len(here.told) == 1 and here.budgets.known["acme"].left_usd == 10
    await here.budgets.count(*attempt("w2", 10))
    await here.budgets.look()
    assert len(here.told) == 2 and "$20.00 of $20.00" in here.told[-1].message


async def test_without_budgets_nothing_is_asked(here, monkeypatch):
    here.settings = here.settings.model_copy(update={"customers": {}})
    monkeypatch.setitem(here.db.__dict__, "spent", lambda *_: 1 / 0)
    await here.budgets.look()
    assert here.budgets.known == {}
