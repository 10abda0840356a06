"""`make bench`: what it says of a figure, and that one that fails costs no other."""

import json

import pytest

from benchmarks import __main__ as bench
from benchmarks import rows
from benchmarks.history import filled, look
from benchmarks.rows import ROWS, Figure, Programs, Row, program
from worksets.record import State


def row(values, others=None, target=1.2, name="one"):
    given, beside = iter(values), iter(others or ())
    return Row(
        name, "what it is", "s", lambda: next(given), target,
        (lambda: next(beside)) if others else None, "another",
    )  # fmt: skip


def measured(row, times):
    figure = Figure(row)
    for _ in range(times):
        figure.measure()
    return figure.kept()


def test_a_figure_is_the_median_and_its_ratio_that_of_the_pairs():
    found = measured(row([2.0, 30.0, 3.0], [2.0, 20.0, 1.0]), 3)
    assert (found["value"], found["min"], found["max"]) == (3.0, 2.0, 30.0)
    assert found["ratio"] == 1.5 and not found["met"], "1, 1.5 and 3, whatever slowed both down"
    assert measured(row([2.0, 1.0, 1.3]), 3)["ratio"] is None


@pytest.mark.parametrize(("value", "met"), [(1.2, True), (1.21, False)])
def test_a_target_is_the_most_that_it_may_be(value, met):
    assert measured(row([value]), 1)["met"] is met
    assert measured(row([value * 5], [5.0]), 1)["met"] is met


def test_each_is_kept_as_soon_as_it_is_known_and_one_that_fails_costs_no_other(tmp_path, capsys):
    some = [row([1.0], name="first"), row([], name="broken"), row([9.0], name="last")]
    assert bench.run(some, 1, tmp_path) == 1
    kept = json.loads((tmp_path / "latest.json").read_text())
    assert {name: one["met"] for name, one in kept.items()} == {"first": True, "last": False}
    assert kept["first"]["target"] == 1.2 and kept["first"]["versions"].startswith("Python")
    said = capsys.readouterr()
    assert "broken: not measured" in said.err and "last: 9 (at most 1.2): MISSED" in said.out
    assert bench.run([row([2.0], name="first")], 1, tmp_path) == 0
    again = json.loads((tmp_path / "latest.json").read_text())
    assert again["last"] == kept["last"] and again["first"]["value"] == 2.0
    text = (tmp_path / "latest.md").read_text()
    assert "| `last` | what it is | 9 s |" in text and "**no**" in text


def test_what_waits_by_its_own_clock_is_measured_once():
    asked = []
    one = Row("n", "w", "s", lambda: 30.0, 1 / 3, lambda: asked.append(1) or 100.0, "b", True)
    found = measured(one, 3)
    assert (found["ratio"], found["times"], len(asked)) == (0.3, 3, 1) and found["met"]


def test_rows_of_one_program_share_its_run_in_a_round_and_only_in_it(monkeypatch):
    ran = []
    monkeypatch.setattr(rows, "program", lambda *argv: ran.append(argv) or {"a": 1, "b": len(ran)})
    programs = Programs()
    a, b = programs.figure("a", "x"), programs.figure("b", "x")
    assert (a(), b(), b()) == (1.0, 1.0, 1.0) and ran == [("x",)]
    programs.begin_round()
    assert b() == 2.0
    programs.figure("a", "x", "--more")()
    assert len(ran) == 3


def test_a_row_that_there_is_not_is_named_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        bench.main(["plans"])
    assert "no such row: plans; there are plan_300" in capsys.readouterr().err


def test_what_a_program_prints_last_counts_and_its_failure_is_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"benchmarks\.planning --no-such-option ended with 2"):
        program("benchmarks.planning", "--no-such-option")


def test_the_rows_are_named_as_they_are_kept():
    assert all(name == each.name and each.target > 0 for name, each in ROWS.items())
    assert all(bool(each.beside) == bool(each.ratio_to) for each in ROWS.values())


def test_the_state_db_of_the_history_is_one_that_is_used(tmp_path):
    db = filled(tmp_path / "state.db", 30)
    look(db)
    assert len(db.ready()) == 50 and len(db.list_worksets([State.COMPLETE])) == 30
    assert db.get("f000029").step_runs and db.known(["f000029"])["f000029"].ended
