"""A Slurm cluster: one job an attempt, its steps one after the other, its markers the evidence."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Collection
from pathlib import Path
from shlex import join, quote
from typing import Annotated, Any, Final

from pydantic import Field, PrivateAttr, field_validator

from blocks import on_cluster
from blocks.clusters import Cluster, SubmitUncertain, WorkPaths
from blocks.slurm.script import (
    SUBMITTING,
    accounting_shell,
    job_script,
    markers_shell,
    submit_shell,
)
from blocks.slurm.ssh import SshTransport
from blocks.slurm.ssm import SsmTransport
from blocks.slurm.states import (
    SINFO,
    SQUEUE,
    Listed,
    Markers,
    of_claimant,
    parse_markers,
    parse_nodes,
    parse_sacct,
    parse_squeue,
    status,
)
from blocks.slurm.transport import LocalTransport, MayHaveReached, Result
from worksets.errors import (
    ClusterUnreachable,
    ConfigurationError,
    ResourceError,
    WorksetError,
)
from worksets.events import Exhausted
from worksets.jobs import JobSpec, JobStatus, Phase
from worksets.record import Step

PROGRAMS: Final = ("stage.py", "export.py", "s3.py")
FORGOTTEN_S: Final = 60.0
"""Seconds for which Slurm must not know a job that had begun before that is believed."""
UNREACHED: Final = (
    "Unable to contact slurm controller",
    "Connection refused",
    "temporarily unable",
    "MaxSubmitJob",
    "submit limit",
    "Required partition not available",
    "Requested partition configuration not available now",
)
"""Certainly not accepted, and accepted perhaps in a while."""
OURS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.a[0-9]+")
"""Names of jobs that are worksets' attempts."""
UNCERTAIN: Final = ("Socket timed out", "Zero Bytes were transmitted", "Transport endpoint")


class SlurmCluster(Cluster):
    """Runs worksets as jobs of a Slurm cluster.

    Layout below `work_folder` (on a file system that all nodes share): `WORKSET/inputs`,
    `WORKSET/results`, and for every attempt `WORKSET/jobs/aN` with `job.sh`, the `claim`, and for
    each step `.start`, `.exit` and `.log`.
    """

    _block_type_name = "Slurm Cluster"
    _block_type_slug = "slurm-cluster"

    transport: Annotated[
        LocalTransport | SshTransport | SsmTransport, Field(discriminator="kind")
    ] = Field(default_factory=lambda: LocalTransport(), description="The way to Slurm's commands")
    work_folder: str = Field(description="Absolute path, shared by all nodes; made if missing")
    partition: str = Field("", description="Partition; empty: Slurm's default")
    account: str = Field("", description="Account that is charged; empty: the user's default")
    qos: str = Field("", description="Quality of service; empty: the default")
    time_limit_minutes: int = Field(1440, ge=1, description="Time limit of a job, minutes")
    retry_factor: float = Field(
        1.5, ge=1, description="What ran out of memory or time gets so many times more next time"
    )
    max_memory_gb: float | None = Field(
        None, gt=0, description="Most memory a retry asks for, GB; None: 4 × memory_gb_per_workset"
    )
    max_time_limit_minutes: int | None = Field(
        None, ge=1, description="Longest time limit a retry asks for; None: 4 × time_limit_minutes"
    )
    python: str = Field("python3", description="Python 3.9+ on the nodes, for stage and export")
    availability_zone: str = Field("", description="Availability zone in which it is")

    _prepared: bool = PrivateAttr(default=False)
    _missing_since: dict[str, float] = PrivateAttr(default_factory=dict)

    @field_validator("transport", mode="before")
    @classmethod
    def _here_unless_said(cls, value: Any) -> Any:
        return {"kind": "local", **value} if isinstance(value, dict) else value

    # --- Where things are ---

    def _job_dir(self, name: str) -> str:
        workset_id, _, attempt = name.rpartition(".")
        return f"{self.work_folder}/{workset_id}/jobs/{attempt}"

    def paths(self, workset_id: str, attempt: int) -> WorkPaths:
        work = f"{self.work_folder}/{workset_id}"
        return WorkPaths(
            work_dir=work,
            inputs=f"{work}/inputs",
            results=f"{work}/results",
            manifest=f"{self._job_dir(f'{workset_id}.a{attempt}')}/manifest.json",
        )

    def programs(self) -> dict[str, str]:
        digest = hashlib.sha256(b"".join(_program(name) for name in PROGRAMS)).hexdigest()[:12]
        return {"python": self.python, "programs": f"{self.work_folder}/.programs/{digest}"}

    # --- Submitting ---

    def submit(self, spec: JobSpec) -> None:
        self._prepare()
        job, paths = self._job_dir(spec.name), self.paths(spec.workset_id, spec.attempt)
        files = {
            paths.manifest: spec.manifest.model_dump_json(),
            f"{job}/steps": " ".join(step.step.value for step in spec.steps),
            f"{job}/job.sh": job_script(spec, job.rpartition("/")[0], paths.work_dir),
        }
        shell = submit_shell(
            [job, paths.inputs, paths.results], files, job, self._sbatch(spec, job)
        )
        what = f"{spec.name} on {self.cluster_name}"
        try:
            done = self.transport.run(shell)
        except MayHaveReached as error:
            raise SubmitUncertain(f"{what}: {error}; it is looked up again") from error
        if done.returncode != 0:
            raise _why_not(what, done)

    def _sbatch(self, spec: JobSpec, job: str) -> list[str]:
        chosen = {
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "time": str(self._minutes(spec.out_of_time)),
            "cpus-per-task": str(self.vcpus_per_workset),
            "mem": f"{round(self._memory_gb(spec.out_of_memory) * 1000)}M",
            "job-name": spec.name,
            "output": f"{job}/slurm.log",
        }
        options = [f"--{key}={value}" for key, value in chosen.items() if value]
        # Slurm must not start a job again by itself: attempts are counted here
        fixed = ["--parsable", "--nodes=1", "--ntasks=1", "--no-requeue", "--open-mode=append"]
        return ["sbatch", *fixed, *options, f"{job}/job.sh"]

    def _memory_gb(self, times: int) -> float:
        most = self.max_memory_gb or 4 * self.memory_gb_per_workset
        raised = self.memory_gb_per_workset * self.retry_factor**times
        return max(self.memory_gb_per_workset, min(raised, most))

    def _minutes(self, times: int) -> int:
        most = self.max_time_limit_minutes or 4 * self.time_limit_minutes
        raised = round(self.time_limit_minutes * self.retry_factor**times)
        return max(self.time_limit_minutes, min(raised, most))

    def given(self, exhausted: Exhausted, times: int) -> str:
        if exhausted == "memory":
            return f"{self._memory_gb(times):g} GB"
        return f"{self._minutes(times)} minutes" if exhausted else ""

    def _prepare(self) -> None:
        """Make the work folder and put the programs there that jobs start, once for each version.

        From then on a work folder that is missing is one that cannot be read, not an empty one.
        """
        if self._prepared:
            return
        folder = self.programs()["programs"]
        lines = ["set -eu", f"[ -d {quote(folder)} ] && exit 0", f"mkdir -p {quote(folder)}.$$"]
        for name in PROGRAMS:
            text = base64.b64encode(_program(name)).decode()
            lines.append(f"echo {text} | base64 -d > {quote(folder)}.$$/{name}")
        # of two processes that send them at once the second finds them there
        lines.append(f"mv -T {quote(folder)}.$$ {quote(folder)} || [ -d {quote(folder)} ]")
        what = f"sending the programs to {self.cluster_name}"
        try:
            done = self.transport.run("\n".join(lines))
        except MayHaveReached as error:
            raise ClusterUnreachable(f"{what}: {error}") from error
        if done.returncode != 0:
            raise _why_not(what, done)
        self._prepared = True

    # --- Looking ---

    def observe(self, names: Collection[str]) -> dict[str, JobStatus]:
        self._prepare()
        listed = parse_squeue(self._ask("squeue", join((*SQUEUE, "--me"))))
        seen: dict[str, JobStatus] = {}
        for name in names:
            if name in listed and listed[name].active:
                phase = Phase.QUEUED if listed[name].waits else Phase.RUNNING
                seen[name] = JobStatus(name, phase)
                self._missing_since.pop(name, None)
        rest = {name: self._job_dir(name) for name in names if name not in seen}
        if not rest:
            return seen
        ended = frozenset(name for name in rest if name in listed)
        markers = parse_markers(self._ask("markers", markers_shell(rest, ended)))
        found = {name: markers.get(name, Markers(readable=False)) for name in rest}
        forgotten: set[str] = set()
        for name in rest:
            told = of_claimant(listed.get(name), found[name])
            seen[name] = status(name, told, found[name])
            # of a sealed one it is certain: it never ran, and no controller can bring that back
            if told is None and seen[name].phase is Phase.VANISHED and not found[name].sealed:
                forgotten.add(name)
        if forgotten:
            accounted = parse_sacct(self._ask("sacct", accounting_shell(forgotten)))
            said = {name: of_claimant(accounted.get(name), found[name]) for name in forgotten}
            over = {name: rest[name] for name in forgotten if said[name] is not None}
            if over:
                # they may have ended since their markers were read: those come after the word
                shell = markers_shell(over, frozenset(over))
                found |= parse_markers(self._ask("markers", shell))
            for name in forgotten:
                seen[name] = self._believed(seen[name], said[name], found[name])
        for name in self._missing_since.keys() & rest.keys() - forgotten:
            del self._missing_since[name]
        return seen

    def _believed(self, seen: JobStatus, said: Listed | None, found: Markers) -> JobStatus:
        """What became of a job that had claimed its attempt, and that Slurm does not list.

        Slurm's accounting knows, or nobody does: then it is gone only when Slurm has not known it
        for a while, for a controller that was just started again may bring it back.
        """
        if said is not None:
            return status(seen.name, said, found)
        since = self._missing_since.setdefault(seen.name, time.monotonic())
        if time.monotonic() - since < FORGOTTEN_S:
            return JobStatus(seen.name, Phase.RUNNING, seen.steps, "Slurm does not list it now")
        return seen

    def capacity(self) -> int | None:
        """By `sinfo`: what the nodes that take jobs could hold, less what others run there."""
        sinfo = join((*SINFO, *(["-p", self.partition] if self.partition else [])))
        ours = join(("squeue", "-h", "--me", "-t", "R,CG", "-o", "%j"))
        said = self._ask("sinfo", f"{sinfo} && echo @ && {ours}")
        nodes, _, jobs = said.partition("@\n")
        running = sum(bool(OURS.fullmatch(name)) for name in jobs.splitlines())
        found = parse_nodes(nodes, self.vcpus_per_workset, self.memory_gb_per_workset)
        return min(found.room, found.free + running)

    def cancel(self, name: str) -> None:
        claim = quote(f"{self._job_dir(name)}/claim")
        parent = quote(self._job_dir(name))
        self._ask(
            f"cancelling {name}",
            f"mkdir -p {parent}; mkdir {claim} 2>/dev/null && echo sealed > {parent}/sealed\n"
            f"scancel --full --me --name={quote(name)}",
        )

    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        job = self._job_dir(name)
        shell = (
            f"cd {quote(job)} 2>/dev/null || exit 0\n"
            f"tail -c {4 * max_chars} {step.value}.log 2>/dev/null || "
            f"tail -c {4 * max_chars} slurm.log 2>/dev/null || exit 0"
        )
        return self._ask(f"reading the log of {name}", shell)[-max_chars:].strip()

    def close(self) -> None:
        self.transport.close()

    def _ask(self, what: str, shell: str) -> str:
        """What a shell there prints; nothing is changed by asking twice."""
        try:
            done = self.transport.run(shell)
        except MayHaveReached as error:
            raise ClusterUnreachable(f"{self.cluster_name}: {what}: {error}") from error
        if done.returncode != 0:
            raise ClusterUnreachable(
                f"{self.cluster_name}: {what}: exit code {done.returncode}: "
                f"{done.stderr.strip()[-500:]}"
            )
        return done.stdout


def _program(name: str) -> bytes:
    return (Path(next(iter(on_cluster.__path__))) / name).read_bytes()


def _why_not(what: str, done: Result) -> WorksetError:
    """What a submission that was refused means."""
    said = done.stderr.strip()[-500:]
    if SUBMITTING not in done.stdout:
        if "No space left" in said or "quota" in said.lower():
            return ResourceError(f"{what}: {said}; make room in the cluster's work_folder")
        return ConfigurationError(f"{what}: {said}; check the cluster's work_folder and its owner")
    if any(text in said for text in UNREACHED):
        return ClusterUnreachable(f"{what}: {said}")
    if any(text in said for text in UNCERTAIN) or not said:
        return SubmitUncertain(f"{what}: {said or 'no answer'}; it is looked up again")
    if "error: " in said or "sbatch: " in said:
        return ConfigurationError(f"{what}: {said}; correct the cluster's settings")
    return SubmitUncertain(f"{what}: {said}; it is looked up again")
