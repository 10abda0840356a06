"""A cluster that is this machine: jobs are detached processes that outlive whoever started them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import Field, PrivateAttr

from blocks.clusters import Cluster, SubmitUncertain, WorkPaths
from blocks.on_cluster import runner
from worksets.errors import ConfigurationError, ResourceError, TransientError, WorksetError
from worksets.jobs import JobSpec, JobStatus, Phase, StepMarkers
from worksets.record import Step

PROGRAMS: Final = Path(runner.__file__).parent
CLAIM_WAIT_S: Final = 20.0
CANCEL_GRACE_S: Final = 5.0


class LocalCluster(Cluster):
    """Runs worksets on this machine, each job a process group of its own.

    Layout below `work_folder`: `WORKSET/inputs`, `WORKSET/results`, and for every attempt
    `WORKSET/jobs/aN` with `job.json`, `claim` and, for each step, `.start`, `.exit` and `.log`.
    """

    _block_type_name = "Local Cluster"
    _block_type_slug = "local-cluster"

    work_folder: str = Field(description="Folder for the worksets' files; made if missing")

    _children: dict[str, subprocess.Popen[bytes]] = PrivateAttr(default_factory=dict)

    def paths(self, workset_id: str, attempt: int) -> WorkPaths:
        work = Path(self.work_folder).resolve() / workset_id
        return WorkPaths(
            work_dir=str(work),
            inputs=str(work / "inputs"),
            results=str(work / "results"),
            manifest=str(self._job_dir(f"{workset_id}.a{attempt}") / "manifest.json"),
        )

    def programs(self) -> dict[str, str]:
        return {"python": sys.executable, "programs": str(PROGRAMS)}

    def submit(self, spec: JobSpec) -> None:
        job_dir = self._job_dir(spec.name)
        paths = self.paths(spec.workset_id, spec.attempt)
        try:
            if (job_dir / "claim").exists():
                return
            for folder in (job_dir, Path(paths.inputs), Path(paths.results)):
                folder.mkdir(parents=True, exist_ok=True)
            Path(paths.manifest).write_text(spec.manifest.model_dump_json(), encoding="utf-8")
            job = {**spec.model_dump(mode="json", exclude={"manifest"}), "work_dir": paths.work_dir}
            runner.write(job_dir / "job.json", job)
            with open(job_dir / "runner.log", "ab") as log:
                child = subprocess.Popen(
                    [sys.executable, str(PROGRAMS / "runner.py"), str(job_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=_environment(),
                )
        except OSError as error:
            raise _explained(self.cluster_name, spec.name, error) from error
        self._children[spec.name] = child
        self._await_claim(spec.name, job_dir, child)

    def _await_claim(self, name: str, job_dir: Path, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + CLAIM_WAIT_S
        while not (job_dir / "claim").exists():
            code = child.poll()
            if code == runner.EARLIER_ATTEMPT_LIVES:
                raise TransientError(
                    f"{name} on {self.cluster_name}: an earlier attempt still runs; tried again"
                )
            if code is not None and not (job_dir / "claim").exists():
                log = _tail(job_dir / "runner.log", 500)
                raise TransientError(
                    f"{name} on {self.cluster_name}: its runner ended with {code}: {log}"
                )
            if time.monotonic() > deadline:
                raise SubmitUncertain(
                    f"{name} on {self.cluster_name}: started, but nothing was heard of it for "
                    f"{CLAIM_WAIT_S:g} s; it is looked up again"
                )
            time.sleep(0.005)

    def observe(self, names: Collection[str]) -> dict[str, JobStatus]:
        self._reap()
        return {name: self._status(name) for name in names}

    def _status(self, name: str) -> JobStatus:
        job_dir = self._job_dir(name)
        try:
            holder = json.loads((job_dir / "claim").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return JobStatus(name, Phase.ABSENT)
        if "sealed_by" in holder:
            return JobStatus(name, Phase.VANISHED, note="sealed before it had started")
        if (ended := _by_markers(name, job_dir)).phase is Phase.ENDED:
            return ended
        if runner.lives(holder):
            return JobStatus(name, Phase.RUNNING, ended.steps)
        # it may have ended between the two looks
        return _by_markers(name, job_dir)

    def cancel(self, name: str) -> None:
        job_dir = self._job_dir(name)
        if runner.claim(job_dir, {"sealed_by": "cancel"}):
            return
        holder = json.loads((job_dir / "claim").read_text(encoding="utf-8"))
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + CANCEL_GRACE_S
            while runner.lives(holder):
                try:
                    os.killpg(holder["pid"], sign)
                except ProcessLookupError:
                    break
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
                self._reap()

    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        return _tail(self._job_dir(name) / f"{step.value}.log", max_chars)

    def _job_dir(self, name: str) -> Path:
        workset_id, _, attempt = name.rpartition(".")
        return Path(self.work_folder).resolve() / workset_id / "jobs" / attempt

    def _reap(self) -> None:
        # only so that ended children of this process do not stay as zombies
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                self._children.pop(name, None)


def _environment() -> dict[str, str]:
    """This process's environment without Prefect's own, which is no job's business."""
    return {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}


def _by_markers(name: str, job_dir: Path) -> JobStatus:
    """What the markers alone say: ENDED, or cut off if no process of it lives."""
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    steps = [Step(step["step"]) for step in job["steps"]]
    seen = tuple(mark for step in steps if (mark := _markers(job_dir, step)) is not None)
    codes = [mark.exit_code for mark in seen]
    if any(code not in (0, None) for code in codes) or codes == [0] * len(steps):
        return JobStatus(name, Phase.ENDED, seen)
    return JobStatus(name, Phase.VANISHED, seen, "no process of it is left, and no end marker")


def _markers(job_dir: Path, step: Step) -> StepMarkers | None:
    start = _json(job_dir / f"{step.value}.start")
    if start is None:
        return None
    end = _json(job_dir / f"{step.value}.exit")
    return StepMarkers(
        step=step,
        started_at=datetime.fromisoformat(start["at"]),
        ended_at=datetime.fromisoformat(end["at"]) if end else None,
        exit_code=end["code"] if end else None,
    )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return value


def _tail(path: Path, max_chars: int) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 4 * max_chars))
            return file.read().decode("utf-8", "replace")[-max_chars:].strip()
    except OSError:
        return ""


def _explained(cluster: str, name: str, error: OSError) -> WorksetError:
    what = f"{name} cannot be started on {cluster}: {error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN):
        return ResourceError(f"{what}; make room there")
    if isinstance(error, PermissionError | NotADirectoryError | FileNotFoundError):
        return ConfigurationError(f"{what}; check the cluster's work_folder and its owner")
    return TransientError(what)
