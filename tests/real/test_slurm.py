"""SlurmCluster on two real Slurm clusters side by side."""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blocks.clusters import SlurmCluster, SubmitUncertain
from blocks.clusters.slurm.sbatch import sbatch
from blocks.clusters.slurm.script import job_script, submit_shell
from blocks.clusters.slurm.transport import LocalTransport
from tests import slurm
from worksets.errors import ClusterRefused, ClusterUnreachable, ConfigurationError, ErrorCategory
from worksets.jobs import JobSpec, Manifest, Phase, StepCommand
from worksets.record import Estimates, State, Step
from worksets.spec import is_identifier, parse_spec

pytestmark = [pytest.mark.real, pytest.mark.slow]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "a", "b") as clusters:
        yield clusters


@pytest.fixture
def cluster(two, tmp_path):
    return on(two[0], tmp_path / "work")


def on(real, folder, **fields):
    return SlurmCluster(
        cluster_name=real.name,
        work_folder=str(folder),
        memory_gb_per_workset=0.1,
        transport=LocalTransport(environment={"SLURM_CONF": str(real.conf)}),
        **fields,
    )


def spec(workset_id, attempt, *commands):
    return JobSpec(
        workset_id=workset_id,
        attempt=attempt,
        steps=tuple(StepCommand(step=step, argv=argv) for step, argv in commands),
        manifest=Manifest(
            workset_id=workset_id, customer_id="c", reference_genome="hg38", pipeline="p",
            attempt=attempt, source="/x", export_to="/y", samples=(),
        ),
    )  # fmt: skip


def look(cluster, name):
    return cluster.observe([name])[name]


def until(cluster, name, wanted=lambda status: status.over, seconds=40):
    deadline = time.monotonic() + seconds
    while not wanted(status := look(cluster, name)):
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    return status


def append(folder, text):
    return ("sh", "-c", 'echo "$0" >> "$1"', text, str(folder / "ran"))


def test_a_job_runs_its_steps_in_order_and_leaves_its_evidence(cluster, tmp_path):
    name = "w-1.x_y.a1"
    assert look(cluster, name).phase is Phase.ABSENT
    hostile = "a b'c\"d;e$(touch /tmp/pwned)|f\\g`h`ü\r\n\r\n'\r\n"
    cluster.submit(
        spec("w-1.x_y", 1, ("stage", append(tmp_path, hostile)), ("run", append(tmp_path, "run")),
             ("export", ("sh", "-c", "echo to the log; exit 65")))
    )  # fmt: skip
    status = until(cluster, name)
    assert status.phase is Phase.ENDED and status.failed_step == "export"
    assert [mark.exit_code for mark in status.steps] == [0, 0, 65]
    assert all(mark.started_at <= mark.ended_at for mark in status.steps)
    assert (tmp_path / "ran").read_bytes().decode() == f"{hostile}\nrun\n"
    assert cluster.log_tail(name, Step.EXPORT) == "to the log"
    assert not Path("/tmp/pwned").exists()


class AsNobody(LocalTransport):
    """An ordinary user's shell: to root Slurm hides nothing."""

    def _whole(self, script):
        user = "setpriv --reuid=65534 --regid=65534 --clear-groups sh -s"
        return f"{user} <<'its end'\n{super()._whole(script)}its end\n"


def test_the_nodes_of_a_hidden_partition_count_and_one_that_is_not_there_is_named(two):
    """C2: `sinfo` hides from an ordinary user what `squeue -a` shows."""
    with tempfile.NamedTemporaryFile("w", prefix="slurm", suffix=".conf") as conf:
        conf.write(two[0].conf.read_text())
        conf.flush()
        Path(conf.name).chmod(0o644)
        cluster = on(two[0], "/work")
        cluster.transport = AsNobody(environment={"SLURM_CONF": conf.name})
        try:
            two[0].call("scontrol", "update", "PartitionName=main", "Hidden=YES")
            two[0].call("scontrol", "create", "PartitionName=empty")
            assert cluster.capacity() == 64
            assert _never(cluster, memory_gb_per_workset=65) == ""
            assert "no nodes in its partition empty" in _never(cluster, partition="empty")
            assert "no partition mian: correct partition" in _never(cluster, partition="mian")
        finally:
            two[0].call("scontrol", "update", "PartitionName=main", "Hidden=NO")
            two[0].call("scontrol", "delete", "PartitionName=empty")


def _never(cluster, **fields):
    other = cluster.model_copy(update=fields)
    assert other.capacity() == 0
    return other.view().never


def test_a_job_goes_to_any_partition_of_its_price_that_takes_jobs(two, tmp_path):
    """Slurm takes the one that is free first; one that is down would keep it for ever."""
    real, both = two[0], [{"name": "main"}, {"name": "second"}]
    nodes = real.call("sinfo", "-h", "-N", "-o", "%N").stdout.split()[0]
    real.call("scontrol", "create", "PartitionName=second", f"Nodes={nodes}", "MaxTime=10")
    try:
        cluster = on(real, tmp_path / "work", partitions=both, time_limit_minutes=5)
        for name, state, chosen in (("w1", "UP", "main,second"), ("w2", "DOWN", "second")):
            real.call("scontrol", "update", "PartitionName=main", f"State={state}")
            assert cluster.capacity() > 0
            asked = cluster.request(Estimates())
            assert asked.partition == chosen
            job = spec(name, 1, ("run", ("true",))).model_copy(update={"request": asked})
            cluster.submit(job)
            assert until(cluster, f"{name}.a1").phase is Phase.ENDED
    finally:
        real.call("scontrol", "update", "PartitionName=main", "State=UP")
        real.call("scontrol", "delete", "PartitionName=second")


def test_a_job_whose_epilog_hangs_has_ended_by_its_markers(two, tmp_path):
    """Slurm says COMPLETING as long as it runs, or as a process cannot be killed."""
    epilog = tmp_path / "epilog"
    epilog.write_text(f"#!/bin/sh\nwhile [ -e {epilog} ]; do sleep 0.1; done\n")
    epilog.chmod(0o755)
    conf = two[0].conf.read_text()
    cluster = on(two[0], tmp_path / "work")
    try:
        two[0].conf.write_text(f"{conf}Epilog={epilog}\n")
        two[0].call("scontrol", "reconfigure")
        time.sleep(1)
        cluster.submit(spec("epilog", 1, ("run", ("true",))))
        status = until(cluster, "epilog.a1")
        assert status.phase is Phase.ENDED and status.failed_step is None
        said = two[0].call("squeue", "-h", "-t", "all", "-n", "epilog.a1", "-o", "%T").stdout
        assert said.strip() == "COMPLETING"
    finally:
        epilog.unlink()
        two[0].conf.write_text(conf)
        two[0].call("scontrol", "reconfigure")


def test_what_stands_still_says_so_with_what_to_do(two, tmp_path):
    """C5: suspended by somebody; every node drained, which Slurm says in words, not in a code."""
    cluster = on(two[0], tmp_path / "work")
    cluster.submit(spec("still", 1, ("run", ("sleep", "2"))))
    until(cluster, "still.a1", lambda status: status.phase is Phase.RUNNING)
    id_ = two[0].call("squeue", "-h", "-n", "still.a1", "-o", "%i").stdout.strip()
    two[0].call("scontrol", "suspend", id_)
    status = until(cluster, "still.a1", lambda status: status.stuck)
    assert status.phase is Phase.RUNNING and "scontrol resume" in status.stuck
    two[0].call("scontrol", "resume", id_)
    assert until(cluster, "still.a1").failed_step is None
    node = f"nodename={two[0].node}"
    two[0].call("scontrol", "update", node, "state=drain", "reason=test")
    try:
        cluster.submit(spec("drained", 1, ("run", ("true",))))
        status = until(cluster, "drained.a1", lambda status: status.stuck)
        assert status.phase is Phase.QUEUED and "sinfo -R" in status.stuck
    finally:
        two[0].call("scontrol", "update", node, "state=resume")
    assert until(cluster, "drained.a1").failed_step is None


def test_one_question_for_all_the_jobs_and_two_clusters_do_not_mix(two, tmp_path):
    a, b = on(two[0], tmp_path / "a"), on(two[1], tmp_path / "b")
    for n in range(20):
        a.submit(spec(f"w{n}", 1, ("run", ("sleep", "3"))))
    b.submit(spec("w0", 1, ("run", ("true",))))
    names = [f"w{n}.a1" for n in range(20)]
    deadline = time.monotonic() + 30
    while {s.phase for s in a.observe(names).values()} != {Phase.RUNNING}:
        assert time.monotonic() < deadline, a.observe(names)
    assert until(b, "w0.a1").phase is Phase.ENDED
    assert look(a, "w0.a1").phase in (Phase.RUNNING, Phase.ENDED)
    for name in names:
        assert until(a, name).failed_step is None


def test_a_job_submitted_twice_runs_once(cluster, tmp_path):
    job = spec("twice", 1, ("run", append(tmp_path, "x")), ("export", ("sleep", "2")))
    for _ in range(3):
        cluster.submit(job)
    assert until(cluster, "twice.a1").failed_step is None
    time.sleep(2)
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_late_submission_of_an_earlier_attempt_runs_nothing(cluster, tmp_path):
    cluster.submit(spec("late", 2, ("run", ("true",))))
    until(cluster, "late.a2")
    cluster.submit(spec("late", 1, ("run", append(tmp_path, "x"))))
    status = until(cluster, "late.a1")
    assert status.phase is Phase.VANISHED and not (tmp_path / "ran").exists()


def test_out_of_memory_and_time_are_resource_errors(two, tmp_path):
    small = on(two[0], tmp_path / "w", time_limit_minutes=1)
    eat = ("python3", "-c", "x = bytearray(400_000_000); import time; time.sleep(5)")
    small.submit(spec("hungry", 1, ("run", eat)))
    status = until(small, "hungry.a1")
    if status.phase is Phase.ENDED:  # the step was killed, the script told of it
        assert status.steps[0].exit_code == 137
    else:
        assert status.category is ErrorCategory.RESOURCE and "OUT_OF_MEMORY" in status.note


def test_a_workflow_engine_has_time_to_cancel_its_own_jobs(cluster, tmp_path):
    """F8's kind: what is killed at once leaves a lock, and jobs that nobody waits for."""
    engine = "trap 'sleep 1; touch ended; exit 0' TERM; touch up; while :; do sleep 0.1; done"
    more = ("export", ("touch", str(tmp_path / "exported")))
    here = f"cd {shlex.quote(str(tmp_path))} && {engine}"
    cluster.submit(spec("engine", 1, ("run", ("sh", "-c", here)), more))
    deadline = time.monotonic() + 60
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    cluster.cancel("engine.a1")
    status = until(cluster, "engine.a1")
    assert (tmp_path / "ended").exists() and not (tmp_path / "exported").exists()
    assert status.failed_step == "run" and status.steps[0].exit_code == 143


def test_a_job_that_hears_no_signal_is_killed_when_its_grace_is_over(two, tmp_path):
    short = on(two[0], tmp_path / "w", grace_seconds=3)
    deaf = f"trap '' TERM; touch {shlex.quote(str(tmp_path))}/up; sleep 600"
    short.submit(spec("deaf", 1, ("run", ("sh", "-c", deaf))))
    until(short, "deaf.a1", lambda _: (tmp_path / "up").exists())
    began = time.monotonic()
    while not short.observe(["deaf.a1"])["deaf.a1"].over:
        assert time.monotonic() - began < 30
        short.cancel("deaf.a1")
        time.sleep(0.5)
    assert time.monotonic() - began > 2.5


def test_cancelling_ends_a_running_job_and_seals_a_waiting_one(cluster, tmp_path):
    cluster.submit(spec("long", 1, ("run", ("sleep", "600"))))
    begun = Path(cluster.job_dir("long.a1"), "run.start")
    until(cluster, "long.a1", lambda status: status.phase is Phase.RUNNING and begun.exists())
    cluster.cancel("long.a1")
    status = until(cluster, "long.a1")
    assert status.failed_step == "run" and status.steps[-1].exit_code == 143, status
    cluster.cancel("never.a1")
    cluster.submit(spec("never", 1, ("run", append(tmp_path, "x"))))
    assert until(cluster, "never.a1").phase is Phase.VANISHED
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"partition": "nope"}, "partition"), ({"vcpus_per_workset": 500}, "processors")],
)
def test_what_slurm_refuses_is_a_configuration_error(two, tmp_path, fields, says):
    cluster = on(two[0], tmp_path / "w", **fields)
    with pytest.raises(ConfigurationError, match=says):
        cluster.submit(spec("bad", 1, ("run", ("true",))))
    assert look(cluster, "bad.a1").phase is Phase.ABSENT


def test_a_work_folder_that_cannot_be_made_is_a_configuration_error(two):
    with pytest.raises(ConfigurationError, match="work_folder"):
        on(two[0], "/proc/nothing").submit(spec("bad", 1, ("run", ("true",))))


def test_a_controller_whose_disk_is_full_is_the_clusters_trouble(two, tmp_path):
    real, cluster = two[1], on(two[1], tmp_path / "work")
    cluster._prepare()
    state, job = real.folder / "state", spec("full", 1, ("run", append(tmp_path, "x")))
    with full_disk(state):
        with pytest.raises(ClusterRefused, match=r"script.*make room on the controller's disk"):
            cluster.submit(job)
        assert look(cluster, "full.a1").phase is Phase.ABSENT
    cluster.submit(job)
    assert until(cluster, "full.a1").failed_step is None
    assert (tmp_path / "ran").read_text() == "x\n"


@contextmanager
def full_disk(folder):
    """Another file system over a folder, with what lay there, and no room."""
    beside = folder.with_name("beside")
    shutil.copytree(folder, beside)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,mode=755", "full", folder], check=True)
    try:
        shutil.copytree(beside, folder, dirs_exist_ok=True)
        with suppress(OSError), open(folder / "filled", "wb", buffering=0) as file:
            while file.write(b"x" * 4096):
                pass
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
        shutil.rmtree(beside)


def test_a_frozen_controller_makes_a_submission_uncertain_and_the_job_is_found(two, tmp_path):
    cluster = on(two[0], tmp_path / "work")
    cluster._prepare()
    controller = two[0].slurmctld
    controller.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises((SubmitUncertain, ClusterUnreachable)):
            cluster.submit(spec("lost", 1, ("run", append(tmp_path, "x"))))
        with pytest.raises(ClusterUnreachable):
            look(cluster, "lost.a1")  # unknown, and not absent
    finally:
        controller.send_signal(signal.SIGCONT)
    two[0].wait()
    if look(cluster, "lost.a1").phase is Phase.ABSENT:
        cluster.submit(spec("lost", 1, ("run", append(tmp_path, "x"))))
    assert until(cluster, "lost.a1").failed_step is None
    assert (tmp_path / "ran").read_text() == "x\n"


def test_a_controller_that_is_down_makes_jobs_unknown_and_they_go_on(two, tmp_path):
    real, cluster = two[1], on(two[1], tmp_path / "work")
    cluster.submit(spec("goes-on", 1, ("run", ("sleep", "8"))))
    until(cluster, "goes-on.a1", lambda status: status.phase is Phase.RUNNING)
    time.sleep(6)  # slurmctld writes its state at most 5 s late
    real.slurmctld.kill()
    real.slurmctld.wait()
    with pytest.raises(ClusterUnreachable):
        look(cluster, "goes-on.a1")
    with pytest.raises((ClusterUnreachable, SubmitUncertain)):
        cluster.submit(spec("not-now", 1, ("run", ("true",))))
    real.start_controller()
    deadline = time.monotonic() + 60
    while True:
        try:
            assert until(cluster, "goes-on.a1").failed_step is None
            break
        except ClusterUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.5)


def test_sbatch_killed_in_its_first_milliseconds_submits_once_at_most(cluster, tmp_path):
    """The client dies anywhere in submitting; whoever comes next looks, and submits if need be."""
    journal = tmp_path / "ran"
    for trial in range(25):
        job = spec(f"t{trial}", 1, ("run", append(tmp_path, f"t{trial}")))
        submit_and_die(cluster, job, trial * 0.002)
        if look(cluster, job.name).phase is Phase.ABSENT:
            cluster.submit(job)
        assert until(cluster, job.name).failed_step is None
    time.sleep(2)
    assert sorted(journal.read_text().split()) == sorted(f"t{n}" for n in range(25))


def submit_and_die(cluster, job, after_s):
    """Hand the job in by a shell that is killed, with all its children, after some milliseconds."""
    folder = cluster.job_dir(job.name)
    paths = cluster.paths(job.home, job.lineage, job.attempt)
    files = {
        paths.manifest: "{}",
        f"{folder}/steps": " ".join(step.step.value for step in job.steps),
        f"{folder}/job.sh": job_script(job, folder.rpartition("/")[0], paths.work_dir),
    }
    line = sbatch(job.name, folder, cluster.request(Estimates()), "", "", {})
    shell = submit_shell([folder, paths.inputs, paths.results], files, folder, line)
    process = subprocess.Popen(
        ["sh", "-s"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    process.stdin.write(cluster.transport._whole(shell).encode())
    process.stdin.close()
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_poller_over_two_slurm_clusters_that_dies_and_is_followed(site, two, tmp_path):
    """The whole of it: worksets on two clusters, kill -9, another poller, nothing twice."""
    clusters = [
        {
            "type": "slurm-cluster",
            "cluster_name": f"{site.name}-{real.name}",
            "max_concurrent_worksets": 3,
            "memory_gb_per_workset": 0.1,
            "work_folder": str(tmp_path / real.name),
            "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
        }
        for real in two
    ]
    site.configure(overrides={"clusters": clusters})
    worksets = [f"w{n}" for n in range(6)]
    for id_ in worksets:
        site.add(id_, 8)
    first = site.poller()
    site.until(lambda: site.running() == set(worksets))
    first.kill()
    site.add("bad", 1, reference_genome="no-such-genome")
    site.finish(site.poller())
    assert site.states() == {State.COMPLETE: 6, State.FAILED: 1}
    site.assert_each_step_ran_once(worksets)
    placed = {record.cluster_name for record in site.db.list_worksets() if record.cluster_name}
    assert len(placed) == 2


HOSTILE = [
    "a\nb", "a\r\nb", "'; touch pwned; '", '"$(touch pwned)"', "`touch pwned`", "|touch pwned",
    "a|b|c|RUNNING", "%j%i", "--wrap=touch pwned", "-n", "#SBATCH --array=1-9", "\\",
    "ünï ✓", "$HOME", "{workset_id}", "7|w.a1|COMPLETED|None", "@ w.a1", "x" * 2000, "",
    " ", "\t", "*", "~", "&", ">pwned", "<", "!",
]  # fmt: skip
words = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_characters="\0", codec="utf-8"), max_size=30
)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", fullmatch=True).filter(is_identifier)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    worksets=st.lists(
        st.tuples(names, st.lists(words, min_size=1, max_size=4), st.dictionaries(words, words)),
        min_size=4, max_size=8, unique_by=lambda each: each[0],
    ),
    strangers=st.lists(words.filter(str.strip), max_size=3),
)  # fmt: skip
def test_hostile_text_runs_nothing_and_confuses_no_parser_on_a_real_slurm(
    two, tmp_path, worksets, strangers
):
    """From the YAML to squeue: what is not lawful is refused, all else arrives as it is."""
    place = tmp_path / uuid.uuid4().hex
    place.mkdir()
    work = place / "it's $(touch pwned) | `touch pwned`; é"
    cluster = on(two[0], work)
    for name in strangers:
        # jobs of the same user with names of anybody's making stand in the same queue
        two[0].call("sbatch", "-J", name, "-o", "/dev/null", "--mem=50M", "--wrap=true")
    jobs = {}
    for id_, argv, texts in worksets:
        for key, text in texts.items():
            data = yaml.safe_dump(
                {"samples": [{"sample_id": text, "fastq_r1": key}], "comment": text}
            )
            try:
                spec_ = parse_spec(data.encode()).spec
            except ConfigurationError:
                continue
            assert all(is_identifier(sample.sample_id) for sample in spec_.samples)
        job = JobSpec(
            workset_id=id_, attempt=1,
            steps=(StepCommand(step="run", argv=("printf", "%s\\0", *argv)),),
            manifest=Manifest(
                workset_id=id_, customer_id="c", reference_genome="hg38", pipeline="p", attempt=1,
                source="/x", export_to="/y",
                samples=tuple({"sample_id": k, "comment": v} for k, v in texts.items()),
            ),
        )  # fmt: skip
        cluster.submit(job)
        jobs[job.name] = (job, argv)
    for name, (job, argv) in jobs.items():
        status = until(cluster, name)
        assert status.phase is Phase.ENDED and status.failed_step is None, status
        folder = Path(cluster.job_dir(name))
        assert (folder / "run.log").read_bytes().decode().split("\0")[:-1] == argv
        manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
        assert manifest == job.manifest
    assert not list(place.rglob("pwned")) and not Path("pwned").exists()
