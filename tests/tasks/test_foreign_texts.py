"""A log full of NULs, or anybody's YAML, at every edge where texts leave this project."""

import asyncio
import io
import json
import logging
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from prefect.logging.handlers import PrefectConsoleHandler, set_api_log_sink
from rich.console import Console

import flows.process_workset as process
from blocks.notify import as_event
from local import progress
from tasks.labels import name_of_run
from tasks.settle import Outcome
from tests.worksets.test_texts import TEXTS, fit
from worksets import events as ev
from worksets import lifecycle as lc
from worksets.announcements import MAX_BODY, Announcement, Kind
from worksets.dead_letters import row
from worksets.diagnosis import diagnose
from worksets.errors import MAX_DETAILS, ConfigurationError, ErrorCategory
from worksets.pages import failure_report
from worksets.record import HistoryEntry, State, WorksetRecord
from worksets.texts import MAX_TEXT

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NASTY = "[/x] [red]:smile: \0\0\x1b[2J\x1b]0;t\x07\u202e\ud800 " + "y" * 100_000 + "\nend\0"


def record(**fields):
    given = {"workset_id": "w", "location": "file:///w", "created_at": NOW, "updated_at": NOW}
    return WorksetRecord(**{**given, **fields})


def dirty(state=State.FAILED):
    """As an older release may have kept it, though no JSON holds a lone surrogate."""
    text = NASTY.replace("\ud800", "")
    return record(
        state=state, error_details=text, placement_reason=text, cluster_name="c",
        history=(HistoryEntry(at=NOW, event="Fail", note=text),),
    )  # fmt: skip


EVENTS = [
    (State.LOCKED, lambda text: ev.Fail(ErrorCategory.DATA, text, "run", fence=0)),
    (State.LOCKED, lambda text: ev.Fail(None, text, "run", fence=0)),
    (State.LOCKED, lambda text: ev.Postpone(0, text)),
    (State.LOCKED, lambda text: ev.ForceRelease(text)),
    (State.READY, lambda text: ev.Lock("p", "c", text)),
    (State.READY, lambda text: ev.Cancel(text)),
    (State.IN_PROGRESS, lambda text: ev.Cancel(text)),
    (State.READY, lambda text: ev.Wait(text)),
    (State.READY, lambda text: ev.AwaitDelivery(text, "looked")),
    (State.COMPLETE, lambda text: ev.Redelivered("change", text)),
    (State.FAILED, lambda text: ev.Restore(text)),
]


@pytest.mark.parametrize(("state", "event"), EVENTS)
@given(text=TEXTS)
@settings(max_examples=30)
def test_no_event_puts_an_unfit_text_into_a_record(state, event, text):
    after = lc.apply(
        record(state=state, job_ended=state is not State.IN_PROGRESS), event(text), NOW
    )
    assert isinstance(after, WorksetRecord)
    assert fit(after.model_dump_json())
    assert all(
        fit(told) and len(told) <= MAX_DETAILS
        for told in (
            after.error_details, after.placement_reason, after.awaits, after.cancel_requested,
            *(entry.note for entry in after.history),
        )
    )  # fmt: skip


def test_of_a_long_error_the_end_is_kept_as_well_and_the_verdict_whole():
    after = lc.apply(
        record(state=State.LOCKED), ev.Fail(ErrorCategory.DATA, NASTY, "run", fence=0), NOW
    )
    assert after.error_details.endswith("\nend␀") and "characters left out" in after.error_details
    assert after.history[-1].note.endswith("[dead letter: a data error is not tried again]")


@given(TEXTS)
def test_what_a_person_is_told_is_fit(text):
    for about in (
        Announcement(Kind.STUCK, text, text),
        Announcement(Kind.STUCK, "w", text, dirty()),
    ):
        assert fit(about.body) and len(about.body) <= MAX_BODY and fit(about.message)
        assert about.subject.isascii() and about.subject.isprintable()
        event = as_event(about)
        assert fit(json.dumps(event, ensure_ascii=False))


@given(TEXTS)
def test_an_error_of_ours_says_it_in_a_fit_text(text):
    told = str(ConfigurationError(f"the cluster said: {text}"))
    assert fit(told) and len(told) <= MAX_TEXT


def test_names_states_and_artifacts_of_prefect_are_fit():
    state = process._shown(Outcome("w", State.FAILED, NASTY))
    assert fit(state.message) and len(state.message) <= 2000
    assert fit(name_of_run(NASTY, 1))
    report = failure_report(record(job_name=NASTY), "run", NASTY, diagnose(1, NASTY), NASTY)
    assert fit(report) and len(report) < 20_000
    for key, value in row(dirty()).items():
        assert fit(str(value)), key


@pytest.mark.parametrize("terminal", [True, False])
def test_data_is_never_markup_on_a_terminal(terminal):
    out = io.StringIO()
    console = Console(file=out, width=300, force_terminal=terminal, color_system=None)
    console.print(progress.table([dirty(), dirty(State.COMPLETE)], "1 failed"))
    progress.say(console, "results: ", NASTY, style="red")
    shown = out.getvalue()
    assert shown.count("[/x] [red]:smile:") == 3
    assert "\0" not in shown and "\x1b[2J" not in shown and "\u202e" not in shown


async def test_the_lines_of_make_run_elsewhere_are_fit():
    out, until = io.StringIO(), asyncio.Event()

    class Worksets:
        def look(self):
            until.set()
            return [dirty()]

    await progress.show(Console(file=out, width=200), Worksets(), until)
    assert " on c [/x] [" in out.getvalue() and fit(out.getvalue())


def test_the_last_words_of_make_run_are_no_markup_either():
    out = io.StringIO()
    progress.tell_odd(
        Console(file=out, width=300),
        [{"workset_id": "w", "state": "failed", "expected_state": "complete", "message": NASTY}],
    )
    assert "w is failed, expected was complete: [/x] [red]:smile:" in out.getvalue()
    assert fit(out.getvalue())


@pytest.fixture
def sent():
    """What Prefect's own handlers would send to its server."""
    logs = []
    set_api_log_sink(logs.append)
    yield logs
    set_api_log_sink(None)


def test_a_log_line_is_fit_with_its_traceback_whoever_logs_it(sent):
    logger = logging.getLogger("prefect.flow_runs")
    extra = {"flow_run_id": str(uuid.uuid4()), "flow_run_name": "r", "flow_name": "f"}
    logger.warning("%s: %d", NASTY, 3, extra=extra)
    try:
        raise ValueError(NASTY)
    except ValueError:
        logger.exception("it broke off: %s", NASTY, extra=extra)
    logger.warning("100 % plain", extra=extra)
    first, second, third = (entry["message"] for entry in sent)
    for text in (first, second):
        assert fit(text) and len(text) <= 2 * MAX_TEXT + 100
    assert first.endswith(": 3") and "Traceback" in second and third == "100 % plain"


def test_the_console_shows_log_lines_fit_too(monkeypatch):
    [handler] = [h for h in logging.getLogger().handlers if isinstance(h, PrefectConsoleHandler)]
    out = io.StringIO()
    monkeypatch.setattr(handler, "console", Console(file=out, width=200, markup=False))
    logging.getLogger("worksets.any").error("%s", NASTY)
    assert "[/x] [red]" in out.getvalue() and fit(out.getvalue())
