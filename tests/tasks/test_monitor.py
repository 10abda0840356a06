"""monitor: a job that waits says why; one that is stuck is told to people, once."""

import asyncio
import logging

import pytest

import tasks.monitor
from blocks.clusters.slurm.states import parse_squeue, remedy_of, word
from tasks.monitor import Waiting
from tests.virtual_time import run
from worksets.announcements import Kind
from worksets.belief import NOTHING, Markers, believe
from worksets.jobs import JobStatus, Phase


@pytest.fixture
def told(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(tasks.monitor, "get_run_logger", lambda: logging.getLogger("run"))
    return []


def status(reason):
    state = reason if reason.isupper() else "PENDING"
    said = word(parse_squeue(f"7|w1.i-x.a1|{state}|{reason}|\n")["w1.i-x.a1"])
    return believe(NOTHING, "w1.i-x.a1", said, Markers(), 0, 60).status


def watch(told, *story, minutes=15.0):
    """Look every minute; (minutes, reason) each."""

    async def main():
        waiting = Waiting("w1.i-x.a1", minutes * 60, lambda *words: told.append(words))
        for count, reason in story:
            for _ in range(count):
                waiting.notice(status(reason))
                await asyncio.sleep(60)

    run(main())


def test_a_reason_that_never_passes_is_told_once_with_what_to_do(told, caplog):
    """C5: a retry with more time than the partition's MaxTime."""
    watch(told, (5, "Priority"), (40, "PartitionTimeLimit"))
    [(kind, text)] = told
    assert kind is Kind.STUCK
    assert "PartitionTimeLimit" in text and "lower minutes of its pipeline" in text
    assert caplog.text.count("is queued: Priority") == 1, "said when it changes"


def test_what_passes_by_itself_or_in_time_is_nobodys_business(told):
    watch(told, (600, "Resources"), (600, "Priority"))
    watch(told, (14, "QOSMaxCpuPerUserLimit"), (1, "Priority"), (14, "QOSMaxCpuPerUserLimit"))
    assert told == []


def test_a_job_of_which_its_cluster_can_say_nothing_is_told_once(told):
    """B4: a marker that is damaged, on a cluster that answers."""
    unknown = JobStatus("w1.i-x.a1", Phase.UNKNOWN, (), "its marker run.exit is damaged")

    async def main():
        waiting = Waiting("w1.i-x.a1", 900, lambda *words: told.append(words))
        for seen in [unknown] * 14 + [status("")] + [unknown] * 40:
            waiting.notice(seen)
            await asyncio.sleep(60)

    run(main())
    [(kind, text)] = told
    assert kind is Kind.UNSETTLED and "w1.i-x.a1" in text and "run.exit is damaged" in text


def test_a_job_that_stands_still_is_told_too(told):
    watch(told, (5, "RUNNING"), (40, "SUSPENDED"))
    [(kind, text)] = told
    assert kind is Kind.STUCK and "w1.i-x.a1 stands still: SUSPENDED" in text
    assert "scontrol resume" in text


@pytest.mark.parametrize(
    ("reason", "stuck"),
    [
        ("JobHeldAdmin", True), ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", True),
        ("(ReqNodeNotAvail)", False), ("AssocGrpCPUMinutesLimit", True), ("BeginTime", False),
        ("None", False), ("", False), ("Dependency", False), ("DependencyNeverSatisfied", True),
        ("Nodes required for job are DOWN, DRAINED or reserved for jobs in …", True),
        ("Job's account not permitted to use this partition (p allows a not b)", True),
        ("QOSMinCpuNotSatisfied", True), ("MaxMemoryPerAccount", True), ("PartitionConfig", True),
        ("launch failed requeued held", True), ("Licenses", False), ("Resources", False),
    ],
)  # fmt: skip
def test_the_table_of_reasons(reason, stuck):
    assert bool(remedy_of(reason)) == stuck
