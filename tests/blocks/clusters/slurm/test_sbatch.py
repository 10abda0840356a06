"""The line that hands a job in."""

from typing import get_args

import pytest

from blocks.clusters import SlurmCluster
from blocks.clusters.slurm.sbatch import SbatchOption, sbatch
from worksets.requests import JobRequest

# an attempt is one job, which Slurm never starts again by itself, and whose log is not begun anew
FIXED = ("--parsable", "--nodes=1", "--ntasks=1", "--no-requeue", "--open-mode=append")

SMALL = JobRequest(vcpus=2, memory_gb=0.5)
ALL = JobRequest(
    vcpus=4, memory_gb=62.259, minutes=90, gpus=2, scratch_gb=1.5, partition="long"
)  # fmt: skip


def options(asked, account="", qos="", **more):
    first, *said, last = sbatch("w.a1", "/jobs/a1", asked, account, qos, more)
    assert first == "sbatch" and tuple(said[: len(FIXED)]) == FIXED and last == "/jobs/a1/job.sh"
    return said[len(FIXED) :]


def test_what_is_not_asked_for_is_not_said():
    assert options(SMALL) == [
        "--cpus-per-task=2", "--mem=500M", "--job-name=w.a1", "--output=/jobs/a1/slurm.log",
    ]  # fmt: skip


def test_all_that_is_asked_for_is_said():
    assert options(ALL, "lab", "fast") == [
        "--partition=long", "--account=lab", "--qos=fast", "--time=90", "--cpus-per-task=4",
        "--mem=62259M", "--tmp=1500M", "--job-name=w.a1", "--output=/jobs/a1/slurm.log",
        "--gres=gpu:2",
    ]  # fmt: skip


def test_no_option_of_a_site_is_one_that_an_attempt_needs():
    assert set(get_args(SbatchOption)) == {
        "constraint", "gres", "gpus", "reservation", "licenses", "exclusive", "comment",
        "nodelist", "exclude", "nice", "tmp",
    }  # fmt: skip
    assert options(SMALL, constraint="a=")[-1] == "--constraint=a="


def test_the_sites_word_stands_before_a_pipelines():
    said = options(ALL, gres="gpu:a100:1", tmp="9G", exclusive="", comment="a b=c")
    assert "--gres=gpu:a100:1" in said and "--gres=gpu:2" not in said
    assert "--tmp=9G" in said and "--tmp=1500M" not in said
    assert "--exclusive" in said and "--comment=a b=c" in said
    assert "--gres=lustre:1,gpu:2" in options(ALL, gres="lustre:1")
    tiny = JobRequest(vcpus=1, memory_gb=0.0001)
    assert "--mem=1M" in options(tiny), "0 would be all of the node's"
    assert not any(each.startswith("--gres") for each in options(ALL, gpus="2"))


@pytest.mark.parametrize("key", ["constraint", "gres", "nodelist", "comment", "reservation"])
def test_an_option_without_its_value_would_take_the_script_for_it_and_is_refused(key):
    with pytest.raises(ValueError, match=f"{key} wants a value"):
        SlurmCluster(cluster_name="c", work_folder="/fsx", sbatch_options={key: ""})
    for bare in ("exclusive", "nice"):
        SlurmCluster(cluster_name="c", work_folder="/fsx", sbatch_options={bare: "", key: "x"})
