"""A cluster that is this machine: jobs are detached processes that outlive whoever started them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import Field, PrivateAttr

from blocks.clusters.base import Cluster, SubmitUncertain
from blocks.clusters.cleaning import read_archived
from blocks.clusters.on_cluster import clean, runner
from worksets.belief import NOTHING, Markers, Word, believe
from worksets.capacity import ClusterView
from worksets.errors import ConfigurationError, ResourceError, TransientError, WorksetError
from worksets.jobs import JobSpec, JobStatus, Phase
from worksets.keeping import Archived, Freed, Lineage, Removable
from worksets.record import STEPS, Exported, Step, Took
from worksets.requests import Ceiling

PROGRAMS: Final = Path(runner.__file__).parent
GONE: Final = Word(Phase.ENDED, "no process of it is left, and no end marker")
CLAIM_WAIT_S: Final = 20.0
CANCEL_WAIT_S: Final = 5.0
"""Seconds for which a job that was told to stop is looked at; whether it has is seen later."""
ARCHIVE_S: Final = 300.0
"""Seconds for which putting one record beside its results may take."""
KILLED_S: Final = 1.0
"""Seconds beyond the grace after which a job that still lives is killed from outside."""


class LocalCluster(Cluster):
    """Runs worksets on this machine, each job a process group of its own.

    Layout below `work_folder`: `HOME/LN/inputs`, `HOME/LN/results` for the lineage N, and for
    every attempt `HOME/jobs/aN` with `job.json`, `claim` and, for each step, `.start`, `.exit` and
    `.log`.
    """

    _block_type_name = "Local Cluster"
    _block_type_slug = "local-cluster"

    work_folder: str = Field(description="Folder for the worksets' files; made if missing")

    _children: dict[str, subprocess.Popen[bytes]] = PrivateAttr(default_factory=dict)

    def root(self) -> str:
        return str(Path(self.work_folder).expanduser().resolve())

    def view(self) -> ClusterView:
        """See `Cluster`: where a total is said, one job may ask for all of it."""
        view, none = super().view(), float("inf")
        if not view.room.bounded:
            return view
        room = view.room
        most = Ceiling(
            vcpus=self.vcpus_per_workset if room.vcpus == none else room.vcpus,
            memory_gb=self.memory_gb_per_workset if room.memory_gb == none else room.memory_gb,
            gpus=0 if room.gpus == none else room.gpus,
            price_per_vcpu_hour=self.price_per_vcpu_hour,
        )
        return view.model_copy(update={"ceilings": (most,)})

    def programs(self) -> dict[str, str]:
        return {"python": sys.executable, "programs": str(PROGRAMS)}

    def submit(self, spec: JobSpec) -> None:
        job_dir = self._job_dir(spec.name)
        paths = self.paths(spec.home, spec.lineage, spec.attempt)
        mask = int(self.umask, 8)
        try:
            if (job_dir / "claim").exists():
                return
            for folder in (job_dir, Path(paths.inputs), Path(paths.results)):
                _make(folder, 0o777 & ~mask)
            Path(paths.manifest).write_text(spec.manifest.model_dump_json(), encoding="utf-8")
            job = {
                **spec.model_dump(mode="json", exclude={"manifest"}),
                "work_dir": paths.work_dir,
                "grace_s": self.grace_seconds,
            }
            runner.write(job_dir / "job.json", job)
            with open(job_dir / "runner.log", "ab") as log:
                child = subprocess.Popen(
                    [sys.executable, str(PROGRAMS / "runner.py"), str(job_dir)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env=self._environment(),
                    umask=mask,
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
        found, holder = _markers(job_dir)
        if found.claimed and not found.ended and not found.sealed and holder is not None:
            if runner.lives(holder):
                return self._believed(name, Word(Phase.RUNNING), found)
            # it may have ended between the two looks
            found, _ = _markers(job_dir)
            return self._believed(name, GONE, found)
        return self._believed(name, None, found)

    def _believed(self, name: str, said: Word | None, found: Markers) -> JobStatus:
        # a local file system shows files at once: nothing has to be waited for
        return believe(NOTHING, name, said, found, 0.0, late_s=0.0).status

    def cancel(self, name: str, *, for_good: bool = True) -> None:
        job_dir = self._job_dir(name)
        if runner.claim(job_dir, {"sealed_by": "cancel"}):
            return
        holder, told = runner.holder_of(job_dir), job_dir / "stopped"
        deadline = time.monotonic() + CANCEL_WAIT_S
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            # once, whoever asks: an engine takes a second one for impatience, and leaves its jobs
            if runner.lives(holder) and _made_now(told):
                os.killpg(holder["pid"], signal.SIGTERM)
            while runner.lives(holder) and time.monotonic() < deadline:
                # its runner sees to that itself, unless it is no more
                if time.time() - told.stat().st_mtime > self.grace_seconds + KILLED_S:
                    os.killpg(holder["pid"], signal.SIGKILL)
                time.sleep(0.1)
                self._reap()

    def lineages(self) -> list[Lineage]:
        return [
            Lineage(found["home"], found["number"], frozenset(found["parts"]))
            for found in clean.lineages(self.root())
        ]

    def free(self, parts: Sequence[Removable], remove: bool) -> list[Freed]:
        told = (
            clean.handle(self.root(), part.home, part.lineage, part.part, remove) for part in parts
        )
        return [Freed(one["bytes"], one["files"], one.get("wrong", "")) for one in told]

    def archive(self, job: str, uid: str, record: str) -> Archived:
        argv = [sys.executable, str(PROGRAMS / "archive.py"), self.job_dir(job), uid]
        try:
            done = subprocess.run(
                argv, input=record.encode(), capture_output=True, env=self._environment(),
                umask=int(self.umask, 8), timeout=ARCHIVE_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Archived(wrong=f"its place did not answer for {ARCHIVE_S:g} s")
        if done.returncode != 0:
            return Archived(wrong=done.stderr.decode("utf-8", "replace")[-500:])
        return read_archived(done.stdout.decode())

    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        return _tail(self._job_dir(name) / f"{step.value}.log", max_chars)

    def _job_dir(self, name: str) -> Path:
        return Path(self.job_dir(name))

    def _environment(self) -> dict[str, str]:
        """What a job sees of this process's environment, and what the settings say."""
        kept = {k: v for k, v in os.environ.items() if k in self.kept_variables}
        return kept | self.environment

    def _reap(self) -> None:
        # only so that ended children of this process do not stay as zombies
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                self._children.pop(name, None)


def _made_now(path: Path) -> bool:
    """Make an empty file; False if it is there already."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _make(folder: Path, mode: int) -> None:
    """Make a folder and those above it that are missing, whatever this process's umask is."""
    if folder.is_dir():
        return
    _make(folder.parent, mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        folder.chmod(mode)


def _markers(job_dir: Path) -> tuple[Markers, dict[str, Any] | None]:
    """What lies in a job's folder, and who holds its claim, as far as that can be read."""
    damaged: list[str] = []
    job = _json(job_dir / "job.json", damaged) if (job_dir / "claim").exists() else None
    holder = _json(job_dir / "claim", damaged)
    found: dict[str, Any] = {"starts": {}, "exits": {}, "took": {}}
    steps: tuple[Step, ...] = ()
    with _named(job_dir / "job.json", damaged):
        steps = tuple(Step(step["step"]) for step in job["steps"]) if job else ()
    for step in STEPS:
        if start := _json(path := job_dir / f"{step.value}.start", damaged):
            with _named(path, damaged):
                found["starts"][step] = datetime.fromisoformat(start["at"])
        if end := _json(path := job_dir / f"{step.value}.exit", damaged):
            with _named(path, damaged):
                if "exported" in end:
                    found["exported"] = Exported.model_validate(end["exported"])
                found["exits"][step] = (datetime.fromisoformat(end["at"]), int(end["code"]))
                with contextlib.suppress(ValueError):  # never a reason to doubt its end
                    if "took" in end:
                        found["took"][step] = Took.model_validate(end["took"])
    markers = Markers(
        **found,
        steps=steps,
        claimed=holder is not None or (job_dir / "claim").exists(),
        sealed=holder is not None and "sealed_by" in holder,
        unreadable="; ".join(dict.fromkeys(damaged)),
    )
    return markers, holder


@contextlib.contextmanager
def _named(path: Path, damaged: list[str]) -> Iterator[None]:
    """Note the path of a file that does not hold what it should."""
    try:
        yield
    except (ValueError, KeyError, TypeError):
        damaged.append(f"{path} is damaged")


def _json(path: Path, damaged: list[str]) -> dict[str, Any] | None:
    """The object in a file; None if it is not there, or is damaged, which is noted."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damaged.append(f"{path} cannot be read: {error}")
        return None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return value
    damaged.append(f"{path} is {'damaged' if text else 'empty'}")
    return None


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
