"""What Slurm says, read: every state it has, and markers in every order; no unknown is an end."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.slurm.script import EARLIER_OR_TWICE, SUBMITTING, job_script, submit_shell
from blocks.slurm.states import ENDED, Listed, Markers, parse_markers, parse_squeue, status
from worksets.errors import ErrorCategory
from worksets.jobs import JobSpec, Manifest, Phase, StepCommand
from worksets.record import Step

# squeue(1), JOB STATE CODES
ACTIVE = [
    "CONFIGURING", "COMPLETING", "PENDING", "RUNNING", "RESV_DEL_HOLD", "REQUEUE_FED",
    "REQUEUE_HOLD", "REQUEUED", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
    "SUSPENDED", "A_STATE_OF_A_LATER_SLURM",
]  # fmt: skip


@pytest.mark.parametrize("state", ACTIVE)
def test_a_state_that_is_no_known_end_is_no_end(state):
    listed = parse_squeue(f"17|w1.a1|{state}|None\n")["w1.a1"]
    assert listed.active and listed.waits == (state == "PENDING")


@pytest.mark.parametrize("state", ENDED)
def test_an_end_without_markers_is_no_success(state):
    listed = parse_squeue(f"17|w1.a1|{state}|Reason\n")["w1.a1"]
    found = status("w1.a1", listed, Markers(steps=(Step.RUN,), claimed=True))
    assert found.phase is Phase.VANISHED and state in found.note
    resource = state in ("OUT_OF_MEMORY", "TIMEOUT", "DEADLINE")
    expected = ErrorCategory.RESOURCE if resource else ErrorCategory.TRANSIENT
    assert found.category is expected


def test_one_active_job_of_a_name_outweighs_its_ended_twin():
    text = "17|w1.a1|FAILED|NonZeroExitCode\n18|w1.a1|RUNNING|None\n19|other|PENDING|Priority\n"
    assert parse_squeue(text)["w1.a1"].active and parse_squeue(text)["other"].waits


@given(st.text())
def test_rubbish_from_squeue_is_passed_over(text):
    for name, listed in parse_squeue(text).items():
        assert isinstance(name, str) and listed.states


def marker(code, at="2026-01-01T00:00:00.000001+00:00"):
    return f'{{"at":"{at}","code":{code}}}'


def test_markers_decide_over_what_slurm_says():
    text = (
        "@ w1.a1\nsteps stage run\nstage.start " + marker(0) + "\nstage.exit " + marker(0)
        + "\nrun.start " + marker(0) + "\nrun.exit " + marker(137)
        + "\nclaim\n@ w2.a1\nunreadable\n@ w3.a1\n@ w4.a1\nsteps run\nsealed sealed\nclaim\n"
    )  # fmt: skip
    found = parse_markers(text)
    ended = status("w1.a1", Listed((("COMPLETED", "None"),)), found["w1.a1"])
    assert ended.phase is Phase.ENDED and ended.failed_step is Step.RUN
    assert status("w2.a1", None, found["w2.a1"]).phase is Phase.UNKNOWN
    assert status("w3.a1", None, found["w3.a1"]).phase is Phase.ABSENT
    sealed = status("w4.a1", None, found["w4.a1"])
    assert sealed.phase is Phase.VANISHED and "never will" in sealed.note


words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=4), words)
def test_no_text_becomes_code_in_what_a_shell_reads(argv, text):
    """A real sh runs it: every word arrives as it is, a second job of the attempt runs nothing."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = f"{folder}/it's $HOME; `x`/jobs"
        spec = JobSpec(
            workset_id="w",
            attempt=2,
            steps=(StepCommand(step="run", argv=("printf", "%s|", *argv)),),
            manifest=Manifest(
                workset_id="w", customer_id="c", reference_genome="hg38", pipeline="p", attempt=2,
                source="/x", export_to="/y", samples=(),
            ),
        )  # fmt: skip
        job = f"{jobs}/a2"
        files = {f"{job}/text": text, f"{job}/job.sh": job_script(spec, jobs, folder)}
        # in the place of sbatch: a program that runs the script, and is given it as one word
        shell = submit_shell([job], files, job, ["sh", f"{job}/job.sh"])
        done = subprocess.run(["sh", "-s"], input=shell.encode(), capture_output=True, check=False)
        assert done.returncode == 0 and done.stdout.startswith(SUBMITTING.encode()), done.stderr
        assert (Path(job) / "text").read_bytes().decode() == text
        assert (Path(job) / "run.log").read_bytes().decode() == "".join(f"{w}|" for w in argv)
        assert (
            parse_markers(
                "@ w\n"
                + "".join(f"{f.name} {f.read_text()}\n" for f in Path(job).glob("run.*[tr]"))
            )["w"].exits[Step.RUN][1]
            == 0
        )
        again = subprocess.run(["sh", f"{job}/job.sh"], capture_output=True, check=False)
        assert again.returncode == EARLIER_OR_TWICE
        assert (Path(jobs) / "a1/claim").is_dir(), "the earlier attempt is sealed"
