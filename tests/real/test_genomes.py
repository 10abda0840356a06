"""Real tools, driven by a workflow engine, on reads whose variants are known."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from examples.genomes.simulate import HERE, simulate
from tests import slurm
from tests.real.conftest import ROOT
from tests.services import need
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

TOOLS = ("fastp", "bwa", "samtools", "bcftools")
AS_JOBS = (
    "--executor", "slurm", "--jobs", "4", "--latency-wait", "20", "--slurm-no-account",
    # this Slurm has no accounting
    "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2",
    "--default-resources", "slurm_partition=main", "mem_mb=2000", "runtime=10",
)  # fmt: skip
SNAKEMAKE = ROOT / ".real" / "snakemake" / "bin" / "snakemake"


@pytest.fixture(scope="module", autouse=True)
def reads():
    there = SNAKEMAKE.exists() or shutil.which("snakemake")
    need(there and all(map(shutil.which, TOOLS)), f"Snakemake, {', '.join(TOOLS)}")
    simulate(HERE / "worksets")


def settings(site, worksets, clusters=None, *more):
    """The example's own pipeline, on this site; only these of its worksets."""
    for name in worksets:
        shutil.copytree(HERE / "worksets" / name, site.folder / "worksets" / name)
    run = [
        "{python}", str(HERE / "pipeline.py"), "--manifest", "{manifest}", "--inputs", "{inputs}",
        "--results", "{results}", "--work-dir", "{work_dir}", *more,
    ]  # fmt: skip
    site.configure(
        clusters=1, slots=1, customers=("phage-lab", "soil-survey"),
        overrides={
            "pipelines": {"variants": {"run": run, "results": "keep"}},
            "reference_genomes": ["phix174", "synthetic"],
            **({"clusters": clusters} if clusters else {}),
        },
    )  # fmt: skip


def verified(site):
    """What `verify` says of the site's results, by its last line."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.genomes.verify", "--run-dir", str(site.folder),
         "--worksets", str(site.folder / "worksets")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = done.stdout.splitlines()[-1].split()
    assert words[::2] == ["recall", "precision"]
    return [float(word) for word in words[1::2]]


def logs(site, workset, attempt):
    """The log of the run step of an attempt."""
    (log,) = site.folder.glob(f"*/{workset}.*/jobs/a{attempt}/run.log")
    return log.read_text()


def started(log):
    """Rules that Snakemake began."""
    words = [line.split() for line in log.splitlines()]
    return [line[-1].rstrip(":") for line in words if len(line) == 2 and line[0].endswith("rule")]


def engine(site):
    """The process of Snakemake that works for this site, once it is there."""
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.endswith("Snakefile") for word in words) and str(site.folder) in str(words):
            return process
    return None


def test_an_engine_that_is_killed_goes_on_where_it_was_and_finds_all_variants(site):
    """F8: it left its lock, and the next attempt was a dead letter."""
    settings(site, ["gw-001-phix174", "gw-002-bacterium"])
    poller = site.poller()
    site.until(lambda: list(site.folder.glob("c0/gw-002-*/L1/snakemake/B*.bam.bai")), 120)
    with contextlib.suppress(psutil.NoSuchProcess):
        engine(site).kill()
    site.finish(poller, 240)
    assert site.states() == {State.COMPLETE: 2}
    first, second = (logs(site, "gw-002-bacterium", attempt) for attempt in (1, 2))
    assert "left its lock; it is removed" in second
    assert "reference" in started(first) and "reference" not in started(second)
    assert min(verified(site)) >= 0.99
    assert (site.folder / "results/phage-lab/gw-001-phix174/report.html").exists()


def on_slurm(site, real):
    """The cluster's keys; its jobs find this Slurm though Snakemake forgets each SLURM_ variable,
    as they do on a site where Slurm lies where it is looked for."""
    programs = site.folder / "slurm"
    programs.mkdir()
    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "sacct"):
        if there := shutil.which(name):
            wrapper = programs / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={real.conf} exec {there} "$@"\n')
            wrapper.chmod(0o755)
    return {
        "type": "slurm-cluster",
        "cluster_name": f"{site.name}-a",
        "max_concurrent_worksets": 1,
        "memory_gb_per_workset": 2,
        "work_folder": str(site.folder / "c0"),
        "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
        "environment": {"PATH": f"{programs}:{os.environ['PATH']}"},
    }


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    with slurm.clusters(tmp_path_factory.mktemp("slurm"), "a") as (cluster,):
        yield cluster


def test_its_rules_are_jobs_of_slurm(site, real):
    settings(site, ["gw-001-phix174"], [on_slurm(site, real)], *AS_JOBS)
    site.finish(site.poller(), 240)
    assert site.states() == {State.COMPLETE: 1}, logs(site, "gw-001-phix174", 1)
    assert min(verified(site)) >= 0.99
    names = real.call("squeue", "-h", "-t", "all", "-o", "%k").stdout
    assert "rule_align" in names, "the driver submitted its rules"


def test_a_cancelled_engine_leaves_no_job_of_its_own(site, real):
    settings(site, ["gw-002-bacterium"], [on_slurm(site, real)], *AS_JOBS)
    poller = site.poller()

    def waiting():
        listed = real.call("squeue", "-h", "-t", "PD,R,CF", "-o", "%j|%k").stdout.splitlines()
        return [line for line in listed if "rule_" in line]

    site.until(waiting, 120)
    site.db.cancel("gw-002-bacterium", "not wanted any more")
    site.finish(poller, 120)
    assert site.states() == {State.CANCELLED: 1}
    deadline = time.monotonic() + 15
    while waiting():
        assert time.monotonic() < deadline, waiting()
        time.sleep(0.5)
