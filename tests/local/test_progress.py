"""The live display fits the terminal, and counts what it does not show."""

import io
import logging
from datetime import UTC, datetime, timedelta

import pytest
from prefect.logging.handlers import PrefectConsoleHandler
from rich.console import Console
from rich.live import Live

from local.progress import bar, fitting, logged_above, table
from worksets.record import State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


LONG = "c-with-a-name: $41.20 run + $0 transfer; another would cost $58.10, but it does not answer"


def records(number, id_="w{:03d}", why=""):
    states = (State.COMPLETE, State.IN_PROGRESS, State.READY, State.FAILED)
    return [
        WorksetRecord(
            workset_id=id_.format(n), customer_id="c", location="f", created_at=NOW,
            updated_at=NOW + timedelta(seconds=n), state=states[n % 4],
            cluster_name="a-cluster-with-a-name", placement_reason=why,
            error_details="" if why else "its lane 2 is cut off in the middle; deliver it again",
        )
        for n in range(number)
    ]  # fmt: skip


@pytest.mark.parametrize("height", [24, 50])
@pytest.mark.parametrize("width", [80, 100, 160])
def test_a_table_of_a_thousand_is_whole_on_any_terminal(width, height):
    out = io.StringIO()
    console = Console(file=out, width=width, height=height)
    console.print(table(*fitting(records(1000), height), width))
    lines = out.getvalue().splitlines()
    assert len(lines) <= height and max(map(len, lines)) <= width
    assert "250 complete" in lines[0] and "of 1000 shown" in lines[0]
    shown = [line for line in lines if "w" in line]
    assert all("in_progress" in line for line in shown[2:]), "what runs comes first"


@pytest.mark.parametrize("width", [60, 80, 96, 100, 120, 132, 200])
@pytest.mark.parametrize("id_", ["w{:03d}", "RUN-2026-11-26-customer-with-a-name-lane-{:03d}"])
def test_each_workset_has_one_whole_line_of_a_live_display(width, id_):
    """D13: names and reasons as people have them; every column that is there can be read."""
    out = io.StringIO()
    shown = table(records(9, id_, LONG), "nine", width, lines=True)
    Console(file=out, width=width).print(shown)
    title, top, head, *rows, bottom = out.getvalue().splitlines()
    assert title.strip() == "nine" and len(rows) == 10
    assert {len(line) for line in (top, head, *rows, bottom)} == {width}
    assert top[-1] + head[-1] + bottom[-1] == "┓┃┘" and all(row[-1] in "┩│" for row in rows)
    columns = [part.strip() for part in head.strip("┃").split("┃")]
    assert columns[0] == "workset" and columns[-1] == "why" and all(map(str.isalpha, "".join(
        columns).replace(" ", "")))  # fmt: skip
    room = len(rows[1].rsplit("│", 2)[1])
    assert room >= (20 if width < 120 else 26), "room for the reason"


def test_why_it_failed_is_readable_in_eighty_columns():
    out = io.StringIO()
    Console(file=out, width=80).print(table(records(4), "4", 80))
    assert "its lane 2 is cut off" in out.getvalue()


def test_log_lines_stand_above_the_table_and_do_not_tear_it():
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True)
    handler = PrefectConsoleHandler(stream=io.StringIO())
    log = logging.getLogger("a.log.of.this.test")
    log.addHandler(handler)
    before = handler.console
    with Live(console=console, refresh_per_second=50) as live, logged_above(console):
        live.update(table(records(3), "three", 80))
        log.warning("it [red]burns[/red]\nand more")
        live.refresh()
    assert handler.console is before and handler.stream.getvalue() == ""
    shown = out.getvalue()
    assert "it [red]burns[/red]" in shown and "and more" not in shown
    assert shown.index("burns") < shown.rindex("three"), "above the table"


def test_the_bar_says_how_many_have_ended_and_when_the_last_will():
    out = io.StringIO()
    Console(file=out, width=80).print(bar(records(4), NOW))
    assert "2 of 4 have ended, the last at about" in out.getvalue()
    out = io.StringIO()
    Console(file=out, width=80).print(bar(records(1), NOW))
    assert "1 of 1 have ended" in out.getvalue() and "the last" not in out.getvalue()
