"""What joins the settings file, the flows, the cluster and the files, seen from both of its ends.

A site as a user makes it: a settings file with only what must be in it. Everything runs in this
process, on a real Prefect server: a whole poll takes two seconds.
"""

import asyncio
import hashlib
import json
import os
import re
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.logging.handlers import APILogHandler
from prefect.settings import temporary_settings

import local.run
from cli import main as program
from flows.dead_letters import list_dead_letters, redrive_worksets
from flows.operators import (
    cancel_workset,
    clean_worksets,
    drain_cluster,
    register_worksets,
    report_usage,
    set_priority,
)
from flows.poll_worksets import poll_worksets
from flows.process_workset import process_workset
from flows.serve_worksets import serve_worksets
from local import settings_file
from tests.real.conftest import made_site
from worksets.record import State

pytestmark = pytest.mark.real

JOIN = 'cat "$1"/* > "$2"/joined.txt; echo "$3 $4 $5" > "$2"/told.txt; env > "$2"/env.txt'
SETTINGS = {
    "state_db": {"type": "sqlite", "path": "state.db"},
    "worksets": ["in"],
    "results": "results",
    "customers": {"acme": {}, "borealis": {}},
    "clusters": [{"type": "local-cluster", "cluster_name": "a", "work_folder": "a"}],
    "pipelines": {
        "germline": {
            "run": ["sh", "-c", JOIN, "-", "{inputs}", "{results}", "{customer_id}",
                    "{reference_genome}", "{attempt}"],
        },
        "sleeps": {"run": ["sh", "-c", "sleep 3; echo done > $0/done", "{results}"]},
        "long": {"run": ["sleep", "600"]},
        "bad-data": {"run": ["sh", "-c", "echo 'reads differ in length' >&2; exit 65"]},
        "unlucky": {"run": ["sh", "-c", "exit 75"]},
        "nothing": {"run": ["true"]},
        "odd": {"run": ["sh", "-c", "echo 'E42: the moon is full' >&2; exit 1"]},
    },
}  # fmt: skip


class Here:
    """One site, and what a user does with it."""

    def __init__(self, site):
        self.site, self.folder, self.name = site, site.folder, site.name
        (self.folder / "in").mkdir()

    def deliver(self, name, customer="acme", reads=True, **keys):
        folder = self.folder / "in" / name
        folder.mkdir()
        if reads:
            self.reads(name)
        spec = {"samples": [{"sample_id": "s", "fastq_r1": "a.fq"}], "reference_genome": "hg38",
                "customer_id": customer, **keys}  # fmt: skip
        spec = {key: value for key, value in spec.items() if value is not None}
        (folder / "daylily_work.yaml").write_text(yaml.safe_dump(spec))

    def reads(self, name):
        reads = self.folder / "in" / name / "a.fq"
        reads.write_text(f"reads of {name}")
        os.utime(reads, (0, 0))

    async def configure(self, **settings):
        file = self.folder / "settings.yaml"
        file.write_text(yaml.safe_dump({**SETTINGS, **settings}))
        await settings_file.save(*settings_file.read(file, self.folder), self.name)

    async def poll(self, until_done=True, **settings):
        await self.configure(**settings)
        return await poll_worksets(settings=self.name, until_done=until_done)

    @property
    def db(self):
        return self.site.db

    def result(self, name, file="joined.txt", customer="acme"):
        return (self.folder / "results" / customer / name / file).read_text()

    def runs(self, flow="process_workset"):
        """The flow runs of this site, by their names."""
        found = self.site.prefect.runs(flow)
        return {r["name"]: r for r in found if r["parameters"].get("settings") == self.name}

    def artifact(self, key):
        ask = {"artifacts": {"key": {"any_": [key]}}, "limit": 1}
        return self.site.prefect.post("artifacts/latest/filter", **ask)[0]

    async def until(self, condition, seen=lambda: None, seconds=60):
        """Wait for `condition`; `seen` says what is there instead, where it never comes."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, seen()
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture
async def here(prefect_server, server_log, tmp_path, request):
    with (
        made_site(prefect_server, tmp_path, request.node.name) as site,
        temporary_settings(updates=site.client_settings()),
    ):
        yield Here(site)
        await APILogHandler.aflush()


def clusters(*more):
    return {"clusters": [{"type": "local-cluster", "work_folder": each["cluster_name"], **each}
                         for each in more]}  # fmt: skip


async def test_a_workset_is_seen_from_its_folder_to_its_results(here):
    here.deliver("w1")
    here.deliver("w2", "borealis", priority="urgent")
    said = await here.poll(customers={"acme": {"max_concurrent_worksets": 3}, "borealis": {}})
    assert said == {"cycles": 1, "started": 2}
    assert here.result("w1") == "reads of w1" and here.result("w1", "told.txt") == "acme hg38 1\n"
    assert here.result("w2", customer="borealis") == "reads of w2"
    record = here.db.get("w1")
    assert record.state is State.COMPLETE and record.cluster_name == "a" and record.attempt == 1
    assert [(run.step.value, run.attempt, run.exit_code) for run in record.step_runs] == [
        ("stage", 1, 0), ("run", 1, 0), ("export", 1, 0),
    ]  # fmt: skip
    events = [entry.event for entry in record.history]
    assert events == ["Found", "Lock", "Begin", "Complete"]
    assert record.exported.files == 3
    assert here.db.get("w2").priority == "urgent" and not here.db.holders()

    run = here.runs()["w1 · attempt 1"]
    assert run["state"]["type"] == "COMPLETED" and "complete on a" in run["state"]["message"]
    assert {"workset:w1", "customer:acme"} <= set(run["tags"])
    inside = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    named = {"validate w1", "schedule w1", "lock w1", "dispatch w1 on a", "monitor w1 on a"}

    def tasks():
        return {t["name"]: t for t in here.site.prefect.post("task_runs/filter", **inside)}

    def states():
        return {name: task["state"]["type"] for name, task in tasks().items()}

    # the server writes its tasks' ends together, a second late, and their names with their ends
    await here.until(lambda: states() == dict.fromkeys(named, "COMPLETED"), states)
    ours = here.db.installation()
    limited = {f"worksets@{ours}", f"cluster:a@{ours}", f"customer:acme@{ours}"}
    for name, task in tasks().items():
        wanted = limited if name.startswith(("dispatch", "monitor")) else set()
        assert set(task["tags"]) == wanted, name
    limits = {x["name"]: x for x in here.site.prefect.limits() if x["name"].endswith(ours)}
    assert {name: (x["limit"], x["active_slots"]) for name, x in limits.items()} == {
        f"tag:worksets@{ours}": (10, 0), f"tag:cluster:a@{ours}": (1, 0),
        f"tag:customer:acme@{ours}": (3, 0),
    }  # fmt: skip

    [poll] = [name for name in here.runs("poll_worksets") if name.startswith("poll from ")]
    assert poll.endswith(", 2 started")
    page = here.artifact(f"workset-w1-{record.uid}")
    assert page["description"] == "w1: complete" and "germline" in page["data"]
    assert here.artifact(f"queue-{here.name}")["data"]


async def test_a_failure_says_its_class_its_cause_and_what_to_do(here):
    here.deliver("bad", pipeline="bad-data")
    here.deliver("odd", pipeline="odd")
    here.deliver("empty", pipeline="nothing")
    here.deliver("once", pipeline="unlucky", max_retries=0)
    await here.poll(log_patterns=[
        {"pattern": "E42", "category": "permanent",
         "remedy": "wait for another moon"},
    ])  # fmt: skip
    bad, odd, once = (here.db.get(name) for name in ("bad", "odd", "once"))
    assert bad.state is odd.state is once.state is State.FAILED
    assert bad.error_category == "data" and bad.failed_step == "run"
    assert once.error_category == "transient" and once.attempt == 1
    assert "the moon is full" in odd.error_details
    runs = here.runs()
    assert runs["bad · attempt 1"]["state"]["name"] == "DeadLetter"
    page = here.artifact(f"workset-odd-{odd.uid}")["data"]
    assert "wait for another moon" in page and "E42" in page
    # somebody looks at them, puts one right, and brings it back by its class
    rows = await list_dead_letters(settings=here.name)
    assert {row["workset"] for row in rows} == {"bad", "odd", "empty", "once"}
    empty = here.db.get("empty")
    assert (empty.error_category, empty.failed_step) == ("configuration", "export")
    assert "left nothing in {results}" in empty.error_details
    spec = here.folder / "in" / "bad" / "daylily_work.yaml"
    spec.write_text(spec.read_text().replace("bad-data", "germline"))
    done = await redrive_worksets(error_category="data", reason="better", settings=here.name)
    assert done == {"redriven": ["bad"], "left_alone": []}
    await poll_worksets(settings=here.name, until_done=True)
    bad = here.db.get("bad")
    assert bad.state is State.COMPLETE and here.result("bad") == "reads of bad"
    assert any("better" in entry.note for entry in bad.history)


async def test_what_may_be_better_next_time_is_tried_again_and_only_if_asked_for(here):
    here.deliver("later", pipeline="unlucky")
    here.deliver("own", pipeline="unlucky", max_retries=0)
    await here.poll(default_max_retries=1)
    later, own = here.db.get("later"), here.db.get("own")
    assert (later.state, later.attempt) == (own.state, own.attempt + 1) == (State.FAILED, 2)
    [_, first, *_] = [e.note for e in later.history if e.event in ("Lock", "Fail")]
    assert "retry 1 of 1 in 2 s" in first
    runs = here.runs()
    assert runs["later · attempt 1"]["state"]["name"] == "Retrying"
    assert runs["later · attempt 2"]["state"]["name"] == "DeadLetter"
    begun = [run["start_time"] for run in (runs["later · attempt 1"], runs["later · attempt 2"])]
    assert begun[0] < begun[1]
    here.deliver("never", pipeline="unlucky")
    await here.poll(processor={"enable_retry": False})
    assert (here.db.get("never").state, here.db.get("never").attempt) == (State.FAILED, 1)


async def test_placement_heeds_what_the_settings_say_of_clusters(here):
    here.deliver("cheap")
    here.deliver("asked", preferred_cluster="dear", cluster_required=True)
    here.deliver("only", reference_genome="mm39")
    three = clusters(
        {"cluster_name": "dear", "price_per_vcpu_hour": 9.0, "reference_genomes": ["hg38", "mm39"]},
        {"cluster_name": "fair", "price_per_vcpu_hour": 1.0, "reference_genomes": ["hg38"],
         "max_concurrent_worksets": 5},
        {"cluster_name": "free", "drained": True, "max_concurrent_worksets": 5},
    )  # fmt: skip
    pipelines = {"germline": {**SETTINGS["pipelines"]["germline"], "vcpu_hours_base": 2}}
    await here.poll(**three, pipelines=pipelines)
    at = {name: here.db.get(name).cluster_name for name in ("cheap", "asked", "only")}
    assert at == {"cheap": "fair", "asked": "dear", "only": "dear"}
    why = here.db.get("cheap").placement_reason
    assert why.startswith("fair: $2.00 run + $0 transfer; free would cost $0, but free: drained")


async def test_placement_weighs_where_the_data_is_and_what_a_wish_is_worth(here):
    """Regions, the price of a transfer and of a wish, as the settings give them."""
    two = clusters(
        {"cluster_name": "far", "price_per_vcpu_hour": 1.0, "region": "us-east-1"},
        {"cluster_name": "near", "price_per_vcpu_hour": 1.5, "region": "us-west-2"},
    )
    pipelines = {"germline": {**SETTINGS["pipelines"]["germline"], "vcpu_hours_base": 2}}
    place = {"regions": {(here.folder / "in").as_uri(): "us-west-2"}}

    async def placed(name, prefers=None, size=10, **placement):
        here.deliver(name, preferred_cluster=prefers)
        reads = here.folder / "in" / name / "a.fq"
        reads.write_bytes(b"@" * size)
        os.utime(reads, (0, 0))
        await here.poll(**two, pipelines=pipelines, placement={**place, **placement})
        record = here.db.get(name)
        return record.cluster_name, record.placement_reason

    assert (await placed("moves"))[0] == "far", "ten bytes cost nothing"
    # 2000 bytes, at a million dollars a GB
    where, why = await placed("stays", size=2000, transfer_usd_per_gb=1_000_000)
    assert where == "near" and "far would cost $4.00" in why
    where, why = await placed("wishes", "near")
    assert where == "near" and "and the wish is worth $5.00" in why, "that is the default"
    assert (await placed("in-vain", "near", affinity_discount_usd=0))[0] == "far"


async def test_no_run_has_a_thread_of_its_own(here):
    """Not to wait for *Suspend*, for which all runs of the process would stand still while it
    begins and ends, not to renew its slots, and not to say that it lives."""
    for number in range(4):
        here.deliver(f"w{number}")
    most, over = Counter(), threading.Event()

    def look():
        while not over.wait(0.01):
            kinds = [re.sub("[0-9a-f-]{36}|[0-9]+", "", t.name) for t in threading.enumerate()]
            for kind, number in Counter(kinds).items():
                most[kind] = max(most[kind], number)

    watch = threading.Thread(target=look)
    watch.start()
    await here.poll(**clusters({"cluster_name": "a", "max_concurrent_worksets": 4}))
    over.set()
    watch.join()
    async with get_client() as client:
        runs = await client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=["workset:w1"]))
        )
    assert any(run.deployment_id for run in runs), "only those wait for Suspend"
    assert not [kind for kind in most if "observer_thread" in kind or "oncurrency" in kind]
    assert most["Thread- (run)"] == 1, "that of the poll's own run; the look sees threads"


async def test_a_cluster_that_was_slow_costs_more_for_what_comes_next(here):
    """The slow one has the lower price of an hour; both have run three worksets already."""
    two = clusters(
        {"cluster_name": "slow", "price_per_vcpu_hour": 1.0, "max_concurrent_worksets": 3},
        {"cluster_name": "swift", "price_per_vcpu_hour": 1.5, "max_concurrent_worksets": 3},
    )
    # 2 s on slow, and 0.2 s on swift; the table says 0.4 s
    takes = "case $0 in */slow/*) sleep 2;; *) sleep 0.2;; esac; echo done > $0/told"
    run = ["sh", "-c", takes, "{results}"]
    germline = {**SETTINGS["pipelines"]["germline"], "run": run, "vcpu_hours_base": 0.4 / 3600}
    for name in ("slow", "swift"):
        for n in range(3):
            here.deliver(f"{name}{n}", preferred_cluster=name, cluster_required=True)
    await here.poll(**two, pipelines={"germline": germline})
    assert here.db.paces(["germline"], ["slow", "swift"]).keys() == {"slow", "swift"}
    here.deliver("next")
    await here.poll(**two, pipelines={"germline": germline})
    assert here.db.get("next").cluster_name == "swift", here.db.get("next").placement_reason


async def test_what_a_workset_will_take_is_reckoned_from_the_pipelines_table(here):
    table = {"vcpus": 2, "memory_gb": 1, "memory_gb_per_gb": 1000, "vcpu_hours_base": 1,
             "vcpu_hours_per_gb": 1000, "vcpu_hours_per_sample": 2, "vcpu_hours_per_coverage": 0.1,
             "default_coverage": 10, "storage_factor": 100}  # fmt: skip
    here.deliver("w")
    (here.folder / "in" / "w" / "a.fq").write_bytes(b"@" * 1_000_000)
    os.utime(here.folder / "in" / "w" / "a.fq", (0, 0))
    large = clusters({"cluster_name": "a", "vcpus_per_workset": 4, "memory_gb_per_workset": 8})
    pipelines = {"germline": {**SETTINGS["pipelines"]["germline"], **table}}
    await here.poll(**large, pipelines=pipelines)
    found = here.db.get("w").estimates
    assert (found.vcpus, found.memory_gb, found.storage_gb) == (2, 2.0, 0.1)
    assert found.vcpu_hours == pytest.approx(1 + 1 + 2 + 0.1 * 10)
    await here.configure(**large, pipelines=pipelines, processor={"enable_validation": False})
    here.deliver("unseen", reads=False)
    await poll_worksets(settings=here.name, until_done=True)
    unseen = here.db.get("unseen")
    assert unseen.failed_step == "stage", "without validation it is the job that misses the file"


async def test_what_runs_together_asks_for_no_more_than_there_is(here):
    """Three slots and four CPUs: a large one and a small one, or three small ones."""
    pipelines = {
        name: {"vcpus": vcpus, "run": ["sh", "-c", "sleep 3; echo done > $0/done", "{results}"]}
        for name, vcpus in (("large", 3), ("small", 1))
    }
    little = clusters({"cluster_name": "a", "max_concurrent_worksets": 3, "total_vcpus": 4})
    for n, pipeline in enumerate(["large", "large", "small", "small", "small"]):
        here.deliver(f"w{n}", pipeline=pipeline)
    await here.poll(pipelines=pipelines, **little)
    runs = [run for r in here.db.list_worksets() for run in r.step_runs if run.step.value == "run"]
    asks = {r.workset_id: r.estimates.vcpus for r in here.db.list_worksets()}
    assert len(runs) == 5 and sorted(asks.values()) == [1, 1, 1, 3, 3]
    at_once = []
    for record in here.db.list_worksets():
        [one] = [run for run in record.step_runs if run.step.value == "run"]
        there = [
            asks[other.workset_id]
            for other in here.db.list_worksets()
            for run in other.step_runs
            if run.step.value == "run" and run.started_at <= one.started_at < run.ended_at
        ]
        at_once.append(sum(there))
    assert max(at_once) == 4, at_once


async def test_memory_that_ran_out_is_there_from_the_first_attempt_on(here):
    hungry = {
        "memory_gb": 32,
        "run": ["sh", "-c", '[ "$1" -gt 40000 ] || exit 137; echo "$1" > "$2/had"', "-",
                "{memory_mb}", "{results}"],
    }  # fmt: skip
    large = clusters({"cluster_name": "a", "memory_gb_per_workset": 400})

    async def attempts_of(*names):
        for name in names:
            here.deliver(name, pipeline="hungry")
        await here.poll(pipelines={"hungry": hungry}, **large)
        return [(here.db.get(name).attempt, here.result(name, "had").strip()) for name in names]

    assert await attempts_of("w0", "w1", "w2") == [(2, "48000")] * 3
    assert await attempts_of("w3") == [(1, "48000")]
    page = here.artifact(f"workset-w3-{here.db.get('w3').uid}")["data"]
    assert "with the memory of retry 1, learned from 3 finished worksets" in page
    # whoever puts the settings right is believed
    hungry["memory_gb"] = 64
    assert await attempts_of("w4") == [(1, "64000")]


@pytest.mark.parametrize("pause_s", [0, 1])
async def test_what_was_stuck_starts_when_the_pipeline_asks_for_less(here, monkeypatch, pause_s):
    """As `queue` says: needs … GB; change what the pipeline needs.

    The look at its folder may end before the poll asks whether anything is left to do.
    """

    async def rename(started):
        await asyncio.sleep(pause_s)

    monkeypatch.setattr("flows.poll_worksets.rename_poll", rename)
    small = clusters({"cluster_name": "a", "memory_gb_per_workset": 8})

    def needing(gb):
        return {"germline": {**SETTINGS["pipelines"]["germline"], "memory_gb": gb}}

    here.deliver("w")
    await here.poll(**small, pipelines=needing(64))
    assert "needs 64 GB of memory" in here.db.get("w").placement_reason
    await here.poll(**small, pipelines=needing(64))
    seen = here.db.get("w").history
    await here.poll(**small, pipelines=needing(64))
    assert here.db.get("w").history == seen, "it is looked at again, and nothing is written"
    await here.poll(**small, pipelines=needing(4))
    assert here.db.get("w").state is State.COMPLETE


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({"processor": {"max_concurrent_worksets": 2}}, 2),
        ({"customers": {"acme": {"max_concurrent_worksets": 1}, "borealis": {}}}, 1),
    ],
)
async def test_limits_hold(here, limits, most):
    for n in range(3):
        here.deliver(f"w{n}", pipeline="sleeps")
    await here.poll(**limits, **clusters({"cluster_name": "a", "max_concurrent_worksets": 9}))
    assert all(here.db.get(f"w{n}").state is State.COMPLETE for n in range(3))
    steps = [run for n in range(3) for run in here.db.get(f"w{n}").step_runs]
    begun = [r for r in steps if r.step == "run"]
    assert len(begun) == 3
    at_once = max(
        sum(r.started_at <= other.started_at < r.ended_at for r in begun) for other in begun
    )
    assert at_once == most


async def test_a_long_job_has_a_bar_by_what_its_log_says(here, monkeypatch):
    monkeypatch.setattr("tasks.progress.FIRST_S", 1.0)
    monkeypatch.setattr("tasks.progress.AGAIN_S", 0.5)
    steps = 'for n in 1 2 3 4; do echo "$n of 4 steps (9%) done"; sleep 2; done'
    here.deliver("long", pipeline="steps")
    poll = asyncio.create_task(here.poll(pipelines={"steps": {"run": ["sh", "-c", steps]}}))
    await here.until(lambda: here.db.known(["long"]))
    key, seen = f"progress-long-{here.db.get('long').uid}", set()

    def at_the_end():
        ask = {"artifacts": {"key": {"any_": [key]}}, "limit": 1}
        for bar in here.site.prefect.post("artifacts/latest/filter", **ask):
            assert bar["type"] == "progress"
            seen.add((bar["data"], bar["description"].partition(": ")[2]))
        return poll.done()

    await here.until(at_the_end)
    assert {(50.0, "2 of 4 steps (9%) done"), (75.0, "3 of 4 steps (9%) done")} <= seen


async def test_what_an_operator_asks_for_is_done(here):
    here.deliver("runs", pipeline="long")
    here.deliver("waits")
    await here.configure()
    await drain_cluster("a", "a new disk", settings=here.name)
    await register_worksets([str(here.folder / "in" / "runs"), str(here.folder / "in" / "waits")],
                            settings=here.name)  # fmt: skip
    await poll_worksets(settings=here.name, cycles=1)
    assert here.db.get("runs").state is State.READY
    assert "a new disk" in here.artifact(f"queue-{here.name}")["data"]
    await set_priority(["runs"], "urgent", "first", settings=here.name)
    await drain_cluster("a", resume=True, settings=here.name)
    await here.configure(processor={"poll_interval_seconds": 2})
    polls = asyncio.create_task(poll_worksets(settings=here.name, cycles=1))
    await here.until(lambda: here.db.get("runs").state is State.IN_PROGRESS)
    assert here.db.get("waits").state is State.READY, "one slot, and the other was urgent"
    # the poll's one cycle is over, and it waits for what runs
    await cancel_workset("runs", "not needed", settings=here.name)
    await here.until(lambda: here.db.get("runs").state is State.CANCELLED)
    assert await polls == {"cycles": 1, "started": 1}
    assert any("not needed" in entry.note for entry in here.db.get("runs").history)
    assert here.runs()["runs · attempt 1"]["state"]["type"] == "CANCELLED"
    await poll_worksets(settings=here.name, until_done=True)
    assert here.db.get("waits").state is State.COMPLETE


async def test_a_cancelled_run_is_seen_behind_any_number_of_another_installation(here):
    """A server is shared, and its API gives two hundred at once, those of the highest ids."""
    names = {f"stopped-{n}" for n in range(4)}
    for name in names:
        here.deliver(name, pipeline="long")
    four = clusters({"cluster_name": "a", "max_concurrent_worksets": 4})
    polls = asyncio.create_task(here.poll(**four))
    await here.until(lambda: len(here.db.list_worksets([State.IN_PROGRESS])) == 4)
    api, theirs = here.site.prefect, {"workset_id": "x", "settings": f"{here.name}-of-others"}
    ours = min((here.runs()[f"{name} · attempt 1"] for name in names), key=lambda run: run["id"])
    before_ours = set()
    while len(before_ours) < 200:
        made = api.post("flow_runs/", flow_id=ours["flow_id"], parameters=theirs,
                        state={"type": "CANCELLED", "name": "Cancelled"})  # fmt: skip
        before_ours |= {made["id"]} if made["id"] > ours["id"] else set()
    api.cancel(ours["id"])
    workset_id = ours["parameters"]["workset_id"]
    await here.until(lambda: here.db.get(workset_id).state is State.CANCELLED)
    assert all(api.run(id_)["state"]["name"] == "Cancelled" for id_ in list(before_ours)[:5])
    for name in names - {workset_id}:
        await cancel_workset(name, "the test is over", settings=here.name)
    assert (await polls)["started"] == 4


async def test_files_are_checked_by_their_sums_and_results_go_where_the_workset_says(here):
    """sha256, a CRAM with its index, export_uri."""
    sum_of = hashlib.sha256(b"reads of whole").hexdigest()
    one = {"sample_id": "s", "fastq_r1": "a.fq"}
    elsewhere = (here.folder / "elsewhere" / "acme" / "there").as_uri()
    here.deliver("whole", samples=[{**one, "sha256": sum_of}], export_uri=elsewhere)
    here.deliver("damaged", samples=[{**one, "sha256": sum_of}])
    here.deliver("aligned", samples=[{"sample_id": "s", "cram": "s.cram"}])
    here.deliver(
        "named",
        reads=False,
        samples=[{"sample_id": "s", "cram": "s.cram", "alignment_index": "i.crai"}],
    )
    for name in ("s.cram", "s.cram.crai"):
        (here.folder / "in" / "aligned" / name).write_text(name)
    for name in ("s.cram", "i.crai"):
        (here.folder / "in" / "named" / name).write_text(name)
    for path in (here.folder / "in").rglob("*.cra*"):
        os.utime(path, (0, 0))
    await here.poll(export_roots=[(here.folder / "elsewhere").as_uri()])
    assert (here.folder / "elsewhere/acme/there/joined.txt").read_text() == "reads of whole"
    damaged = here.db.get("damaged")
    assert (damaged.state, damaged.error_category) == (State.FAILED, "data")
    assert damaged.failed_step == "stage" and "sha256" in damaged.error_details
    assert here.result("aligned") == "s.crams.cram.crai", "the index beside it comes along"
    assert here.result("named") == "i.crais.cram"


async def test_room_is_freed_of_what_is_in_its_place_and_of_nothing_else(here):
    here.deliver("done")
    here.deliver("bad", pipeline="bad-data")
    await here.poll()

    def left(name):
        [lineage] = (here.folder / "a").glob(f"{name}.*/L1")
        return {path.name for path in lineage.iterdir() if path.name != ".inputs.staged"}

    assert left("done") == left("bad") == {"inputs", "results"}
    assert (await clean_worksets(settings=here.name))["parts"] == 0, "all stays for ever"
    await here.configure(keep={"inputs_days": 0, "results_days": 30})
    told = await clean_worksets(dry_run=True, settings=here.name)
    assert told["parts"] == 1 and left("done") == {"inputs", "results"}
    assert (await clean_worksets(settings=here.name)) == {"parts": 1, "gb": 0.0, "not": []}
    assert left("done") == {"results"} and left("bad") == {"inputs", "results"}
    assert here.result("done") == "reads of done"
    await here.configure(keep={"inputs_days": 0, "results_days": 0})
    assert (await clean_worksets(settings=here.name))["parts"] == 1
    assert not list((here.folder / "a").glob("done.*/L1")) and left("bad") == {"inputs", "results"}
    # a day later its record goes, and it is not run again
    await here.configure(keep={"inputs_days": 0, "results_days": 0, "retention_days": 0})
    assert (await clean_worksets(settings=here.name))["parts"] == 2
    assert not list((here.folder / "a").glob("done.*"))
    before = here.db.get("done")
    [whole] = (here.folder / "results" / "acme" / "done").glob("worksets-record.*.json")
    assert before.archived == str(whole) and '"event": "Complete"' in whole.read_text()
    assert (await here.poll(keep={"retention_days": 0}))["started"] == 0
    assert here.db.get("done") == before and here.result("done") == "reads of done"
    here.db.register_again("done", "once more")
    await here.poll()
    assert here.db.get("done").home != before.home and here.db.get("done").state is State.COMPLETE


async def test_one_by_hand_is_processed_and_named_and_a_second_time_left_alone(here):
    here.deliver("mine")
    await here.configure()
    await register_worksets([str(here.folder / "in" / "mine")], settings=here.name)
    state = await process_workset("mine", settings=here.name, return_state=True)
    assert state.is_completed() and here.result("mine") == "reads of mine"
    assert "mine · attempt 1" in here.runs()
    state = await process_workset("mine", settings=here.name, return_state=True)
    assert state.is_completed() and here.db.get("mine").attempt == 1


async def test_files_that_are_not_there_are_waited_for_or_refused_as_the_settings_say(here):
    here.deliver("late", reads=False)
    await here.configure()
    polls = asyncio.create_task(poll_worksets(settings=here.name, duration_seconds=90))
    await here.until(lambda: here.db.known(["late"]) and here.db.get("late").awaits)
    assert "a.fq" in here.db.get("late").awaits
    here.reads("late")
    here.deliver("never", reads=False)
    await here.until(lambda: here.db.get("late").state is State.COMPLETE)
    polls.cancel()
    await asyncio.wait([polls])
    here.deliver("unseen", reads=False)
    await here.poll(processor={"delivery_minutes": 0})
    assert here.db.get("never").state is State.FAILED
    assert "a.fq" in here.db.get("never").error_details
    assert here.db.get("never").failed_step == "validate"


async def test_what_stands_in_the_settings_reaches_the_job_and_the_folder(here, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_POLLER", "1")
    monkeypatch.setenv("WANTED", "yes")
    here.deliver("w", customer=None)
    await here.poll(
        default_customer="borealis", status_files=True,
        **clusters({"cluster_name": "a", "environment": {"GIVEN": "so"},
                    "pass_environment": ["WANTED"], "umask": "077"}),
    )  # fmt: skip
    env = here.result("w", "env.txt", "borealis").splitlines()
    assert "GIVEN=so" in env and "WANTED=yes" in env
    assert not [line for line in env if line.startswith("SECRET")]
    assert (here.folder / "in" / "w" / "daylily.complete").exists()
    [joined] = (here.folder / "a").rglob("joined.txt")
    assert joined.stat().st_mode & 0o777 == 0o600


async def test_a_customer_whose_budget_is_spent_waits_and_another_does_not(here, caplog):
    """3 s at $1200 an hour are a dollar."""
    dear = clusters({"cluster_name": "a", "price_per_vcpu_hour": 1200.0})

    def with_budget(usd):
        return {"acme": {"budget_usd_per_month": usd}, "borealis": {}}

    here.deliver("first", pipeline="sleeps")
    await here.poll(**dear, customers=with_budget(0.5))
    assert here.db.get("first").state is State.COMPLETE, "anything left is enough to begin"
    here.deliver("second", pipeline="sleeps")
    here.deliver("theirs", "borealis")
    await here.poll(**dear, customers=with_budget(0.5))
    waits = here.db.get("second")
    assert waits.state is State.READY and here.db.get("theirs").state is State.COMPLETE
    [spent] = here.db.spent(f"{here.db.now():%Y-%m}", ["acme"]).values()
    assert 1.0 <= spent.usd < 40 and spent.told == 100
    assert [r.message for r in caplog.records].count(
        f"budget of acme: ${spent.usd:.2f} of $0.50 for {here.db.now():%Y-%m} are spent; nothing "
        f"of it begins, what runs goes on"
    ) == 1, "people are told once"
    assert f"acme: ${spent.usd:.2f} of $0.50" in here.artifact(f"queue-{here.name}")["data"]
    await here.poll(**dear, customers=with_budget(50))
    assert here.db.get("second").state is State.COMPLETE
    # set only now, and the month has been going on
    late = {"acme": {}, "borealis": {"budget_usd_per_month": 0.01}}
    await here.poll(**dear, customers=late)
    [spent] = here.db.spent(f"{here.db.now():%Y-%m}", ["borealis"]).values()
    assert spent.usd > 0


async def test_a_form_writes_what_was_used_as_a_page(here):
    dear = clusters({"cluster_name": "a", "price_per_vcpu_hour": 1200.0})
    budget = {"acme": {"budget_usd_per_month": 1}, "borealis": {}}
    await here.configure(**dear, customers=budget)
    assert await report_usage(settings=here.name) == []
    assert "Nothing was used." in here.artifact(f"usage-{here.name}")["data"]
    here.deliver("w", pipeline="sleeps")
    await here.poll(**dear, customers=budget)
    cost = here.db.spent(f"{here.db.now():%Y-%m}", ["acme"])["acme"].usd
    for by, name in (("customer", "acme"), ("pipeline", "sleeps"), ("cluster", "a")):
        first, total = await report_usage(by=by, settings=here.name)
        assert (first[by], first["worksets"], total[by]) == (name, 1, "all")
        assert first["usd"] == pytest.approx(cost, abs=0.01), "the budget counts the same"
        page = here.artifact(f"usage-{here.name}")
        assert f"| {name} | 1 | 0 |" in page["data"] and f"${cost:.2f}" in page["description"]
    assert f"acme: ${cost:.2f} of $1.00" in page["data"]
    assert await report_usage(until=datetime(2026, 1, 1), settings=here.name) == []


async def test_people_are_told_by_events_unless_the_settings_say_no(here):
    here.deliver("told-good")
    here.deliver("told-bad", pipeline="bad-data")
    await here.poll()

    def events():
        about = [f"workset.told-{name}" for name in ("good", "bad", "quiet")]
        ask = {"filter": {"resource": {"id": about}}, "limit": 50}
        found = here.site.prefect.post("events/filter", **ask)["events"]
        return {(e["event"], e["resource"]["prefect.resource.id"]) for e in found}

    wanted = {("workset.complete", "workset.told-good"), ("workset.failed", "workset.told-bad")}
    await here.until(lambda: events() == wanted)
    here.deliver("told-quiet")
    await here.poll(processor={"enable_notifications": False})
    assert here.db.get("told-quiet").state is State.COMPLETE
    here.deliver("told-last")
    await here.poll()
    # events come in their order: had there been one, it would be there before a later poll's
    assert events() == wanted


async def test_what_is_served_has_its_buttons(here):
    here.deliver("form", reads=False)
    await here.configure(processor={"delivery_minutes": 0, "poll_interval_seconds": 2})
    serving = asyncio.create_task(serve_worksets(here.name))
    api, own = here.site.prefect, f"-{here.name}"
    await here.until(lambda: "form · attempt 1" in here.runs(), seconds=90)
    await here.until(lambda: here.runs()["form · attempt 1"]["state"]["name"] == "DeadLetter")
    run = here.runs()["form · attempt 1"]
    assert run["deployment_id"] == api.deployment(f"p/process-workset{own}")["id"]

    # Retry, after the file was put right; once more, and nothing runs again
    here.reads("form")
    for count, said in ((2, "complete on a"), (3, "is complete already")):
        api.retry(run["id"])
        await here.until(lambda count=count: api.run(run["id"])["run_count"] == count)
        await here.until(lambda: api.run(run["id"])["state"]["type"] == "COMPLETED")
        assert said in api.run(run["id"])["state"]["message"]
    assert here.db.get("form").attempt == 1
    assert any("retried in Prefect's UI" in entry.note for entry in here.db.get("form").history)

    # pausing the polls starts nothing, resuming them does
    poll = api.deployment(f"p/poll-worksets{own}")["id"]
    api.post(f"deployments/{poll}/pause_deployment")
    await asyncio.sleep(3)
    here.deliver("later")
    await asyncio.sleep(5)
    assert here.db.get("later").state is State.READY
    assert "paused" in here.artifact(f"queue-{here.name}")["data"]
    api.post(f"deployments/{poll}/resume_deployment")
    await here.until(lambda: here.db.get("later").state is State.COMPLETE)

    # a form, and the cancelled poll ends the process
    form = api.deployment(f"l/list-dead-letters{own}")["id"]
    asked = api.post(f"deployments/{form}/create_flow_run", state={"type": "SCHEDULED"})
    await here.until(lambda: api.run(asked["id"])["state"]["type"] == "COMPLETED")
    [poll] = [r for r in here.runs("poll_worksets").values() if r["state"]["type"] == "RUNNING"]
    api.cancel(poll["id"])
    await asyncio.wait_for(serving, 30)
    assert api.run(poll["id"])["state"]["type"] == "CANCELLED"


def test_make_run_prints_what_came_of_it(prefect_server, server_log, tmp_path, monkeypatch, capsys):
    with made_site(prefect_server, tmp_path, "make-run") as site:
        here = Here(site)
        here.deliver("good")
        here.deliver("bad", pipeline="bad-data")
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
        monkeypatch.chdir(tmp_path)
        for key in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
            monkeypatch.setenv(key, site.environment[key])
        with temporary_settings(updates=site.client_settings()):
            code = local.run.main(["--settings", "settings.yaml", "--run-dir", "run"])
        said = capsys.readouterr().out
        assert code == 1
        for words in (
            "2 worksets, ",
            "results",
            "bad",
            "the input is damaged",
            "worksets retry bad",
        ):
            assert words in said, said
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        states = {w["workset_id"]: w["state"] for w in summary["worksets"]}
        assert states == {"good": "complete", "bad": "failed"}
        assert here.result("good") == "reads of good"


def test_apply_saves_the_blocks_and_says_what_changed(
    prefect_server, server_log, tmp_path, monkeypatch, capsys
):
    with made_site(prefect_server, tmp_path, "apply") as site:
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path)

        def apply(**settings):
            Path("s.yaml").write_text(yaml.safe_dump({**SETTINGS, **settings}))
            with temporary_settings(updates=site.client_settings()):
                assert program.main(["apply", "--settings", "s.yaml", "--json"]) == 0
            return {r["block"].partition("/")[0]: r for r in json.loads(capsys.readouterr().out)}

        assert {row["told"] for row in apply().values()} == {"saved, new"}
        assert {row["told"] for row in apply().values()} == {"as it was"}
        told = apply(default_customer="acme")
        assert told["workset-settings"]["changed"] == ["default_customer"]
        assert told["local-cluster"]["told"] == "as it was"
