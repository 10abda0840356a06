"""A poller on a real Slurm: memory that runs out, a person who cancels, failures explained."""

import json
import re
import time

import pytest

from tests import slurm
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANCEL = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.states import State
async def main():
    mine = FlowRunFilter(tags=FlowRunFilterTags(all_=["workset:" + sys.argv[1]]))
    async with get_client() as client:
        [run] = await client.read_flow_runs(flow_run_filter=mine)
        # what the UI's cancel button sends
        await client.set_flow_run_state(run.id, State(type=StateType.CANCELLING))
asyncio.run(main())
"""
STRANGE = """
import asyncio, sys
from flows.process_workset import process_workset
from prefect.client.orchestration import get_client
from prefect.states import Running, State
from prefect.client.schemas.objects import StateType
async def main():
    async with get_client() as client:
        for workset in ({}, {"workset_id": ""}, {"workset_id": "ü" * 3000}, {"workset_id": "gone"}):
            run = await client.create_flow_run(
                process_workset, parameters={"settings": sys.argv[1], **workset}, state=Running()
            )
            await client.set_flow_run_state(run.id, State(type=StateType.CANCELLING))
            print(run.id)
asyncio.run(main())
"""
STATES = """
import asyncio, sys
from prefect.client.orchestration import get_client
async def main():
    async with get_client() as client:
        for id_ in sys.argv[1:]:
            print((await client.read_flow_run(id_)).state_name)
asyncio.run(main())
"""
RUNS = """
import asyncio, json, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import *
async def main():
    mine = FlowRunFilter(tags=FlowRunFilterTags(all_=["workset:" + sys.argv[1]]))
    async with get_client() as client:
        runs = await client.read_flow_runs(flow_run_filter=mine)
        shown = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[r.id for r in runs]))
        )
    print(json.dumps({"runs": [[r.state_name, r.state.message] for r in runs],
                      "reports": [a.data for a in shown]}))
asyncio.run(main())
"""  # noqa: E501


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "a") as (cluster,):
        yield cluster


def cluster(site, real, **fields):
    return {
        "type": "slurm-cluster",
        "cluster_name": f"{site.name}-a",
        "max_concurrent_worksets": 1,
        "memory_gb_per_workset": 0.1,
        "work_folder": str(site.folder / "work"),
        "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
        **fields,
    }


def hungry(site):
    """A pipeline whose run step needs 300 MB."""
    site.add("hungry", 1)
    eat = "x = bytearray(300_000_000); print('full')"
    return {"sleep-1": {"run": ["python3", "-c", eat], "stage": ["true"], "export": ["true"]}}


def seen(site, workset_id):
    return json.loads(site.call("-c", RUNS, workset_id))


def test_what_ran_out_of_memory_gets_more_next_time(site, real):
    pipelines = hungry(site) if site.configure() is None else {}
    clusters = [cluster(site, real, retry_factor=5)]
    site.configure(overrides={"clusters": clusters, "pipelines": pipelines})
    site.finish(site.poller())
    record = site.db.get("hungry")
    assert (record.state, record.attempt, record.out_of_memory) == (State.COMPLETE, 2, 1)
    failed = next(entry.note for entry in record.history if entry.event == "Fail")
    assert "resource" in failed and "the next attempt gets 0.4 GB" in failed
    runs = [run.step for run in record.step_runs if run.exit_code == 0]
    assert runs == ["stage", "run", "export"], "a finished step is not repeated"
    [report] = seen(site, "hungry")["reports"]
    assert "run, attempt 1" in report and "what to do" in report


def test_what_had_the_most_memory_there_is_waits_for_an_operator(site, real):
    pipelines = hungry(site) if site.configure() is None else {}
    clusters = [cluster(site, real, max_memory_gb=0.1)]
    site.configure(overrides={"clusters": clusters, "pipelines": pipelines})
    site.finish(site.poller())
    record = site.db.get("hungry")
    assert (record.state, record.attempt) == (State.FAILED, 1), "a retry could not get better"
    assert re.search(r"it had 0\.1 GB, the most .* raise\s+max_memory_gb", record.error_details)


def test_a_failure_is_explained_in_its_run_by_the_end_of_its_log(site, real):
    site.configure()
    site.add("explained", 1)
    say = "[E::bwa_idx_load_from_disk] fail to locate the index files"
    run = ["sh", "-c", 'echo "$1"; echo "$0" >&2; exit 1', say, "```"]
    site.configure(
        overrides={
            "clusters": [cluster(site, real)],
            "pipelines": {"sleep-1": {"stage": ["true"], "run": run, "export": ["true"]}},
        }
    )
    site.finish(site.poller())
    assert site.db.get("explained").state is State.FAILED
    found = seen(site, "explained")
    [report] = found["reports"]
    assert "build it (bwa index)" in report and f"````\n```\n{say}\n````" in report
    [[name, message]] = found["runs"]
    assert name == "DeadLetter" and "bwa index" in message


def test_cancelling_a_run_in_prefect_ends_the_job_and_frees_the_slot(site, real):
    site.configure(overrides={"clusters": [cluster(site, real)]})
    site.add("long-by-ui", 20)
    poller = site.poller()
    site.until(lambda: site.running() == {"long-by-ui"})
    site.add("next", 1)
    strange = site.call("-c", STRANGE, site.name).split()
    site.call("-c", CANCEL, "long-by-ui")
    site.until(lambda: site.db.get("long-by-ui").state is State.CANCELLED, seconds=15)
    listed = real.call("squeue", "-h", "-t", "all", "-n", "long-by-ui.a1", "-o", "%T").stdout
    assert listed.split() in (["CANCELLED"], ["COMPLETING"])
    site.finish(poller)
    assert site.db.get("next").state is State.COMPLETE
    assert site.running() == {"long-by-ui"}, "it never wrote its end"
    [[name, message]] = seen(site, "long-by-ui")["runs"]
    assert name == "Stopped" and "cancelled" in message
    assert site.call("-c", STATES, *strange).split() == ["Stopped"] * 4, "they held up no other"


def test_cancelling_in_the_state_db_does_the_same(site, real):
    site.configure(overrides={"clusters": [cluster(site, real)]})
    site.add("long", 20)
    poller = site.poller()
    site.until(lambda: site.running() == {"long"})
    assert site.db.cancel("long", "wrong samples").cancel_requested == "wrong samples"
    site.finish(poller, timeout=40)
    record = site.db.get("long")
    assert record.state is State.CANCELLED and "wrong samples" in record.history[-1].note


def test_a_drained_cluster_keeps_what_runs_and_takes_nothing_new(site, real):
    site.configure(overrides={"clusters": [cluster(site, real, max_concurrent_worksets=3)]})
    site.add("runs", 8)
    poller = site.poller()
    site.until(lambda: site.running() == {"runs"})
    node = f"nodename=node{real.name}"
    real.call("scontrol", "update", node, "state=drain", "reason=test")
    try:
        time.sleep(3)  # a cycle looks every 2 s
        site.add("waits", 1)
        site.until(lambda: site.states()[State.COMPLETE] == 1)
        assert site.db.get("waits").state is State.READY and site.db.get("waits").fence == 0
    finally:
        real.call("scontrol", "update", node, "state=resume")
    site.finish(poller)
    site.assert_each_step_ran_once(["runs", "waits"])
