"""Runs one attempt's steps on the local machine: `python runner.py JOB_DIR`.

The job folder's `claim` decides who may run: it is linked into place once, so of two runners of one
job the second leaves at once. Before that, a runner seals the claims of all earlier attempts, so
that a late runner of an older attempt can never start beside it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

NO_RECEIPT = 70
EX_IOERR = 74
"""Exit codes (sysexits.h) of steps that left no receipt, or could not begin."""
EARLIER_ATTEMPT_LIVES = 75
"""Exit code (EX_TEMPFAIL): an earlier attempt of this workset still runs."""


TERMINATED = 128 + signal.SIGTERM
"""Exit code, as shells have it, of what was told to stop."""
GRACE_S = 60.0
"""Seconds from the signal to stop to the kill, of a job of an older release."""


def now() -> str:
    return datetime.now(UTC).isoformat()


def write(path: Path, value: dict[str, Any]) -> None:
    """Write JSON so that a reader sees all of it or none, also after a power cut."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def claim(job_dir: Path, value: dict[str, Any]) -> bool:
    """Put the claim in place; False if there is one already."""
    job_dir.mkdir(parents=True, exist_ok=True)
    draft = job_dir / f".claim.{os.getpid()}.{threading.get_ident()}"
    with open(draft, "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, job_dir / "claim")
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def holder_of(job_dir: Path) -> dict[str, Any]:
    """What a claim says; nothing where it is damaged: only a power cut does that, after which none
    of its processes lives."""
    try:
        holder = json.loads((job_dir / "claim").read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def boot() -> str:
    """What tells this run of the machine from the one before a restart."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(int(psutil.boot_time()))


def birth(pid: int) -> str | None:
    """When a living process began, in a form that no change of the clock alters; None if dead."""
    try:
        # Linux: field 3 is the state, field 22 the start in ticks since boot (man 5 proc)
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        if sys.platform == "linux":
            return None
    except ProcessLookupError:
        return None
    try:
        process = psutil.Process(pid)
        dead = process.status() == psutil.STATUS_ZOMBIE
        return None if dead else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def lives(holder: dict[str, Any]) -> bool:
    """Whether the process group that made a claim still has a living member."""
    pid = holder.get("pid")
    if not pid or holder.get("boot") != boot():
        return False
    began = birth(pid)
    if began is not None:
        return bool(began == holder.get("birth"))  # else the number belongs to another process now
    return any(_in_group(other, pid) for other in psutil.pids())


def _in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group and birth(pid) is not None
    except OSError:
        return False


def main(job_dir: Path) -> int:
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    for attempt in range(1, job["attempt"]):
        earlier = job_dir.parent / f"a{attempt}"
        if not claim(earlier, {"sealed_by": job["attempt"]}) and lives(holder_of(earlier)):
            print(f"attempt {attempt} still runs; this one leaves", file=sys.stderr)
            return EARLIER_ATTEMPT_LIVES
    mine = {"pid": os.getpid(), "birth": birth(os.getpid()), "boot": boot()}
    if not claim(job_dir, mine):
        return 0

    def stop(signum: int, _frame: object) -> None:
        # the step is in the same group and has the signal already; it has until the alarm
        if not stopped:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, job.get("grace_s", GRACE_S)))
        stopped.append(signum)

    stopped: list[int] = []
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGALRM, lambda _signum, _frame: os.killpg(0, signal.SIGKILL))
    code = steps(job, job_dir, stopped)
    while stopped and any(
        pid != os.getpid() and _in_group(pid, os.getpgrp()) for pid in psutil.pids()
    ):
        time.sleep(0.2)  # what a step has left behind is killed with us when the alarm comes
    return code


def steps(job: dict[str, Any], job_dir: Path, stopped: list[int]) -> int:
    """Run the steps of a job, in order; 0 if all ended well. `stopped`: signals, as they come."""
    for step in job["steps"]:
        if stopped:
            return 1
        name = step["step"]
        write(job_dir / f"{name}.start", {"at": now()})
        code, receipt = step_of(step, job["work_dir"], job_dir / f"{name}.log", stopped)
        if stopped and code == 0:
            # it may have ended well or have left off: it runs again, and what is done stays done
            code = TERMINATED
            receipt.pop("exported", None)
        write(job_dir / f"{name}.exit", {"at": now(), "code": code, **receipt})
        if code != 0:
            return 1
    return 0


def step_of(
    step: dict[str, Any], work_dir: str, log: Path, stopped: list[int]
) -> tuple[int, dict[str, Any]]:
    """Exit code of a step, what it took, and what its receipt says, if it has to leave one."""
    receipt = step.get("receipt")
    try:
        if receipt:
            Path(receipt).unlink(missing_ok=True)  # of a try before
        if folder := step.get("empties"):
            empty(Path(folder))
    except OSError as error:
        with open(log, "ab") as out:
            out.write(f"{error.filename}: {error.strerror}\n".encode())
        return EX_IOERR, {}
    code, took = run(step["argv"], work_dir, log, stopped)
    if code or not receipt:
        return code, took
    try:
        return 0, {**took, "exported": json.loads(Path(receipt).read_text(encoding="utf-8"))}
    except (OSError, ValueError) as error:
        with open(log, "ab") as out:
            out.write(f"it left no receipt of what it brought to its place: {error}\n".encode())
        return NO_RECEIPT, took


def empty(folder: Path) -> None:
    """Make a folder anew; a link in its place is removed, not what it leads to."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)


def run(
    argv: list[str], work_dir: str, log: Path, stopped: list[int]
) -> tuple[int, dict[str, Any]]:
    """Exit code of the command, and what it took: 127 or 126, as shells have it, and nothing, where
    it cannot be started."""
    if stopped:
        return TERMINATED, {}
    with open(log, "ab", buffering=0) as out:
        try:
            child = subprocess.Popen(
                argv, cwd=work_dir, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        except OSError as error:
            out.write(f"{argv[0]}: {error.strerror}\n".encode())
            return 127 if isinstance(error, FileNotFoundError) else 126, {}
        if stopped:
            child.terminate()  # the signal came before there was a command to hear it
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, else KiB
    took = {
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_gb": round(usage.ru_maxrss * unit / 1e9, 6),
    }
    return child.returncode, {"took": took}


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
