"""A plain shell script as the run step, which hands in a job to Slurm for each of its samples."""

import time

import psutil
import pytest

from tests import slurm
from tests.real.test_slurm_poller import cluster
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

DRIVER = """
# Hands in a job for each sample that has no result yet, and waits for all. Knows no signal: told to
# stop, it leaves its jobs in the queue.
results=$1 log=$2 seconds=$3 mem=$4 eats=$5
for sample in s1 s2 s3; do
  [ -e "$results/$sample" ] && continue
  sbatch --wait -J "rule-$sample" --mem="$mem" -o /dev/null --wrap "
    echo begin $sample >> $log
    python3 -c 'import time; x = bytearray(${eats}_000_000); time.sleep($seconds)' || exit 1
    echo end $sample >> $log; echo $sample > $results/$sample" &
  jobs="$jobs $!"
done
code=0
for job in $jobs; do wait "$job" || code=1; done
exit $code
"""
IN_VAIN = 'sbatch -J rule-s1 --mem=50M -o /dev/null --wrap "sleep 60"; echo done > "$1/done"'


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "drv") as (cluster,):
        yield cluster


def drive(site, real, seconds=1, memory="50M", eats=1, script=DRIVER, **keys):
    """A workset `driven` whose run step is the driver."""
    site.configure()
    site.add("driven", 1, **keys)
    (site.folder / "driver.sh").write_text(script)
    run = ["sh", str(site.folder / "driver.sh"), "{results}", str(site.folder / "ran"),
           str(seconds), memory, str(eats)]  # fmt: skip
    pipeline = {"stage": ["true"], "run": run, "export": ["true"], "results": "keep"}
    clusters = [cluster(site, real, grace_seconds=3)]
    site.configure(overrides={"clusters": clusters, "pipelines": {"sleep-1": pipeline}})
    return site.poller()


def ran(site):
    log = site.folder / "ran"
    return log.read_text().splitlines() if log.exists() else []


def in_the_queue(real):
    """Jobs that the drivers have handed in and that may still do something."""
    listed = real.call("squeue", "-h", "-t", "PD,R,CF,S", "-o", "%j").stdout.split()
    return [name for name in listed if name.startswith("rule-")]


def driver_of(site):
    """The process of the driver that runs now."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words[:2] == ["sh", str(site.folder / "driver.sh")]:
            return process
    return None


def test_its_jobs_are_no_others_and_a_killed_poller_changes_nothing(site, real):
    poller = drive(site, real, seconds=8)
    site.until(lambda: len(ran(site)) == 3)
    wckeys = real.call("squeue", "-h", "-t", "R", "-o", "%j|%w").stdout.split()
    name = site.db.get("driven").job_name
    assert sorted(wckeys) == sorted(
        [f"{name}|(null)", *(f"rule-s{n}|{name}" for n in (1, 2, 3))]
    ), "by this they are found"
    poller.kill()
    site.finish(site.poller(), 120)
    record = site.db.get("driven")
    assert (record.state, record.attempt) == (State.COMPLETE, 1)
    assert sorted(ran(site)) == sorted(f"{w} s{n}" for w in ("begin", "end") for n in (1, 2, 3))


def test_cancelled_it_leaves_nothing_in_the_queue(site, real):
    poller = drive(site, real, seconds=120)
    site.until(lambda: len(ran(site)) == 3)
    site.db.cancel("driven", "not wanted any more")
    site.finish(poller, 120)
    assert site.states() == {State.CANCELLED: 1}
    assert in_the_queue(real) == [], "nobody calls it cancelled before that"


def test_killed_it_begins_again_when_its_jobs_are_gone_and_repeats_none_that_was_done(site, real):
    poller = drive(site, real, seconds=30)
    site.until(lambda: len(ran(site)) == 3)
    results = next(site.folder.glob("work/driven.*/L1/results"))
    (results / "s1").write_text("s1\n")  # one had been done
    driver_of(site).kill()
    site.until(lambda: site.db.get("driven").state is not State.IN_PROGRESS, 40)
    assert in_the_queue(real) == [], "its jobs work in the folder that the next attempt works in"
    site.until(lambda: len(ran(site)) == 5, 60)
    assert ran(site)[3:] != ["begin s1"] and "begin s1" not in ran(site)[3:]
    site.finish(poller, 120)
    record = site.db.get("driven")
    assert (record.state, record.attempt) == (State.COMPLETE, 2)
    assert {result.name for result in results.iterdir()} == {"s1", "s2", "s3"}


def test_a_job_of_it_that_runs_out_of_memory_fails_its_workset_and_says_so(site, real):
    poller = drive(site, real, memory="50M", eats=300, max_retries=0)
    site.finish(poller, 120)
    record = site.db.get("driven")
    assert record.state is State.FAILED and record.failed_step == "run"
    assert sorted(ran(site)) == ["begin s1", "begin s2", "begin s3"]
    assert in_the_queue(real) == []


def test_one_that_does_not_wait_for_its_jobs_has_failed_and_is_told_why(site, real):
    """Its results would be exported while its jobs still write them."""
    poller = drive(site, real, script=IN_VAIN)
    began = time.monotonic()
    site.finish(poller, 120)
    record = site.db.get("driven")
    assert record.state is State.FAILED and record.attempt == 1, "a retry could not get better"
    assert (record.failed_step, record.error_category) == ("run", "configuration")
    assert "before the jobs that it had handed in" in record.error_details
    assert "sbatch --wait" in record.error_details
    assert in_the_queue(real) == [] and time.monotonic() - began < 60
