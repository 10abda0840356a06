"""A poller on a real Slurm: memory that runs out, a person who cancels, failures explained."""

import getpass
import json
import re
import time
import uuid

import pytest
from prefect.settings import temporary_settings

from tests import slurm
from tests.real.test_command_line import worksets
from tests.services import credentials
from tests.ssm_agent import INSTANCE, agent
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]


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
    """The workset's runs, by name and message of their state, and the reports they left."""
    runs = site.runs(workset_id)
    ids = [run["id"] for run in runs]
    shown = site.prefect.post("artifacts/filter", artifacts={"flow_run_id": {"any_": ids}})
    return {
        "runs": [[run["state_name"], run["state"]["message"]] for run in runs],
        "reports": [artifact["data"] for artifact in shown],
    }


def cancelled_runs_that_nobody_can_heed(site):
    """Flow runs that a person has cancelled and that name no workset of ours."""
    flow, ids = site.prefect.post("flows/", name="process_workset")["id"], []
    for workset in ({}, {"workset_id": ""}, {"workset_id": "ü" * 3000}, {"workset_id": "gone"}):
        run = site.prefect.post(
            "flow_runs/", flow_id=flow, parameters={"settings": site.name, **workset},
            state={"type": "RUNNING"},
        )  # fmt: skip
        site.prefect.cancel(run["id"])
        ids.append(run["id"])
    return ids


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
    failed, well = sorted(seen(site, "hungry")["reports"], key=lambda page: "# What" not in page)
    assert "run, attempt 1" in failed and "what to do" in failed
    assert "# hungry: complete" in well, "each run has the workset's page as it ended"


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


def test_an_end_marker_that_is_seen_late_costs_nothing(site, real):
    """C1: as an NFS cache has it, the marker is seen some seconds after Slurm says COMPLETED."""
    site.configure()
    site.add("late", 1)
    site.configure(overrides={"clusters": [cluster(site, real)]})
    poller = site.poller()
    hidden = None
    deadline = time.monotonic() + 60
    while hidden is None:
        assert time.monotonic() < deadline
        for marker in (site.folder / "work").glob("late.*/jobs/a1/export.exit"):
            hidden = marker.rename(marker.with_name("..late"))
        time.sleep(0.002)
    name = site.db.get("late").job_name
    listed = lambda: real.call("squeue", "-h", "-t", "all", "-n", name, "-o", "%T").stdout  # noqa: E731
    site.until(lambda: listed().split() == ["COMPLETED"])
    time.sleep(6)
    assert site.db.get("late").state is State.IN_PROGRESS
    hidden.rename(hidden.with_name("export.exit"))
    site.finish(poller)
    record = site.db.get("late")
    assert (record.state, record.attempt) == (State.COMPLETE, 1)
    site.assert_each_step_ran_once(["late"])


def test_cancelling_a_run_in_prefect_ends_the_job_and_frees_the_slot(site, real):
    site.configure(overrides={"clusters": [cluster(site, real)]})
    site.add("long-by-ui", 20)
    poller = site.poller()
    site.until(lambda: site.running() == {"long-by-ui"})
    site.add("next", 1)
    site.until(lambda: site.db.known(["next"]))
    strange = cancelled_runs_that_nobody_can_heed(site)
    [run] = site.runs("long-by-ui")
    site.prefect.cancel(run["id"])
    site.until(lambda: site.db.get("long-by-ui").state is State.CANCELLED, seconds=15)
    job = site.db.get("long-by-ui").job_name
    listed = real.call("squeue", "-h", "-t", "all", "-n", job, "-o", "%T").stdout
    # it has ended by itself, as it was told to, with exit code 143
    assert listed.split() in (["FAILED"], ["COMPLETING"], ["CANCELLED"])
    site.finish(poller)
    assert site.db.get("next").state is State.COMPLETE
    assert site.running() == {"long-by-ui"}, "it never wrote its end"
    [[name, message]] = seen(site, "long-by-ui")["runs"]
    assert name == "Stopped" and "cancelled" in message
    states = [site.prefect.run(run_id)["state_name"] for run_id in strange]
    assert states == ["Stopped"] * 4, "they held up no other"


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
    node = f"nodename={real.node}"
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


def test_clean_frees_room_on_the_cluster(site, real):
    # with an export of its own there would be no receipt, and nothing would ever be deleted
    run = ["sh", "-c", 'echo done > "$0/done"', "{results}"]
    settings = {"clusters": [cluster(site, real)], "pipelines": {"sleep-1": {"run": run}}}
    site.configure(overrides=settings)
    site.add("done", 1)
    site.finish(site.poller())
    site.configure(overrides={**settings, "keep": {"inputs_days": 0, "results_days": 0}})
    [lineage] = (site.folder / "work").glob("done.*/L1")
    (lineage / "inputs" / "a.fq").write_bytes(b"x" * 2_000_000)

    def clean(*options):
        done = worksets(site, "clean", "-s", "settings.yaml", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = json.loads(clean("--dry-run", "--json"))
    assert [(r["part"], r["told"]) for r in rows] == [
        ("inputs", "would be deleted"), ("rest", "would be deleted"),
    ]  # fmt: skip
    assert rows[0]["gb"] == 0.002 and (lineage / "inputs" / "a.fq").exists()
    assert "0.002 GB were deleted" in clean()
    assert not lineage.exists(), "nothing is left in it"
    assert list(lineage.parent.glob("jobs/a1/run.log")), "logs and markers stay"
    assert "0.000 GB were deleted" in clean()
    # a day later its record goes, and with it its logs
    keep = {"inputs_days": 0, "results_days": 0, "retention_days": 0}
    site.configure(overrides={**settings, "keep": keep})
    rows = json.loads(clean("--json"))
    assert [(row["part"], row["told"].partition(":")[0]) for row in rows] == [
        ("record", "archived"), ("logs", "deleted"),
    ]  # fmt: skip
    [whole] = (site.folder / "results" / "acme" / "done").glob("worksets-record.*.json")
    assert site.db.get("done").archived == str(whole) and not lineage.parent.exists()


def test_a_sites_own_options_and_its_setup_reach_each_job(site, real):
    site.configure()
    site.add("set-up", 1)
    run = ["sh", "-c", 'scontrol show job "$SLURM_JOB_ID" > "$0/job"; echo "$MODULE" > "$0/set"',
           "{results}"]  # fmt: skip
    options = {"comment": "paid by the lab's grant", "nice": "7", "exclusive": ""}
    clusters = [
        cluster(
            site,
            real,
            sbatch_options=options,
            setup=["module() { MODULE=$2; export MODULE; }", "module load bwa"],
        )
    ]
    pipeline = {"stage": ["true"], "run": run}
    site.configure(overrides={"clusters": clusters, "pipelines": {"sleep-1": pipeline}})
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 1}
    left = site.folder / "results" / "acme" / "set-up"
    job = (left / "job").read_text()
    assert "Comment=paid by the lab's grant" in job and "Nice=7" in job
    assert "OverSubscribe=NO" in job, "its node is its own"
    assert (left / "set").read_text() == "bwa\n"


def test_a_setup_that_fails_is_told_with_its_line_and_tried_again(site, real):
    site.configure()
    site.add("set-up", 1, max_retries=1)
    clusters = [cluster(site, real, setup=["true", "no-such-command load bwa"])]
    site.configure(overrides={"clusters": clusters})
    site.finish(site.poller())
    record = site.db.get("set-up")
    assert (record.state, record.attempt, record.failed_step) == (State.FAILED, 2, "stage")
    assert record.error_category == "transient" and "line 2 of the cluster's setup" in (
        record.error_details
    )
    assert "no-such-command" in record.error_details and site.steps() == []


def test_what_ran_out_of_time_gets_as_much_more_as_the_settings_allow(site, real):
    site.configure()
    site.add("slow", 40)
    limits = {"time_limit_minutes": 5, "retry_factor": 10, "max_time_limit_minutes": 7}
    # it leaves no marker, and its folder is on this machine; Slurm looks at limits twice a minute
    limits["files_late_seconds"] = 3
    site.configure(overrides={"clusters": [cluster(site, real, **limits)]})
    poller = site.poller()
    site.until(lambda: site.running() == {"slow"})
    [job, limit] = real.call("squeue", "-h", "-t", "R", "-o", "%i %l").stdout.split()
    assert limit == "5:00"
    real.call("scontrol", "update", f"jobid={job}", "TimeLimit=0")
    site.until(lambda: site.db.get("slow").out_of_time == 1, 90)
    failed = next(entry.note for entry in site.db.get("slow").history if entry.event == "Fail")
    assert "the next attempt gets 7 minutes" in failed, failed
    running = lambda: real.call("squeue", "-h", "-t", "R", "-o", "%l").stdout.split()  # noqa: E731
    site.until(lambda: running() == ["7:00"], 60)
    site.db.cancel("slow", "seen")
    site.finish(poller)


def test_where_wckeys_are_the_sites_own_jobs_bear_none_of_ours(site, real):
    site.configure()
    run = ["sh", "-c", 'echo "key <$SBATCH_WCKEY>" > "$0/key"', "{results}"]
    pipeline = {"sleep-1": {"stage": ["true"], "run": run}}
    for name, more, key in (("tagged", {}, "tagged."), ("own", {"tag_jobs": False}, ">")):
        site.add(name, 1)
        site.configure(overrides={"clusters": [cluster(site, real, **more)], "pipelines": pipeline})
        site.finish(site.poller())
        said = (site.folder / "results" / "acme" / name / "key").read_text()
        assert said.startswith(f"key <{key}"), said


def test_a_zone_says_the_region_in_which_a_cluster_is(site, real):
    """What lies elsewhere has to be moved, and a placement says what that costs."""
    regions = {(site.folder / "worksets").as_uri(): "us-east-1"}
    placed = {}
    site.configure()
    for zone in ("us-east-1d", "us-west-2-lax-1a"):
        name = f"w-{zone}"
        site.add(name, 1)
        site.configure(
            overrides={
                "clusters": [cluster(site, real, availability_zone=zone)],
                "placement": {"regions": regions, "transfer_usd_per_gb": 1_000_000},
            }
        )
        site.finish(site.poller())
        placed[zone] = site.db.get(name).placement_reason
    assert "transfer" not in placed["us-east-1d"], placed
    assert "+ $0.01 transfer" in placed["us-west-2-lax-1a"], placed


def test_a_cluster_behind_aws_systems_manager_does_its_work(site, real, moto_url):
    """Each of the way's settings, by what reached the agent and the bucket of its output."""
    keys = credentials(moto_url, key="theirs")
    s3 = keys.get_client("s3")
    bucket = f"b-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    site.configure()
    site.add("by-ssm", 1)
    with temporary_settings(updates=site.client_settings()):
        keys.save(site.name)
    with agent(s3) as there:
        site.environment |= {"AWS_ENDPOINT_URL_SSM": there.url}
        way = {
            "kind": "ssm", "instance_id": INSTANCE, "region_name": "us-west-2",
            "user": getpass.getuser(), "output_bucket": bucket, "output_prefix": "said",
            "aws_credentials": site.name, "poll_min_s": 0.05,
            "environment": {"SLURM_CONF": str(real.conf)},
        }  # fmt: skip
        site.configure(overrides={"clusters": [cluster(site, real, transport=way)]})
        site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 1}
    site.assert_each_step_ran_once(["by-ssm"])
    assert {tuple(request["InstanceIds"]) for request in there.sent} == {(INSTANCE,)}
    assert there.keys == {"theirs"} and there.regions == {"us-west-2"}
    said = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert said and all(each["Key"].startswith("said/") for each in said)


def test_each_job_is_sized_by_its_workset_and_goes_to_the_cheapest_partition_that_gives_it(
    site, real
):
    """By what Slurm says of the jobs; what no partition gives is told before anything is tried."""
    for name, minutes in (("short", 5), ("long", 90)):
        real.call("scontrol", "create", f"PartitionName={name}", f"Nodes={real.node}",
                  f"MaxTime={minutes}")  # fmt: skip
    try:
        site.configure()
        show = 'scontrol show job "$SLURM_JOB_ID" > "$0/job"; echo "$@" > "$0/given"'
        run = ["sh", "-c", show, "{results}", "{vcpus}", "{memory_mb}", "{gpus}"]
        pipelines = {
            # sizes are in bytes here: a GB of reads is a byte
            "small": {"run": run, "vcpus": 2, "memory_gb": 0.1, "minutes": 3},
            "large": {"run": run, "vcpus": 4, "memory_gb": 0.1, "memory_gb_per_gb": 1000,
                      "minutes": 60, "gpus": 1, "scratch_gb": 7},
            "huge": {"run": run, "memory_gb": 65},
            "silent": {"run": run},
        }  # fmt: skip
        partitions = [
            {"name": "long", "price_per_vcpu_hour": 2},
            {"name": "short", "price_per_vcpu_hour": 1, "max_memory_gb": 0.5},
        ]
        for name in pipelines:
            site.add(name, 1, pipeline=name)
        reads = site.folder / "worksets" / "large" / "a.fq"
        reads.write_text("@" * 500_000)
        site.configure(
            overrides={
                "clusters": [cluster(site, real, partitions=partitions, time_limit_minutes=4)],
                "pipelines": {**pipelines, "silent": {**pipelines["silent"], "vcpu_hours_base": 1}},
            }
        )
        poller = site.poller()
        site.until(lambda: site.states()[State.COMPLETE] == 3, 90)
        site.until(lambda: site.db.get("huge").placement_reason, 30)
        reason = site.db.get("huge").placement_reason
        assert "no cluster fits: needs 65 GB of memory" in reason, reason
        site.db.cancel("huge", "seen")
        site.finish(poller)

        def job(name):
            text = (site.folder / "results" / "acme" / name / "job").read_text()
            given = (site.folder / "results" / "acme" / name / "given").read_text().split()
            asked = dict(re.findall(r"(\w+)=(\S+)", text))
            return asked, [asked["Partition"], asked["TimeLimit"], *given]

        asked, given = job("small")
        assert given == ["short", "00:03:00", "2", "100", "0"]
        assert "cpu=2,mem=100M" in asked["TRES"]
        asked, given = job("large")
        assert given == ["long", "01:00:00", "4", "600", "1"]
        assert "cpu=4,mem=600M" in asked["TRES"] and asked["MinTmpDiskNode"] == "7000M"
        assert asked["TresPerNode"] == "gres:gpu:1"
        asked, given = job("silent")
        assert given == ["short", "00:04:00", "1", "100", "0"]
        assert "$1.00 run" in site.db.get("silent").placement_reason
    finally:
        for name in ("short", "long"):
            real.call("scontrol", "delete", f"PartitionName={name}")
