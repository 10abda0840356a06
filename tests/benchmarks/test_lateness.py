"""Saying when a result is wanted has it come sooner, on days of small worksets."""

from statistics import mean

from benchmarks import days
from benchmarks.lateness import SHARE, dues, one_day
from benchmarks.replay import Plan, Site


def test_less_of_what_is_due_comes_late_when_the_plan_knows(monkeypatch):
    monkeypatch.setattr(days, "WORKSETS", 300)
    late = {True: [], False: []}
    for seed in (1, 2):
        one = days.day(seed, 1.2)
        for knows, found in late.items():
            found.append(one_day(*one, Plan, seed, knows=knows))
        due = dues(Site(*one), seed)
        assert abs(len(due) / 300 - SHARE) < 0.1 and min(due.values()) > 0
    for figure in ("late", "late_h"):
        knows, not_ = (mean(one[figure] for one in late[key]) for key in (True, False))
        assert knows < 0.8 * not_, figure
    assert mean(a["cost"] / b["cost"] for a, b in zip(late[True], late[False], strict=True)) < 1.05
