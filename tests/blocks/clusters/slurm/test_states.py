"""What Slurm says, read: every state it has, and markers in every order; no unknown is an end."""

import base64
import json
import os
import signal
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path
from shlex import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blocks.clusters.slurm.script import (
    EARLIER_OR_TWICE,
    SUBMITTING,
    framed,
    job_script,
    markers_shell,
    submit_shell,
    unframed,
)
from blocks.clusters.slurm.states import ENDED, parse_markers, parse_squeue, word
from worksets.belief import Markers, Word
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
    listed = parse_squeue(f"17|w1.a1|{state}|None|\n")["w1.a1"]
    assert listed.active and listed.waits == (state == "PENDING")


@pytest.mark.parametrize("state", ENDED)
def test_an_end_is_a_word_with_its_class(state):
    said = word(parse_squeue(f"17|w1.a1|{state}|Reason|\n")["w1.a1"])
    assert said.phase is Phase.ENDED and state in said.note
    resource = state in ("OUT_OF_MEMORY", "TIMEOUT", "DEADLINE")
    expected = ErrorCategory.RESOURCE if resource else ErrorCategory.TRANSIENT
    assert said.category is (None if state == "COMPLETED" else expected)


def test_why_a_job_waits_is_in_its_word():
    assert word(parse_squeue("17|w1.a1|PENDING|Priority|\n")["w1.a1"]) == Word(
        Phase.QUEUED, "Priority"
    )
    held = word(parse_squeue("17|w1.a1|PENDING|JobHeldAdmin|\n")["w1.a1"])
    assert "ask for its release" in held.stuck


def test_one_active_job_of_a_name_outweighs_its_ended_twin():
    text = "17|w1.a1|FAILED|NonZeroExitCode|\n18|w1.a1|RUNNING|None|\n19|other|PENDING|Priority|\n"
    assert parse_squeue(text)["w1.a1"].active and parse_squeue(text)["other"].waits


@given(st.text())
def test_rubbish_from_squeue_is_passed_over(text):
    for name, listed in parse_squeue(text).items():
        assert isinstance(name, str) and listed.states


def spec_of(*steps, attempt=1):
    return JobSpec(
        workset_id="w", attempt=attempt, steps=steps,
        manifest=Manifest(
            workset_id="w", customer_id="c", reference_genome="hg38", pipeline="p", attempt=attempt,
            source="/x", export_to="/y", samples=(),
        ),
    )  # fmt: skip


AT = "2026-01-01T00:00:00.000001+00:00"
WHOLE = {
    "steps": "stage run",
    "stage.start": f'{{"at":"{AT}"}}',
    "stage.exit": f'{{"at":"{AT}","code":0}}',
    "run.start": f'{{"at":"{AT}"}}',
    "run.exit": f'{{"at":"{AT}","code":137}}',
}


@pytest.fixture
def job(tmp_path):
    """A job's folder with the markers of a run that was killed."""
    folder = tmp_path / "w1/jobs/a1"
    folder.mkdir(parents=True)
    (folder / "claim").mkdir()
    for name, text in WHOLE.items():
        (folder / name).write_text(text)
    return folder


def look(job, seal=False):
    """Its markers, by a real sh, beside another job's that is whole."""
    other = job.parent / "a2"
    other.mkdir(exist_ok=True)
    (other / "steps").write_text("run")
    folders = {"w1.a1": str(job), "w1.a2": str(other)}
    done = subprocess.run(
        ["sh", "-s"], input=markers_shell(folders, seal).encode(), capture_output=True, check=True
    )
    found = parse_markers(done.stdout.decode(), folders)
    assert found["w1.a2"].steps == (Step.RUN,), "one damaged job makes no other unknown"
    return found["w1.a1"]


def test_whole_markers_are_read(job):
    found = look(job)
    assert found.steps == (Step.STAGE, Step.RUN) and found.claimed and not found.unreadable
    assert found.exits[Step.RUN] == (datetime.fromisoformat(AT), 137) and found.ended


@pytest.mark.parametrize(
    "text", ["", "\0", "{", "[]", "{}", '{"at": 3, "code": 0}', '{"at":"2026-01-01","code":0}',
             '{"at":"2026-01-01T00:00:00+00:00","code":"0"}', "\nclaimed\nsealed\n", "@ w1.a2"],
)  # fmt: skip
def test_a_damaged_marker_makes_its_own_job_unknown_and_is_named(job, text):
    (job / "run.exit").write_text(text)
    found = look(job)
    assert f"{job}/run.exit is {'damaged' if text else 'empty'}" in found.unreadable
    assert not found.ended and not found.sealed and Step.STAGE in found.exits


@given(st.binary(max_size=60))
def test_whatever_stands_in_a_marker_it_is_that_markers_only(data):
    packed = base64.b64encode(data).decode()
    found = parse_markers(f"@ j\nrun.exit {packed}\nclaimed\n", {"j": "/f"})["j"]
    assert found.claimed and not found.sealed
    assert bool(found.exits) != bool(found.unreadable)


def test_what_is_said_of_nothing_is_unknown():
    found = parse_markers("rubbish\n@ other\nclaimed\n", {"j": "/jobs/j"})["j"]
    assert found == Markers(unreadable="nothing was said of /jobs/j")


def test_a_job_that_has_not_begun_is_sealed_on_request_only(job):
    (job / "claim").rmdir()
    for name in WHOLE:
        (job / name).unlink()
    (job / "steps").write_text("run")
    assert look(job) == Markers(steps=(Step.RUN,))
    sealed = look(job, seal=True)
    assert sealed.sealed and sealed.claimed


BANNER = "Welcome\nDisk quota: 90 % used\nsteps will be taken\n@ w1.a1\nclaimed"


@given(st.sampled_from([0, 3, 75]), st.text("ab\n @", max_size=20))
def test_what_a_profile_says_is_no_part_of_an_answer(code, text):
    shell = f"{{ printf %s {quote(text)}; printf %s {quote(text)} >&2; exit {code}; }}"
    script = f"echo {quote(BANNER)}; echo {quote(BANNER)} >&2\n{framed(shell, 't0k3n')}"
    done = subprocess.run(
        ["sh", "-s"], input=script, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert unframed(done.stdout, done.stderr, "t0k3n") == (code, text, text)
    cut = done.stdout[: done.stdout.rindex("@t0k3n")]
    assert unframed(cut, done.stderr, "t0k3n") is None, "an answer that broke off is none"


words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(words, min_size=1, max_size=4), words)
def test_no_text_becomes_code_in_what_a_shell_reads(argv, text):
    """A real sh runs it: every word arrives as it is, a second job of the attempt runs nothing."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = f"{folder}/it's $HOME; `x`/jobs"
        spec = spec_of(StepCommand(step="run", argv=("printf", "%s|", *argv)), attempt=2)
        job = f"{jobs}/a2"
        files = {f"{job}/text": text, f"{job}/job.sh": job_script(spec, jobs, folder)}
        # in the place of sbatch: a program that runs the script, and is given it as one word
        shell = submit_shell([job], files, job, ["sh", f"{job}/job.sh"])
        done = subprocess.run(["sh", "-s"], input=shell.encode(), capture_output=True, check=False)
        assert done.returncode == 0 and done.stdout.startswith(SUBMITTING.encode()), done.stderr
        assert (Path(job) / "text").read_bytes().decode() == text
        assert (Path(job) / "run.log").read_bytes().decode() == "".join(f"{w}|" for w in argv)
        looked = subprocess.run(
            ["sh", "-s"], input=markers_shell({"w": job}).encode(), capture_output=True, check=True
        )
        markers = parse_markers(looked.stdout.decode(), {"w": job})["w"]
        assert markers.exits[Step.RUN][1] == 0 and not markers.unreadable
        again = subprocess.run(["sh", f"{job}/job.sh"], capture_output=True, check=False)
        assert again.returncode == EARLIER_OR_TWICE
        assert (Path(jobs) / "a1/claim").is_dir(), "the earlier attempt is sealed"


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("setup", "says"),
    [
        (["export A='b c'", 'f() { echo "$A"; }'], ""),
        (["cd /", "set -eu", "line=9", "A='b c'; export A"], ""),
        (
            ["true", "no-such-module load x"],
            "line 2 of the cluster's setup ended with exit code 127",
        ),
        ([". /no/such/file"], "line 1 of the cluster's setup ended with exit code"),
        (["exit 3"], "line 1 of the cluster's setup ended with exit code 3"),
        (["if true"], "line 1 of the cluster's setup ended with exit code"),
        (["}; touch pwned; {"], "line 1 of the cluster's setup ended with exit code"),
    ],
)
def test_a_clusters_setup_comes_before_the_first_step_and_says_what_fails(
    tmp_path, shell, setup, says
):
    steps = [
        StepCommand(step=step, argv=("sh", "-c", f'echo "$A" >> {step}.out'))
        for step in ("stage", "run")
    ]
    spec = spec_of(*steps)
    job = tmp_path / "jobs" / "a1"
    job.mkdir(parents=True)
    script = job_script(spec, str(job.parent), str(tmp_path), setup=setup)
    (tmp_path / "job.sh").write_text(script)
    code = subprocess.run([shell, str(tmp_path / "job.sh")], check=False).returncode
    looked = subprocess.run(
        ["sh", "-s"], input=markers_shell({"w": str(job)}).encode(), capture_output=True, check=True
    )
    markers = parse_markers(looked.stdout.decode(), {"w": str(job)})["w"]
    assert not markers.unreadable
    if says:
        assert code == 75 and not list(tmp_path.glob("*.out")) and not list(tmp_path.glob("pwned"))
        assert {step: end[1] for step, end in markers.exits.items()} == {Step.STAGE: 75}
        assert says in (job / "stage.log").read_text().splitlines()[-1]
    else:
        assert code == 0 and {path.read_text() for path in tmp_path.glob("*.out")} == {"b c\n"}
        assert {step: end[1] for step, end in markers.exits.items()} == dict.fromkeys(
            (Step.STAGE, Step.RUN), 0
        )


LEAVES_OFF = (
    "trap 'sleep 0.5; touch ended; exit {code}' TERM; touch up; while :; do sleep 0.1; done"
)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("code", [0, 3])
def test_a_script_that_is_told_to_stop_waits_for_its_step_and_begins_no_other(
    tmp_path, shell, code
):
    """As `scancel --full --signal=TERM` does it: the signal reaches all processes of the job."""
    step = StepCommand(step="run", argv=("sh", "-c", LEAVES_OFF.format(code=code)))
    more = StepCommand(step="export", argv=("touch", "exported"))
    spec = spec_of(step, more)
    job = tmp_path / "jobs" / "a1"
    job.mkdir(parents=True)
    (tmp_path / "job.sh").write_text(job_script(spec, str(job.parent), str(tmp_path)))
    running = subprocess.Popen([shell, str(tmp_path / "job.sh")], start_new_session=True)
    deadline = time.monotonic() + 20
    while not (tmp_path / "up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(20) == (code or 143)
    assert (tmp_path / "ended").exists() and not (tmp_path / "exported").exists()
    exit_ = json.loads((job / "run.exit").read_text())
    assert exit_["code"] == (code or 143)
