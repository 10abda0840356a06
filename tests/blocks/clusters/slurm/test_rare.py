# ruff: noqa: E501
"""Answers of Slurm that no cluster gives on demand, from stand-ins for its commands.

Everything else is real: the shell, the scripts, the files, the parsers.
"""

import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from blocks.clusters import SlurmCluster, SubmitUncertain
from blocks.clusters.cleaning import read_freed
from blocks.clusters.slurm.nodes import Counted, parse_nodes
from blocks.clusters.slurm.nodes import room as room_of
from blocks.clusters.slurm.script import archive_shell
from blocks.clusters.slurm.states import ENDED
from tests.blocks.clusters.slurm.test_states import ACTIVE
from worksets.capacity import Fit, Limits, misfit
from worksets.costs import PlacementPolicy
from worksets.errors import (
    ClusterRefused,
    ClusterUnreachable,
    ConfigurationError,
    ErrorCategory,
)
from worksets.jobs import JobSpec, Manifest, Phase, StepCommand
from worksets.keeping import Freed, Lineage, Removable
from worksets.placement import plan
from worksets.record import Estimates, WorksetRecord
from worksets.used import Used

NOW = datetime(2026, 1, 1, tzinfo=UTC)

SPEC = JobSpec(
    workset_id="w", attempt=1, steps=(StepCommand(step="run", argv=("true",)),),
    manifest=Manifest(
        workset_id="w", customer_id="c", reference_genome="hg38", pipeline="p", attempt=1,
        source="/x", export_to="/y", samples=(),
    ),
)  # fmt: skip


class FakeSlurm:
    """Commands that say and return what a test wants."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("squeue", "sbatch", "scancel", "sinfo", "sacct"):
            self.says(name)
        self.cluster = SlurmCluster(
            cluster_name="rare",
            work_folder=str(folder / "work"),
            transport={"environment": {"PATH": f"{self.bin}:/usr/bin:/bin"}},
            files_late_seconds=0,
        )

    def says(self, name, out="", err="", code=0, then=""):
        (self.bin / f"{name}.out").write_text(out)
        (self.bin / f"{name}.err").write_text(err)
        text = f'#!/bin/sh\ncat "{self.bin}/{name}.out"\ncat "{self.bin}/{name}.err" >&2\n'
        (self.bin / name).write_text(f"{text}{then}\nexit {code}\n")
        (self.bin / name).chmod(0o755)

    def look(self):
        return self.cluster.observe(["w.a1"])["w.a1"]

    def began(self):
        """The job took its claim and began its step; then nothing more was heard of it."""
        self.cluster.submit(SPEC)
        job = self.cluster.job_dir("w.a1")
        marker = '{"at":"2026-01-01T00:00:00+00:00"}'
        subprocess.run(
            [
                "sh",
                "-c",
                'cd "$0"; mkdir claim; echo 7 > job; printf %s "$1" > run.start',
                job,
                marker,
            ],
            check=True,
        )


@pytest.fixture
def fake(tmp_path):
    return FakeSlurm(tmp_path)


@pytest.mark.parametrize("state", ACTIVE)
def test_a_job_in_no_state_of_ending_is_left_alone(fake, state):
    fake.began()
    fake.says("squeue", f"7|w.a1|{state}|None|\n")
    assert fake.look().phase is (Phase.QUEUED if state == "PENDING" else Phase.RUNNING)


@pytest.mark.parametrize("state", ENDED)
def test_a_job_that_ended_without_a_marker_says_why(fake, state):
    fake.began()
    fake.says("squeue", f"7|w.a1|{state}|Some reason (of it)|\n")
    seen = fake.look()
    assert seen.phase is Phase.VANISHED and seen.failed_step == "run" and state in seen.note
    assert seen.category is (ENDED[state][0] or ErrorCategory.TRANSIENT)


def test_what_a_job_has_left_in_the_queue_is_cancelled_and_it_ends_after_that(fake):
    fake.began()
    job, log = fake.cluster.job_dir("w.a1"), fake.bin / "told"
    marker = '{"at":"2026-01-01T00:00:00+00:00","code":137}'
    subprocess.run(["sh", "-c", 'echo "$1" > "$0/run.exit"', job, marker], check=True)
    fake.says("scancel", then=f'echo "$@" >> {log}')
    ended, another = "7|w.a1|FAILED|None|\n", "9|own|RUNNING|None|w.a10\n"
    for child, still in [
        ("8|rule|PENDING|Priority|w.a1\n8_1|rule|RUNNING|None|w.a1\n", 2),
        ("8|rule|COMPLETED|None|w.a1\n8_1|rule|RUNNING|None|w.a1\n", 1),
    ]:
        fake.says("squeue", ended + child + another)
        seen = fake.look()
        assert seen.phase is Phase.RUNNING and f"and {still} job" in seen.note
        assert log.read_text().splitlines()[-1] == "--me --wckey=w.a1"
    log.unlink()
    fake.says("squeue", f"{ended}8_1|rule|COMPLETING|None|w.a1\n{another}")
    assert fake.look().phase is Phase.ENDED and not log.exists()


@pytest.mark.parametrize("said", ["NODE_FAIL", "OUT_OF_MEMORY", "CANCELLED by 0", "TIMEOUT"])
def test_what_squeue_has_forgotten_the_accounting_knows(fake, said):
    fake.began()
    fake.says("sacct", f"1|other|COMPLETED\n7|w.a1|{said}\n9|w.a1|COMPLETED\n8|w.a10|COMPLETED\n")
    seen = fake.look()
    assert seen.phase is Phase.VANISHED and said.split()[0] in seen.note


def test_what_was_used_is_asked_of_sacct_and_a_cluster_without_slurmdbd_says_nothing(fake):
    cluster, begin, end = fake.cluster.of("me"), NOW, NOW + timedelta(days=1)
    at = int(NOW.timestamp()) + 60
    asked = fake.bin / "asked"
    fake.says("sacct", f"7|w.me-x.a1||{at}|3600|10:00|\n7.batch|batch||{at}|3600|10:00|2G\n",
              then=f'echo "$SLURM_TIME_FORMAT $*" > {asked}')  # fmt: skip
    found = cluster.used(begin, end)
    assert found == {"w.me-x.a1": Used(1, 1.0, 1 / 6, 2 * 2**30 / 1e9)}
    assert asked.read_text().startswith("%s -nP -u ")
    fake.says("sacct", err="Slurm accounting storage is disabled", code=1)
    assert cluster.used(begin, end) is None
    fake.says("sacct", err="sacct: error: Connection refused", code=1)
    with pytest.raises(ClusterUnreachable, match="Connection refused"):
        cluster.used(begin, end)


def test_room_is_freed_by_a_program_of_ours_there(fake, tmp_path):
    lineage = tmp_path / "work" / "it's.me-x" / "L2"
    (lineage / "inputs").mkdir(parents=True)
    (lineage / "inputs" / "a.fq").write_bytes(b"x" * 100)
    (lineage / "results").mkdir()
    found = Lineage("it's.me-x", 2, frozenset({"inputs", "rest"}))
    assert fake.cluster.lineages() == [found]
    inputs = Removable("w", "it's.me-x", 2, "inputs")
    gone = Removable("w", "..", 2, "rest")
    assert fake.cluster.free([inputs], remove=False) == [Freed(100, 1)]
    [freed, wrong] = fake.cluster.free([inputs, gone], remove=True)
    assert freed == Freed(100, 1) and "no part of a lineage" in wrong.wrong
    assert fake.cluster.lineages() == [Lineage("it's.me-x", 2, frozenset({"rest"}))]
    with pytest.raises(ClusterUnreachable, match="not whole"):
        read_freed('{"bytes": 1,')


@pytest.mark.parametrize(
    ("region", "zone", "is_in"),
    [("", "us-west-2d", "us-west-2"), ("eu-west-1", "us-west-2d", "eu-west-1"), ("", "", ""),
     ("", "us-gov-east-1a", "us-gov-east-1"), ("", "use1-az1", "")],
)  # fmt: skip
def test_a_zone_says_the_region_where_none_is_named(fake, region, zone, is_in):
    cluster = fake.cluster.model_copy(update={"region": region, "availability_zone": zone})
    assert cluster.view().region == is_in


def test_a_commands_placeholders_are_those_of_the_cluster(fake):
    fake.cluster.python = "/opt/python3"
    known = fake.cluster.programs()
    assert known.keys() == {"python", "programs"} and known["python"] == "/opt/python3"
    assert known["programs"].startswith(f"{fake.cluster.work_folder}/.programs/")


def test_without_slurmdbd_the_jobcomp_file_is_read(fake):
    fake.began()
    fake.says("sacct", then='[ "$1" = -c ] && echo "7|w.a1|BOOT_FAIL" || exit 1')
    assert "BOOT_FAIL" in fake.look().note


def test_what_nobody_knows_is_gone_only_after_a_while(fake):
    fake.began()
    fake.cluster.files_late_seconds = 60
    assert fake.look().phase is Phase.RUNNING
    fake.cluster.files_late_seconds = 0
    seen = fake.look()
    assert seen.phase is Phase.VANISHED and seen.category is ErrorCategory.TRANSIENT


def test_a_squeue_that_fails_makes_all_unknown(fake):
    fake.began()
    fake.says("squeue", err="slurm_load_jobs error: Unable to contact slurm controller", code=1)
    with pytest.raises(ClusterUnreachable, match="Unable to contact"):
        fake.look()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("Batch job submission failed: Unable to contact slurm controller (connect failure)", ClusterUnreachable),
        ("Batch job submission failed: Slurm temporarily unable to accept job, sleeping and retrying", ClusterUnreachable),
        ("QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", ClusterRefused),
        ("Batch job submission failed: Required partition not available (inactive or drain)", ClusterRefused),
        ("Batch job submission failed: I/O error writing script/environment to file", ClusterRefused),
        ("Batch job submission failed: a message of a later Slurm", ClusterRefused),
        ("Batch job submission failed: Socket timed out on send/recv operation", SubmitUncertain),
        ("Batch job submission failed: Zero Bytes were transmitted or received", SubmitUncertain),
        ("", SubmitUncertain),
        ("invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified", ConfigurationError),
        ("Batch job submission failed: Invalid account or account/partition combination specified", ConfigurationError),
        ("Batch job submission failed: Requested node configuration is not available", ConfigurationError),
        ("Memory specification can not be satisfied", ConfigurationError),
    ],
)  # fmt: skip
def test_what_sbatch_says_tells_whether_the_job_may_exist(fake, said, error):
    fake.says("sbatch", err=f"sbatch: error: {said}\n" if said else "", code=1)
    with pytest.raises(error, match=r"w\.a1 on rare"):
        fake.cluster.submit(SPEC)


def test_an_sbatch_that_was_killed_may_have_submitted(fake):
    fake.says("sbatch", then="kill -9 $$")
    with pytest.raises(SubmitUncertain):
        fake.cluster.submit(SPEC)


NODES = [
    ("idle", "0/64/0/64", Counted(4, 4)),
    ("mixed", "20/44/0/64", Counted(4, 2)),
    ("allocated", "64/0/0/64", Counted(4, 0)),
    ("idle~", "0/64/0/64", Counted(4, 4)),  # powered down in the cloud: comes up for a job
    ("mixed#", "16/48/0/64", Counted(4, 3)),
    ("planned", "0/64/0/64", Counted(4, 4)),
    ("reserved", "0/64/0/64", Counted(4, 4)),
    ("drained", "0/0/64/64", Counted(0, 0)),
    ("draining", "16/0/48/64", Counted(0, 0)),
    ("down*", "0/0/64/64", Counted(0, 0)),
    ("idle*", "0/64/0/64", Counted(0, 0)),  # does not respond
    ("maint", "0/64/0/64", Counted(0, 0)),
    ("idle$", "0/64/0/64", Counted(0, 0)),
    ("a state of a later Slurm", "0/64/0/64", Counted(0, 0)),
]


@pytest.mark.parametrize(("state", "cpus", "room"), NODES)
def test_room_on_a_node_by_its_state(state, cpus, room):
    line = f"n1|64000|{state}|{cpus}\n"
    # twice: a node in two partitions is one node
    nodes = parse_nodes(line + line + "rubbish\n")
    assert room_of(nodes, vcpus=16, memory_gb=8) == room


def test_capacity_is_the_nodes_room_less_what_others_run(fake):
    cluster = fake.cluster.model_copy(update={"vcpus_per_workset": 16, "partition": "main"})
    fake.says(
        "sinfo",
        "n1|64000|mixed|48/16/0/64|main*\nn2|16000|idle|0/64/0/64|main*\nn3|1|down|0/0/1/1|main*\n",
    )
    fake.says(
        "squeue",
        "16|w1.k3f9qa-abc234.a1\n8|w2.x.k3f9qa-def567.a3\n8|w1.other2-abc234.a1\n16|else\nrubbish\n",
    )
    # 4 + 4 in all; free: 1 + 4; ours run 2 of the 3 that n1 is busy with, another installation's 1
    assert cluster.of("k3f9qa").capacity() == 7
    room = cluster.of("k3f9qa").view().room
    assert (room.vcpus, room.memory_gb, room.gpus) == (16 + 64 + 16 + 8, 80.0, float("inf"))
    assert cluster.of("other2").capacity() == 6
    assert cluster.of("other2").view().room.vcpus == 16 + 64 + 8
    few = cluster.model_copy(update={"total_vcpus": 20, "total_gpus": 3})
    few.of("other2").capacity()
    assert (few.view().room.vcpus, few.view().room.gpus) == (20, 3)
    assert few.view().offers[0].vcpus == 20, "one job may have all of it, and no more"
    fake.says("sinfo", err="Unable to contact slurm controller", code=1)
    with pytest.raises(ClusterUnreachable):
        cluster.capacity()


def test_a_workset_that_is_larger_than_every_node_says_so(fake):
    """C6: 65 GB where the largest node has 64; ready for ever, without a word."""
    fake.says("sinfo", "n1|64000|idle|0/16/0/16|main*\nn2|32000|drained|0/0/64/64|main*\n")
    cluster = fake.cluster.model_copy(update={"memory_gb_per_workset": 65.0})
    assert cluster.capacity() == 0

    def decided(cluster, **needs):
        one, view = waiting(Estimates(**needs)), cluster.view()
        limits = Limits(max_worksets=9)
        [decision] = plan([one], [view], {}, limits, {"c": 1.0}, PlacementPolicy(), NOW)
        return decision

    stuck = decided(cluster)
    assert stuck.action == "stuck" and not cluster.view().holds_unsaid
    assert stuck.reason == (
        "no cluster fits: no node gives its memory_gb_per_workset: lower it, or say memory_gb in "
        "the pipeline"
    )
    small = Estimates(vcpus=2, memory_gb=8)
    assert cluster.capacity([small]) == 8, "room for those whose pipeline asks for less"
    assert cluster.capacity([Estimates(), small]) == 8
    assert decided(cluster, vcpus=2, memory_gb=8).action == "start"
    # both on one node, also on one that is drained now
    for vcpus, memory, fits in ((16, 64.0, True), (64, 32.0, True), (32, 64.0, False)):
        sizes = {"vcpus_per_workset": vcpus, "memory_gb_per_workset": memory}
        other = fake.cluster.model_copy(update=sizes)
        other.capacity()
        assert other.view().holds_unsaid == fits, (vcpus, memory)
        assert (decided(other).action != "stuck") == fits, (vcpus, memory)
    fake.says("sinfo")
    other.capacity()
    assert not other.heard and not other.view().never, "nothing was heard"


def test_only_nodes_that_its_jobs_go_to_count(fake):
    """C6: the default partition's nodes are too small, another's would do, and no job goes there."""
    nodes = "n1|64000|idle|0/16/0/16|main*\nn2|512000|idle|0/16/0/16|big\n"
    fake.says("sinfo", nodes)
    cluster = fake.cluster.model_copy(update={"memory_gb_per_workset": 65.0})
    assert cluster.capacity() == 0
    assert not cluster.view().holds_unsaid
    fake.says("sinfo", nodes.replace("*", ""))
    assert cluster.capacity() == 7, "without a default partition the cluster chooses"


def test_what_ran_out_is_asked_for_again_up_to_a_cap(fake):
    fake.says("sbatch", then='echo "$@" >> "$0.log"; echo 7')
    cluster = fake.cluster.model_copy(
        update={"memory_gb_per_workset": 8, "max_memory_gb": 20, "time_limit_minutes": 100}
    )
    for n, (memory, minutes) in enumerate([(8, 100), (12, 150), (18, 225), (20, 338), (20, 400)]):
        request = cluster.request(Estimates(), n, n)
        cluster.submit(SPEC.model_copy(update={"workset_id": f"w{n}", "request": request}))
        asked = (fake.bin / "sbatch.log").read_text().splitlines()[-1].split()
        assert f"--mem={memory}000M" in asked and f"--time={minutes}" in asked
        assert cluster.given("memory", request) == f"{memory} GB"
        assert cluster.given("time", request) == f"{minutes} minutes"


def test_a_job_that_ended_while_it_was_asked_for_is_read_after_the_word_of_its_end(fake):
    """Its markers were read before it ended, and the accounting was asked after it had."""
    fake.began()
    job = fake.cluster.job_dir("w.a1")
    marker = '{"at":"2026-01-01T00:00:09+00:00","code":0}'
    fake.says("sacct", "7|w.a1|COMPLETED\n", then=f"printf %s '{marker}' > {job}/run.exit")
    seen = fake.look()
    assert seen.phase is Phase.ENDED and seen.failed_step is None


@pytest.mark.parametrize(
    "odd", ["n9|N/A|idle|0/16/0/16", "n9|64000|idle|N/A", "n9|64000|idle|0/16"]
)
def test_one_odd_node_makes_no_others_room_unknown(odd):
    text = f"{odd}\nn1|64000|idle|0/16/0/16\n"
    assert room_of(parse_nodes(text), vcpus=16, memory_gb=8) == Counted(1, 1)


def test_nodes_are_asked_for_by_the_partitions_that_jobs_go_to(fake):
    lines = (
        "n1|64000|idle|0/16/0/16|short|1:00:00|9000|gpu:2\n"
        "n1|64000|idle|0/16/0/16|long|infinite|9000|gpu:2\n"
        "n2|512000|idle|0/8/0/8|long|infinite|0|(null)\n"
    )
    fake.says("sinfo", lines, then='echo "$@" >> "$0.log"')
    both = [{"name": "short", "max_memory_gb": 1}, {"name": "long", "price_per_vcpu_hour": 3}]
    fields = {"time_limit_minutes": 50, "price_per_vcpu_hour": 1, "memory_gb_per_workset": 1}
    cluster = SlurmCluster(**{**fake.cluster.model_dump(), **fields, "partitions": both})
    assert not cluster.heard
    unheard = [place.memory_gb for place in cluster.view().ceilings]
    assert unheard == [1, float("inf")], "before anybody has asked"
    assert cluster.capacity() == 24
    assert cluster.heard
    form = "%N|%m|%T|%C|%P|%l|%d|%G|%a"
    asked = (fake.bin / "sinfo.log").read_text().splitlines()
    assert asked == [f"-h -N -o {form} -p short,long"]
    seen = [
        (p.partition, p.vcpus, p.memory_gb, p.minutes, p.scratch_gb, p.gpus, p.price_per_vcpu_hour)
        for p in cluster.view().ceilings
    ]
    endless = float("inf")
    assert seen == [
        ("short", 16, 1, 60, 9, 2, 1), ("long", 8, 512, endless, 0, 0, 3),
        ("long", 16, 64, endless, 9, 2, 3),
    ]  # fmt: skip
    assert cluster.request(Estimates()).partition == "short"
    assert cluster.request(Estimates(minutes=61)).partition == "long"
    again = cluster.request(Estimates(), 0, 1)
    assert (again.partition, again.minutes) == ("long", 75), "what ran out of time gets more there"
    assert cluster.request(Estimates(memory_gb=2)).partition == "long"
    allowed = cluster.model_copy(update={"qos": "fast"})
    allowed.capacity()
    assert allowed.request(Estimates(minutes=61)).partition == "short", "its QOS may allow more"
    default = fake.cluster.model_copy(update={"max_vcpus": 4})
    default.capacity()
    assert (fake.bin / "sinfo.log").read_text().splitlines()[-1] == f"-h -N -o {form} -a"
    assert {place.vcpus for place in default.view().ceilings} == {4}


def waiting(estimates):
    return WorksetRecord(
        workset_id="w", customer_id="c", location="file:///w", created_at=NOW, updated_at=NOW,
        estimates=estimates,
    )  # fmt: skip


def test_a_time_limit_that_nobody_asked_for_is_the_longest_that_there_is(fake):
    """Else the job would go to Slurm's default partition, which is none of those that are named."""
    lines = (
        "n1|64000|idle|0/16/0/16|spot|4:00:00|0|(null)\n"
        "n2|64000|idle|0/16/0/16|large|12:00:00|0|(null)\n"
    )
    fake.says("sinfo", lines)
    both = [{"name": "spot", "price_per_vcpu_hour": 1}, {"name": "large", "price_per_vcpu_hour": 3}]
    fields = {"partitions": both, "time_limit_minutes": 1440, "max_vcpus": 8}
    cluster = SlurmCluster(**{**fake.cluster.model_dump(), **fields})
    cluster.capacity()
    asked = cluster.request(Estimates(vcpus=4, memory_gb=8))
    assert (asked.partition, asked.minutes) == ("large", 720)
    view = cluster.view()
    assert view.price_of(Estimates(vcpus=4)) == 3, "and that is its price"
    assert Fit([view]).prices(Estimates(vcpus=4)) == (3,)
    fake.says("sinfo", lines.replace("n1|64000", "n1|99000"))
    cluster.capacity()
    asked, large = cluster.request(Estimates(memory_gb=99)), Estimates(memory_gb=99)
    assert (asked.partition, asked.minutes) == ("spot", 240), "the longest that has the memory"
    assert cluster.view().price_of(large) == Fit([cluster.view()]).prices(large)[0] == 1
    assert misfit(waiting(large), cluster.view()) == ""
    assert {place.vcpus for place in view.ceilings} == {8}, "the cluster's own bound counts, too"


@pytest.mark.parametrize(
    "trouble",
    [
        "n1|64000|drained|0/16/0/16|cheap|1:00:00|0||up",
        "n1|64000|idle|0/16/0/16|cheap|1:00:00|0||down",
    ],
)
def test_a_partition_that_takes_no_jobs_now_is_not_chosen_while_another_does(fake, trouble):
    """A job would wait there for ever; but where no other is large enough it does wait."""
    nodes = "n2|32000|idle|0/16/0/16|dear|1:00:00|0||up\n"
    both = [{"name": "cheap"}, {"name": "dear", "price_per_vcpu_hour": 3}]
    cluster = SlurmCluster(**{**fake.cluster.model_dump(), "partitions": both})
    fake.says("sinfo", nodes + trouble)
    assert cluster.capacity([Estimates(memory_gb=16)]) == 2
    assert cluster.request(Estimates(memory_gb=32)).partition == "dear"
    assert Fit([cluster.view()]).prices(Estimates(memory_gb=32)) == (3,)
    assert cluster.request(Estimates(memory_gb=33)).partition == "cheap"


def test_of_partitions_at_one_price_slurm_takes_the_one_that_is_free_first(fake):
    lines = "".join(
        f"n{n}|{memory}|idle|0/16/0/16|{name}|1:00:00|0||up\n"
        for n, (name, memory) in enumerate([("a", 64000), ("b", 32000), ("c", 64000)])
    )
    three = [{"name": "a"}, {"name": "b"}, {"name": "c", "price_per_vcpu_hour": 3}]
    cluster = SlurmCluster(**{**fake.cluster.model_dump(), "partitions": three})
    fake.says("sinfo", lines)
    cluster.capacity()
    assert cluster.request(Estimates(memory_gb=32)).partition == "a,b"
    assert cluster.request(Estimates(memory_gb=33)).partition == "a"


def test_several_names_in_partition_are_slurms_own_choice(fake):
    lines = (
        "n1|64000|idle|0/16/0/16|main|4:00:00|0|(null)\n"
        "n2|128000|idle|0/16/0/16|long|infinite|0|(null)\n"
    )
    fake.says("sinfo", lines, then='echo "$@" >> "$0.log"')
    cluster = fake.cluster.model_copy(
        update={"partition": "main,long", "memory_gb_per_workset": 64.0}
    )
    assert cluster.capacity() == 3 and cluster.view().never == ""
    assert (fake.bin / "sinfo.log").read_text().split()[-1] == "main,long"
    asked = cluster.request(Estimates(memory_gb=128))
    assert (asked.partition, asked.memory_gb) == ("main,long", 128)


def test_gpus_that_slurm_does_not_know_are_the_settings_word(fake):
    fake.says("sinfo", "n1|64000|idle|0/16/0/16|gpu|infinite|0|(null)|up\n")
    parts = [{"name": "gpu", "gpus": 2}]
    known = {"cluster_name": "g", "work_folder": "/fsx", "partitions": parts}
    for total, fits in ((None, True), (1, False)):
        cluster = SlurmCluster(**known, total_gpus=total, transport=fake.cluster.transport)
        cluster.capacity()
        limits = Limits(max_worksets=9)
        [told] = plan([waiting(Estimates(gpus=2))], [cluster.view()], {}, limits, {"c": 1.0},
                      PlacementPolicy(), NOW)  # fmt: skip
        assert (told.action == "start") == fits, told
        assert fits or told.action == "stuck", "it would wait for ever"


def test_a_total_that_holds_not_one_workset_is_refused():
    for total, each in (("total_vcpus", "vcpus_per_workset"),
                        ("total_memory_gb", "memory_gb_per_workset")):  # fmt: skip
        with pytest.raises(ValueError, match=f"{total} is 2 and {each} 4"):
            SlurmCluster(cluster_name="c", work_folder="/fsx", **{total: 2, each: 4})


def test_the_archiver_has_what_a_step_of_a_job_has_and_prints_nothing_else():
    setup = ["echo noise; TOOL=there; export TOOL", "no-such-command"]
    said = ["sh", "-c", 'cat; echo " $AWS_PROFILE $TOOL $(umask)"']
    shell = archive_shell("007", {"AWS_PROFILE": "it's mine"}, setup, '{"a": "$b"}', said)
    done = subprocess.run(["sh", "-s"], input=shell, text=True, capture_output=True, check=True)
    assert done.stdout == '{"a": "$b"} it\'s mine there 0007\n'
