"""What people read in Prefect's UI: whole, and text of strangers stays text."""

import itertools
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets import overview
from worksets.capacity import ClusterView, Limits
from worksets.costs import PlacementPolicy
from worksets.diagnosis import diagnose
from worksets.errors import ErrorCategory
from worksets.gantt import COLOURS, Bar, gantt, lanes
from worksets.health import Health
from worksets.pages import cell, failure_report, queue_page, table, usage_page, workset_page
from worksets.record import (
    Estimates,
    Exported,
    HistoryEntry,
    Priority,
    State,
    Step,
    StepRun,
    Took,
    WorksetRecord,
)
from worksets.texts import length

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
VIEW = ClusterView(
    name="a", max_concurrent_worksets=2, vcpus_per_workset=4, price_per_vcpu_hour=0.5
)
NASTY = "x | y <b>`*_[z](http://evil)\n# title"


def record(**more):
    return WorksetRecord(
        **{
            "workset_id": "w1",
            "customer_id": "acme",
            "location": "file:///data/w1",
            "estimates": Estimates(vcpus=4, vcpu_hours=8),
            "created_at": NOW - timedelta(hours=1),
            "updated_at": NOW,
            **more,
        }
    )


def ran(step, code=0, hours=1.0):
    begin = NOW - timedelta(hours=3)
    return StepRun(step=step, attempt=1, cluster_name="a", exit_code=code, started_at=begin,
                   ended_at=begin + timedelta(hours=hours))  # fmt: skip


def test_a_complete_workset_says_what_it_took_cost_and_left():
    page = workset_page(
        record(
            state=State.COMPLETE,
            cluster_name="a",
            attempt=1,
            completed_steps=tuple(Step),
            step_runs=(
                ran(Step.STAGE),
                ran(Step.RUN).model_copy(update={"took": Took(cpu_s=5400, peak_gb=3.456)}),
                ran(Step.EXPORT).model_copy(update={"took": Took(cpu_s=1)}),
            ),
            exported=Exported(files=3, bytes=12345, manifest_sha256="ab" * 32),
        ),
        {"a": VIEW},
        NOW,
    )
    assert "# w1: complete" in page and "Nothing is to be done." in page
    assert "| expected | 2 h, $4.00 |" in page
    assert "| so far | 3 h, $6.00 |" in page and "| disk |" not in page
    large = record(estimates=Estimates(vcpus=4, vcpu_hours=8, storage_gb=1234.5))
    assert "| disk | about 1,234.5 GB |" in workset_page(large, {}, NOW)
    learned = large.model_copy(
        update={"estimates": Estimates(vcpus=4, vcpu_hours=8, learned_from=14)}
    )
    assert "| expected | 2 h, learned from 14 finished worksets |" in workset_page(learned, {}, NOW)
    assert "3 files, 12,345 bytes; manifest sha256 abab" in page
    assert page.count("| ok |") == 3
    assert "| 60 min | – | – | ok |" in page and "| 60 min | 1 s | – | ok |" in page
    assert "| 60 min | 90 min | 3.46 GB | ok |" in page


def test_a_dead_letter_says_the_cause_the_remedy_and_what_to_press():
    failed = record(
        state=State.FAILED,
        failed_step="run",
        error_category=ErrorCategory.DATA,
        error_details="exit code 1: the reads are damaged\nlog",
        job_name="w1.a1",
        cluster_name="a",
        attempt=1,
    )
    report = failure_report(failed, "run", "exit code 1", diagnose(1, "no such read"), "``` end")
    page = workset_page(failed, {}, NOW, report)
    assert "run: exit code 1: the reads are damaged." in page
    assert "press **Retry**" in page and "`worksets retry w1`" in page
    assert "End of the step's log" in page and "````\n``` end\n````" in page


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"state": State.RETRYING, "retry_after": NOW, "error_details": "no disk"}, "tried again"),
        ({"state": State.CANCELLED}, "To bring it back"),
        ({"state": State.READY, "awaits": "x.fq is missing"}, "It waits: x.fq is missing"),
        ({"state": State.READY}, "It waits: for a free slot"),
        ({"state": State.IN_PROGRESS, "lock_owner": "p", "job_ended": False}, "its job runs"),
        (
            {"state": State.IN_PROGRESS, "lock_owner": "p", "cancel_requested": "mixed up"},
            "It is cancelled when its job has ended: mixed up",
        ),
    ],
)
def test_every_state_says_what_to_do(more, told):
    assert told in workset_page(record(**more), {}, NOW)


def test_the_queue_has_clusters_waiting_and_what_is_expected():
    held = record(
        workset_id="w0", state=State.IN_PROGRESS, cluster_name="a", lock_owner="p",
        job_ended=False, history=(HistoryEntry(at=NOW - timedelta(hours=1), event="Begin"),),
    )  # fmt: skip
    records = [held, record(priority=Priority.URGENT), record(workset_id="w2", awaits="y.fq")]
    view = VIEW.model_copy(update={"max_concurrent_worksets": 1})
    limits = Limits(max_worksets=5, clusters={"a": 1})
    rows = overview.queue(records, [view], limits, {"acme": 1.0}, PlacementPolicy(), NOW)
    assert [row["workset"] for row in rows] == ["w1", "w2"]
    assert rows[0]["starts"] == "2026-01-01T13:00:00+00:00" and rows[0]["usd"] == 4.0
    assert rows[1]["why"] == "waits for its files: y.fq" and rows[1]["starts"] is None
    health = {"a": Health(heard_at=NOW)}
    there = overview.clusters([view], health, {"cluster:a": 1}, limits, NOW)
    assert there[0] | {} == {
        "cluster": "a", "held": 1, "limit": 1, "takes": "yes", "why": "",
        "heard_at": "2026-01-01T12:00:00+00:00", "failures": 0, "usd_per_vcpu_hour": 0.5,
    }  # fmt: skip
    depth = overview.depth(records, NOW)
    assert depth["by_state"] == {"in_progress": 1, "ready": 2}
    assert depth["oldest_wait_s"] == 3600
    page = queue_page(rows, depth, there, NOW, "paused")
    assert "**paused**" in page and "| 1 | w1 | 13:00:00 | 15:00:00 | $4.00 | 18 min |" in page
    assert "| a | 1 | 1 | yes | – | 12:00:00 |" in page and "| acme | urgent |" in page
    late = [{**rows[0], "starts": "2026-01-02T01:00:00+00:00"}]
    assert "| 02 Jan 01:00 |" in queue_page(late, depth, there, NOW)
    empty = queue_page([], overview.depth([], NOW), there, NOW)
    assert "Nothing waits." in empty and "Nothing is unfinished." in empty


def test_the_queue_says_what_is_due_and_what_will_be_late():
    view = VIEW.model_copy(update={"max_concurrent_worksets": 1})
    limits = Limits(max_worksets=5, clusters={"a": 1})

    def why(due):
        (row,) = overview.queue(
            [record(due=due)], [view], limits, {"acme": 1.0}, PlacementPolicy(), NOW
        )
        return row["due"], row["why"].partition("; due ")[2]

    assert why(None) == (None, "")
    in_time, late = NOW + timedelta(hours=9), NOW + timedelta(hours=0.5)
    assert why(in_time) == ("2026-01-01T21:00:00+00:00", "2026-01-01 21:00 UTC")
    assert why(late)[1] == "2026-01-01 12:30 UTC, expected 90 min later"
    assert "| due | 2026-01-01 12:30 UTC |" in workset_page(record(due=late), {}, NOW)


def test_usage_is_a_table_with_the_sum_the_budgets_and_what_is_missing():
    row = {"customer": "acme", "worksets": 3, "failed_runs": 1, "vcpu_hours": 12.5, "busy": "81%",
           "peak_gb": None, "usd": 6.25, "told_by": "accounting", "jobs": 9}  # fmt: skip
    rows = [row, {**row, "customer": "all"}]
    since = NOW - timedelta(days=1)
    text = usage_page(rows, "customer", since, NOW, ["acme: half is spent"], {"hpc": NASTY})
    assert "from 2025-12-31 12:00 to 2026-01-01 12:00 UTC" in text
    assert "| customer | worksets | failed runs | vCPU-hours | busy |" in text
    assert "| acme | 3 | 1 | 12.5 | 81% | – | $6.25 | accounting |" in text
    assert "| all | 3 |" in text and "- acme: half is spent" in text
    assert "**hpc**: by markers" in text and r"\<b\>" in text
    assert "Budgets" not in usage_page(rows, "customer", since, NOW, [], {})
    none = usage_page([], "customer", since, NOW, ["acme: half is spent"], {})
    assert "Nothing was used." in none and "- acme: half is spent" in none


def test_text_of_strangers_stays_text_in_every_page():
    page = workset_page(record(workset_id="w", location=NASTY, error_details=NASTY,
                               state=State.FAILED), {}, NOW)  # fmt: skip
    assert not re.search(r"(?<!\\)(<b|\]\()", page) and "\n# title" not in page
    assert cell(NASTY).count("\n") == 0
    assert "\\|" in table(["a"], [[NASTY]])


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(None, "–"), (5, "5 s"), (119, "119 s"), (120, "2 min"), (9000, "2.5 h"), (172_800, "2 d")],
)
def test_lengths_of_time(seconds, told):
    assert length(seconds) == told


bars = st.lists(
    st.builds(
        lambda cluster, name, at, took, state: Bar(
            cluster, name, NOW + timedelta(minutes=at), NOW + timedelta(minutes=at + took), state
        ),
        st.sampled_from(["a", "b<", ""]),
        st.text(max_size=20),
        st.integers(-100, 1500),
        st.integers(0, 300),
        st.sampled_from([*COLOURS, "", "ODD"]),
    ),
    max_size=30,
)


@given(bars, st.integers(1, 3000))
def test_the_picture_is_lawful_and_no_bar_leaves_it(some, minutes):
    svg = ElementTree.fromstring(gantt(some, NOW, NOW + timedelta(minutes=minutes)))
    width, height = float(svg.get("width")), float(svg.get("height"))
    space = "{http://www.w3.org/2000/svg}"
    for rect in svg.iter(f"{space}rect"):
        x, y = float(rect.get("x", 0)), float(rect.get("y", 0))
        assert x >= 0 and x + float(rect.get("width")) <= width + 1
        assert y >= 0 and y + float(rect.get("height")) <= height + 1
    end = NOW + timedelta(minutes=minutes)
    seen = [bar for bar in some if bar.end >= NOW and bar.begin <= end]
    assert len(list(svg.iter(f"{space}title"))) == len(seen)


@given(bars)
def test_no_bar_overlaps_another_in_its_lane(some):
    rows = lanes(some)
    assert sorted(map(id, some)) == sorted(id(bar) for row in rows for bar in row)
    for row in rows:
        assert all(one.end <= two.begin for one, two in itertools.pairwise(row))


def test_a_picture_of_no_time_is_refused():
    with pytest.raises(ValueError, match="length"):
        gantt([], NOW, NOW)
