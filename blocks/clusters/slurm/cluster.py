"""A Slurm cluster: one job an attempt, its steps one after the other, its markers the evidence."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from shlex import join, quote
from typing import Annotated, Any, Final

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from blocks.clusters.base import Cluster, SubmitUncertain
from blocks.clusters.cleaning import read_archived, read_freed, read_lineages
from blocks.clusters.slurm.accounting import parse_used, used_shell
from blocks.clusters.slurm.nodes import (
    SINFO,
    UNBOUND,
    Partition,
    Size,
    ceilings,
    chosen,
    no_nodes,
    parse_nodes,
    room,
    sizes_of,
    together,
)
from blocks.clusters.slurm.programs import digest, send_shell
from blocks.clusters.slurm.refusals import refusal
from blocks.clusters.slurm.sbatch import BARE, SbatchOption, sbatch
from blocks.clusters.slurm.script import (
    SUBMITTING,
    accounting_shell,
    archive_shell,
    cancel_left_shell,
    cancel_shell,
    clean_shell,
    framed,
    job_script,
    markers_shell,
    on_another,
    submit_shell,
    unframed,
)
from blocks.clusters.slurm.ssh import SshTransport
from blocks.clusters.slurm.ssm import SsmTransport
from blocks.clusters.slurm.states import (
    SQUEUE,
    of_claimant,
    parse_left,
    parse_markers,
    parse_sacct,
    parse_squeue,
    word,
)
from blocks.clusters.slurm.transport import TIMEOUT_S, LocalTransport, MayHaveReached, Result
from worksets.belief import NOTHING, Belief, Markers, Verdict, Word, believe, heeding
from worksets.capacity import ClusterView, Room
from worksets.config import MAX_VCPUS
from worksets.errors import (
    ClusterUnreachable,
    ConfigurationError,
    ResourceError,
    WorksetError,
)
from worksets.events import Exhausted
from worksets.jobs import JobSpec, JobStatus, Phase, is_of, job_name
from worksets.keeping import Archived, Freed, Lineage, Removable
from worksets.record import Estimates, Step
from worksets.requests import Ceiling, Growth, JobRequest, first_of
from worksets.used import Used

FREE_S: Final = 600.0
"""Seconds for which deleting a few lineages may take."""


class SlurmCluster(Cluster):
    """Runs worksets as jobs of a Slurm cluster.

    Layout below `work_folder` (on a file system that all nodes share): `HOME/LN/inputs`,
    `HOME/LN/results` for the lineage N, and for every attempt `HOME/jobs/aN` with `job.sh`, the
    `claim`, and for each step `.start`, `.exit` and `.log`.
    """

    _block_type_name = "Slurm Cluster"
    _block_type_slug = "slurm-cluster"

    transport: Annotated[
        LocalTransport | SshTransport | SsmTransport, Field(discriminator="kind")
    ] = Field(default_factory=lambda: LocalTransport(), description="The way to Slurm's commands")
    work_folder: str = Field(description="Absolute path, shared by all nodes; made if missing")
    partition: str = Field("", description="Partition; empty: Slurm's default")
    partitions: list[Partition] = Field(
        default_factory=list,
        description="Several partitions, instead of the one: a job goes to the cheapest that gives "
        "enough",
    )
    clusters: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]*$",
        max_length=100,
        description="Slurm's name of the cluster (`-M`), where its commands speak of another one "
        "by default; both have the same slurmdbd",
    )
    account: str = Field("", description="Account that is charged; empty: the user's default")
    qos: str = Field("", description="Quality of service; empty: the default")
    time_limit_minutes: int = Field(1440, ge=1, description="Time limit of a job, minutes")
    retry_factor: float = Field(
        1.5, ge=1, description="What ran out of memory or time gets so many times more next time"
    )
    max_vcpus: int | None = Field(
        None, ge=1, le=MAX_VCPUS, description="Most vCPUs of a job; without it: what its nodes have"
    )
    max_memory_gb: float | None = Field(
        None,
        gt=0,
        description="Most memory of a job, GB; without it: what its nodes have, and of a retry at "
        "most 4 × what the first attempt asked for",
    )
    max_time_limit_minutes: int | None = Field(
        None,
        ge=1,
        description="Longest time limit of a job; without it: its partition's, and of a retry at "
        "most 4 × the first attempt's",
    )
    python: str = Field("python3", description="Python 3.9+ on the nodes, for stage and export")
    files_late_seconds: float = Field(
        60.0,
        ge=0,
        le=3600,
        description="For so long the shared file system may not show a node's file, and Slurm not "
        "know a job, s: an end without its marker is believed after it",
    )
    sbatch_options: dict[SbatchOption, Annotated[str, Field(pattern=r"^[^\r\n\x00]*$")]] = Field(
        default_factory=dict,
        description='Further options of sbatch, without their dashes: {constraint: "skylake&ib"}; '
        'of one without a value, "": {exclusive: ""}',
    )
    setup: list[Annotated[str, Field(min_length=1, max_length=4000)]] = Field(
        default_factory=list,
        description="Shell (sh) that each job runs before its first step, such as `module load`; "
        "what it sets is there for all steps. `module` itself may need `. /etc/profile.d/lmod.sh`",
    )
    tag_jobs: bool = Field(
        True,
        description="Jobs that a step hands in bear its job's name as their wckey, by which they "
        "are found and cancelled; False where wckeys are the site's own",
    )
    availability_zone: str = Field(
        "", description="AWS's, in which it is, such as us-west-2d: says its region where none is"
    )

    @field_validator("sbatch_options")
    @classmethod
    def _with_values(cls, value: dict[SbatchOption, str]) -> dict[SbatchOption, str]:
        if bare := sorted(key for key, text in value.items() if not text and key not in BARE):
            raise ValueError(f"{', '.join(bare)} wants a value; leave it out, or write one")
        return value

    @field_validator("partitions")
    @classmethod
    def _instead_of_the_one(cls, value: list[Partition], info: ValidationInfo) -> list[Partition]:
        names = [one.name for one in value]
        if value and info.data.get("partition"):
            raise ValueError("there are partition and partitions; write one of them")
        if len(set(names)) < len(names):
            raise ValueError("a partition is there twice; write each once")
        return value

    _prepared: bool = PrivateAttr(default=False)
    _never: str = PrivateAttr(default="")
    _bare: list[str] = PrivateAttr(default_factory=list)
    _together: Room = PrivateAttr(default_factory=Room)
    _heard: dict[str, tuple[Size, ...]] | None = PrivateAttr(default=None)
    _beliefs: dict[str, Belief] = PrivateAttr(default_factory=dict)

    @field_validator("transport", mode="before")
    @classmethod
    def _here_unless_said(cls, value: Any) -> Any:
        return {"kind": "local", **value} if isinstance(value, dict) else value

    # --- Where things are ---

    def root(self) -> str:
        return self.work_folder.rstrip("/")

    def programs(self) -> dict[str, str]:
        return {"python": self.python, "programs": f"{self.work_folder}/.programs/{digest()}"}

    # --- Submitting ---

    def submit(self, spec: JobSpec) -> None:
        self._prepare()
        paths = self.paths(spec.home, spec.lineage, spec.attempt)
        job, asked = paths.job_dir, spec.request or self.request(Estimates())
        files = {
            paths.manifest: spec.manifest.model_dump_json(),
            f"{job}/steps": " ".join(step.step.value for step in spec.steps),
            f"{job}/job.sh": job_script(
                spec,
                job.rpartition("/")[0],
                paths.work_dir,
                self.umask,
                self.tag_jobs,
                self.setup,
            ),
        }
        shell = submit_shell(
            [job, paths.inputs, paths.results],
            files,
            job,
            sbatch(spec.name, job, asked, self.account, self.qos, self.sbatch_options),
            self.umask,
            self.environment,
            [job_name(spec.home, attempt) for attempt in range(1, spec.attempt)],
        )
        what = f"{spec.name} on {self.cluster_name}"
        try:
            done = self._run(shell)
        except MayHaveReached as error:
            raise SubmitUncertain(f"{what}: {error}; it is looked up again") from error
        if done.returncode != 0:
            raise _why_not(what, done)

    def _otherwise(self) -> JobRequest:
        unsaid = {"minutes": self.time_limit_minutes, "partition": self.partition}
        return super()._otherwise().model_copy(update=unsaid)

    def _growth(self) -> Growth:
        return Growth(
            factor=self.retry_factor,
            max_memory_gb=self.max_memory_gb,
            max_minutes=self.max_time_limit_minutes,
        )

    def given(self, exhausted: Exhausted, asked: JobRequest) -> str:
        if exhausted == "memory":
            return f"{asked.memory_gb:g} GB"
        return f"{asked.minutes} minutes" if exhausted == "time" else ""

    def _prepare(self) -> None:
        """Make the work folder and put the programs there that jobs start, once for each version.

        From then on a work folder that is missing is one that cannot be read, not an empty one.
        """
        if self._prepared:
            return
        folder = self.programs()["programs"]
        what = f"sending the programs to {self.cluster_name}"
        try:
            done = self._run(send_shell(folder))
        except MayHaveReached as error:
            raise ClusterUnreachable(f"{what}: {error}") from error
        if done.returncode != 0:
            raise _why_not(what, done)
        self._prepared = True

    # --- Looking ---

    def observe(self, names: Collection[str]) -> dict[str, JobStatus]:
        self._prepare()
        began = time.monotonic()
        said = self._ask("squeue", join((*SQUEUE, "--me")))
        listed, left = parse_squeue(said), parse_left(said)
        words = {name: word(listed.get(name)) for name in names}
        rest = [name for name in names if not _active(words[name])]
        found = self._markers(rest) if rest else {}
        for name in rest:
            words[name] = word(of_claimant(listed.get(name), found[name]))
        unknown = [name for name in rest if words[name] is None and _is_open(found[name])]
        if unknown:
            accounted = parse_sacct(self._ask("sacct", accounting_shell(unknown)))
            for name in unknown:
                words[name] = word(of_claimant(accounted.get(name), found[name]))
            if over := [name for name in unknown if words[name] is not None]:
                # they may have ended since their markers were read: those come after the word
                found |= self._markers(over)
        seen = {
            name: self._believed(name, words[name], found.get(name), began, left[name])
            for name in names
        }
        if never_began := [name for name, verdict in seen.items() if verdict.seal]:
            found |= self._markers(never_began, seal=True)
            for name in never_began:
                seen[name] = self._believed(name, words[name], found[name], began)
        if to_clean := [name for name, verdict in seen.items() if verdict.cleans]:
            self._ask("cancelling what jobs have left in the queue", cancel_left_shell(to_clean))
        return {name: verdict.status for name, verdict in seen.items()}

    def _believed(
        self, name: str, said: Word | None, found: Markers | None, began: float, left: int = 0
    ) -> Verdict:
        before = self._beliefs.get(name, NOTHING)
        late_s = self.files_late_seconds
        now = time.monotonic()
        verdict = believe(before, name, said, found or Markers(), now, late_s, began)
        verdict = heeding(verdict, left)
        if verdict.status.over or verdict.status.phase is Phase.ABSENT:
            self._beliefs.pop(name, None)
        else:
            self._beliefs[name] = verdict.after
        return verdict

    def _markers(self, names: Collection[str], seal: bool = False) -> dict[str, Markers]:
        folders = {name: self.job_dir(name) for name in names}
        return parse_markers(self._ask("markers", markers_shell(folders, seal)), folders)

    @property
    def heard(self) -> bool:
        """See `Cluster`: the sizes of its nodes decide which job fits, and where."""
        return self._heard is not None

    def capacity(self, needs: Sequence[Estimates] = ()) -> int | None:
        """By `sinfo`: what the nodes that take jobs could hold, less what others run there."""
        named = self._named()
        # a partition that is named is shown though it is hidden; both options are too much
        sinfo = join((*SINFO, *(["-p", ",".join(named)] if named else ["-a"])))
        ours = join(("squeue", "-h", "-a", "--me", "-t", "R,CG", "-o", "%C|%j"))
        said = self._ask("sinfo", f"{sinfo} && echo @ && {ours}")
        nodes_, _, jobs = said.partition("@\n")
        ours_now = [
            int(cpus) if cpus.isdecimal() else 0
            for cpus, _, name in (line.partition("|") for line in jobs.splitlines())
            if is_of(name, self._installation)
        ]
        running = len(ours_now)
        nodes = chosen(parse_nodes(nodes_), named)
        self._never = "; ".join(self._without_nodes(named if not nodes else []))
        self._bare = [name for name in named if all(node.partition != name for node in nodes)]
        heard = {one.name: sizes_of(nodes, one.name) for one in self.partitions}
        self._heard = (heard or {self.partition: sizes_of(nodes)}) if nodes else None
        self._together = together(nodes, sum(ours_now)) if nodes else Room()
        if any(one.gpus is not None for one in self.partitions):
            # Slurm need not know them
            self._together = self._together._replace(gpus=UNBOUND)
        asked = {first_of(one, self._otherwise()) for one in needs or (Estimates(),)}
        found = [room(nodes, one.vcpus, one.memory_gb) for one in asked]
        return max(min(one.room, one.free + running) for one in found)

    def remarks(self) -> list[str]:
        """See `Cluster`: partitions that there are not, while others do the work."""
        return [] if self._never else self._without_nodes(self._bare)

    def _named(self) -> list[str]:
        # Slurm takes several names in `partition`, too, and chooses among them itself
        one = filter(None, self.partition.split(","))
        return [partition.name for partition in self.partitions] or list(one)

    def _without_nodes(self, partitions: Iterable[str]) -> list[str]:
        """Why these list no nodes: sinfo says nothing of a partition that there is not."""
        why = []
        for name in partitions:
            shell = f"scontrol -a show partition {quote(name)} 2>&1 || :"
            why.append(no_nodes(name, self._ask("scontrol", shell)))
        return list(filter(None, why))

    def _ceilings(self) -> tuple[Ceiling, ...]:
        ours = {
            "max_vcpus": _least(self.max_vcpus, self.total_vcpus),
            "max_memory_gb": _least(self.max_memory_gb, self.total_memory_gb),
            "max_minutes": self.max_time_limit_minutes,
        }
        said = [
            one.model_copy(
                update={key: _least(getattr(one, key), bound) for key, bound in ours.items()}
            )
            for one in self.partitions or [Partition.model_construct(name=self.partition)]
        ]
        heard = self._heard
        if heard is not None and self.qos:
            # a QOS may allow more time than its partition does, and says nothing of it here
            heard = {
                name: tuple(size._replace(minutes=UNBOUND) for size in sizes)
                for name, sizes in heard.items()
            }
        found = ceilings(said, heard, self.price_per_vcpu_hour)
        most = UNBOUND if self.total_gpus is None else self.total_gpus
        return tuple(one.model_copy(update={"gpus": min(one.gpus, most)}) for one in found)

    def used(self, since: datetime, until: datetime) -> dict[str, Used] | None:
        """See `Cluster`: by sacct; None where there is no slurmdbd."""
        what = f"{self.cluster_name}: asking sacct what was used"
        try:
            done = self._run(used_shell(since, until))
        except MayHaveReached as error:
            raise ClusterUnreachable(f"{what}: {error}") from error
        if done.returncode == 127 or "storage is disabled" in done.stderr:
            return None
        if done.returncode != 0:
            raise ClusterUnreachable(f"{what}: {done.stderr.strip()[-500:]}")
        return parse_used(done.stdout, self._installation, since, until)

    def lineages(self) -> list[Lineage]:
        self._prepare()
        return read_lineages(self._ask("listing its work folder", self._cleaner("list")))

    def free(self, parts: Sequence[Removable], remove: bool) -> list[Freed]:
        self._prepare()
        paths = json.dumps([[part.home, part.lineage, part.part] for part in parts])
        shell = f"printf %s {quote(paths)} | {self._cleaner('remove' if remove else 'measure')}"
        return read_freed(self._ask("freeing room", shell, FREE_S))

    def archive(self, job: str, uid: str, record: str) -> Archived:
        self._prepare()
        argv = [self.python, f"{self.programs()['programs']}/archive.py", self.job_dir(job), uid]
        shell = archive_shell(self.umask, self.environment, self.setup, record, argv)
        return read_archived(self._ask(f"archiving the record of {job}", shell, FREE_S))

    def _cleaner(self, verb: str) -> str:
        program = f"{self.programs()['programs']}/clean.py"
        return join([self.python, program, verb, self.root()])

    def view(self) -> ClusterView:
        """See `Cluster`; also why no workset can ever fit, as far as its nodes were heard of."""
        zone = re.match(r"[a-z]+(-[a-z]+)+-[0-9]+", self.availability_zone)
        region = self.region or (zone[0] if zone else "")
        changes: dict[str, Any] = {
            "never": self._never,
            "region": region,
            "ceilings": self._ceilings(),
            "minutes_per_workset": self.time_limit_minutes,
            "room": self._total().least(self._together),
        }
        return super().view().model_copy(update=changes)

    def cancel(self, name: str, *, for_good: bool = True) -> None:
        self._ask(
            f"cancelling {name}",
            cancel_shell(self.job_dir(name), name, self.grace_seconds, for_good),
        )

    def log_tail(self, name: str, step: Step, max_chars: int = 2000) -> str:
        job = self.job_dir(name)
        shell = (
            f"cd {quote(job)} 2>/dev/null || exit 0\n"
            f"tail -c {4 * max_chars} {step.value}.log 2>/dev/null || "
            f"tail -c {4 * max_chars} slurm.log 2>/dev/null || exit 0"
        )
        return self._ask(f"reading the log of {name}", shell)[-max_chars:].strip()

    def close(self) -> None:
        self.transport.close()

    def _run(self, shell: str, timeout_s: float = TIMEOUT_S) -> Result:
        """Run a shell there, in an environment that no profile and no job around us has a say in:
        only what jobs may take over, and what the transport's settings name. What a profile or a
        banner prints is no part of the answer.

        Raises:
            ClusterUnreachable, MayHaveReached: as `Transport.run`.
        """
        named = {"SLURM_CONF", "PWD", *self.transport.environment}
        keep = "|".join(sorted(self.kept_variables | named))
        token = secrets.token_hex(8)
        begin = clean_shell(keep) + (on_another(self.clusters) if self.clusters else "")
        done = self.transport.run(framed(begin + shell, token), timeout_s)
        answer = unframed(done.stdout, done.stderr, token)
        if answer is None:
            said = (done.stderr.strip() or done.stdout.strip())[-300:]
            raise MayHaveReached(
                f"no whole answer came from the shell there (exit code {done.returncode}); its "
                f"last words: {said or 'none'}"
            )
        return Result(*answer)

    def _ask(self, what: str, shell: str, timeout_s: float = TIMEOUT_S) -> str:
        """What a shell there prints; nothing is changed by asking twice."""
        try:
            done = self._run(shell, timeout_s)
        except MayHaveReached as error:
            raise ClusterUnreachable(f"{self.cluster_name}: {what}: {error}") from error
        if done.returncode != 0:
            raise ClusterUnreachable(
                f"{self.cluster_name}: {what}: exit code {done.returncode}: "
                f"{done.stderr.strip()[-500:]}"
            )
        return done.stdout


def _active(said: Word | None) -> bool:
    return said is not None and said.phase is not Phase.ENDED and not said.ends


def _is_open(found: Markers) -> bool:
    """Whether a job has left something, and not its end."""
    begun = found.claimed or found.submitted or bool(found.unreadable)
    return begun and not found.ended and not found.sealed


def _why_not(what: str, done: Result) -> WorksetError:
    """What a submission that was refused means."""
    said = done.stderr.strip()[-500:]
    if SUBMITTING not in done.stdout:
        if "No space left" in said or "quota" in said.lower():
            return ResourceError(f"{what}: {said}; make room in the cluster's work_folder")
        return ConfigurationError(f"{what}: {said}; check the cluster's work_folder and its owner")
    return refusal(what, said)


def _least(one: float | None, other: float | None) -> float | None:
    """The smaller of two bounds; None: no bound."""
    return min((bound for bound in (one, other) if bound is not None), default=None)
