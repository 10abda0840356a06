"""What is behind the way to a Slurm cluster: its jobs and their files, as they really are.

Its behaviour is what was seen of Slurm 22.05.
"""

import re
from dataclasses import dataclass

from blocks.clusters.slurm.transport import Result
from tests.simulation.markers import Folder
from tests.simulation.world import LINGERS_S

ENDS = (
    *((0, ""),) * 60, (1, ""), (65, ""), (70, ""), (75, ""), (137, ""), (None, "NODE_FAIL"),
    (None, "OUT_OF_MEMORY"), (None, "TIMEOUT"), (None, "CANCELLED"), (None, "FAILED"),
)  # fmt: skip
"""How a step ends: its exit code, or what Slurm says of a job that was cut off."""

REASONS = ("PartitionTimeLimit", "JobHeldUser", "JobHeldAdmin", "QOSGrpCpuLimit")
"""Why a job waits until somebody does something about it."""
FULL = "sbatch: error: Batch job submission failed: I/O error writing script/environment to file"
CPUS = 64


@dataclass
class Job:
    """One job that Slurm was given; two may have one name, after an unlucky submission."""

    id: int
    name: str
    cluster_name: str
    checks: object
    """Those of the installation whose job it is."""
    folder: Folder
    seals: tuple
    steps: tuple
    state: str = "PENDING"
    reason: str = "None"
    """Why it waits."""
    held_at: float = 0.0
    """When it was handed in, of a job that waits for a reason that does not pass."""
    was_forgotten: bool = False
    hidden_until: float = 0.0
    forgotten: bool = False
    live: bool = False

    @property
    def home(self):
        return self.name.rpartition(".a")[0]

    @property
    def workset_id(self):
        return self.home.partition(".")[0]

    @property
    def attempt(self):
        return int(self.name.rpartition(".a")[2])

    @property
    def active(self):
        return self.state in ("PENDING", "RUNNING", "COMPLETING")


class Slurm:
    """The truth about one cluster: its jobs, and the files that they leave."""

    def __init__(self, name, world):
        self.name = name
        self.world = world
        self.owners = {}
        self.full_until_s = 0.0
        self.jobs = []
        self.folders = {}

    def folder(self, name):
        return self.folders.setdefault(name, Folder())

    def run(self, shell, checks):
        """What a shell on the cluster makes of one of our texts; `checks`: whose text it is."""
        for name in names_in(shell):
            if self.owners.setdefault(name, checks) is not checks:
                self.world.violated(f"{name}: two installations lay hands on it")
        if shell.startswith("squeue"):
            return Result(0, self._squeue(), "")
        if "@submitting" in shell:
            return self._submit(shell, checks)
        if "scancel" in shell:
            name = re.search(r"--name=([^\s;]+)", shell)[1]
            return self._cancel(name, "> cancelled" in shell)
        if shell.startswith("echo @ "):
            return Result(0, self._markers(shell), "")
        if shell.startswith("sinfo"):
            return Result(0, self._sinfo(), "")
        if "sacct" in shell:
            return Result(0, self._accounting(), "")
        if "tail -c" in shell:
            return Result(0, "the end of its log", "")
        raise AssertionError(f"no model of this: {shell}")

    # --- Jobs ---

    def _submit(self, shell, checks):
        name = re.search(r"--job-name=(\S+)", shell)[1]
        steps = re.search(r"printf %s '?([a-z ]+?)'? > \S+/steps\.new", shell)[1]
        folder = self.folder(name)
        folder.steps = steps
        for kind, said in (
            ("job refused", "sbatch: error: Requested node configuration is not available"),
            ("controller down", "sbatch: error: Unable to contact slurm controller"),
        ):
            if self.world.fault(kind, 0.02):
                return Result(1, "@submitting\n", said)
        if self._full():
            return Result(1, "@submitting\n", FULL)
        seals = tuple(int(n) for n in re.findall(r"mkdir \S+/a(\d+)/claim 2>/dev/null", shell))
        job = Job(len(self.jobs) + 1, name, self.name, checks, folder, seals, tuple(steps.split()))
        self.jobs.append(job)
        job.checks.submitted(job)
        if self.world.fault("job held"):
            self._hold(job)
        else:
            self.world.later(self.world.rng.expovariate(0.6), self._start, job)
        if self.world.fault("controller timed out on a submission", 0.02):
            return Result(1, "@submitting\n", "sbatch: error: Socket timed out on send/recv")
        folder.submitted = True
        return Result(0, f"@submitting\n{job.id}\n", "")

    def _full(self):
        """Whether the disk of its controller is full: it takes no job for some minutes."""
        rng, now_s = self.world.rng, self.world.now_s
        if now_s >= self.full_until_s and self.world.fault("controller's disk is full"):
            self.full_until_s = min(now_s + rng.uniform(1, 300), self.world.horizon_s)
        return now_s < self.full_until_s

    def _hold(self, job):
        """It waits until somebody lets it go, now and then long after all other faults."""
        rng = self.world.rng
        job.reason, job.held_at = rng.choice(REASONS), self.world.now_s
        at_last_s = self.world.horizon_s + LINGERS_S * rng.choice((0.0, 0.0, 0.0, 1.0))
        until_s = min(job.held_at + rng.choice((60, 300, 1800)) * rng.random(), at_last_s)
        self.world.later(max(until_s - job.held_at, 1), self._let_go, job)

    def _let_go(self, job):
        if job.state != "PENDING":
            return
        alone = sum(other.name == job.name for other in self.jobs) == 1
        if alone and not job.folder.claimed:
            job.checks.let_go(job)
        job.reason = "None"
        if self.world.rng.random() < 0.2:
            self.world.faults["job held, then cancelled by somebody"] += 1
            self._end(job, "CANCELLED")
        else:
            self._start(job)

    def _start(self, job):
        if job.state != "PENDING":
            return
        if self.world.fault("job forgotten before its start", 0.03):
            job.forgotten = job.was_forgotten = True
            if self.world.rng.random() < 0.5:
                self.world.later(self.world.rng.uniform(1, 200), self._brought_back, job)
            return
        job.state = "RUNNING"
        for attempt in job.seals:
            self.folder(f"{job.home}.a{attempt}").seal()
        if not job.folder.claim():
            self._end(job, "FAILED")
            return
        job.live = True
        job.checks.started(job)
        self.world.tell(f"{self.name}: {job.name} ({job.id}) begins")
        self.world.later(self.world.rng.uniform(0.001, 0.2), self._next_step, job, 0)

    def _brought_back(self, job):
        job.forgotten = False
        self._start(job)

    def _next_step(self, job, number):
        if not job.live:
            return
        rng, step = self.world.rng, job.steps[number]
        job.folder.job, job.folder.starts[step] = str(job.id), self.world.utc()
        job.checks.step_started(job, step)
        code, cut_off = rng.choice(ENDS)
        self.world.later(rng.expovariate(1 / 5), self._step_ends, job, number, code, cut_off)

    def _step_ends(self, job, number, code, cut_off):
        if not job.live:
            return
        step = job.steps[number]
        self.world.tell(f"{self.name}: {job.name} {step} {cut_off or f'exit {code}'}")
        if code is None:
            self.world.faults[f"job lost: {cut_off}"] += 1
            self._end(job, cut_off)
            return
        job.folder.exits[step] = (self.world.utc(), code)
        job.checks.step_ended(job, step, code)
        if code:
            self.world.faults["step failed"] += 1
            self._end(job, "FAILED")
        elif number + 1 == len(job.steps):
            self._end(job, "COMPLETED")
        else:
            self.world.later(self.world.rng.uniform(0, 0.2), self._next_step, job, number + 1)

    def _end(self, job, state):
        job.live = False
        job.state = "COMPLETING"
        self.world.later(self.world.rng.uniform(0, 3), setattr, job, "state", state)
        # Slurm forgets an ended job after its MinJobAge
        job.hidden_until = self.world.now_s
        self.world.later(self.world.rng.uniform(3, 300), setattr, job, "forgotten", True)

    # --- What is said of them ---

    def _squeue(self):
        now_s = self.world.now_s
        if self.world.fault("controller forgets for a while", 0.01):
            for job in self.jobs:
                # once: two such times, one upon the other, are longer than it may forget
                if not job.hidden_until:
                    job.hidden_until = now_s + self.world.rng.uniform(1, 50)
        return "".join(
            f"{job.id}|{job.name}|{job.state}|{job.reason}|\n"
            for job in self.jobs
            if not job.forgotten and now_s >= job.hidden_until
        )

    def _sinfo(self):
        """Its one node, and the jobs on it, whosesoever; now and then all nodes are drained."""
        running = [f"1|{job.name}" for job in self.jobs if job.live]
        state = "draining" if self.world.fault("all nodes drained", 0.01) else "mixed"
        node = f"n1|1000000|{state}|{len(running)}/{CPUS - len(running)}/0/{CPUS}|main*"
        return "\n".join([node, "@", *running, ""])

    def of_others(self, checks):
        """Jobs that are not of this installation: id, state, and whether it runs."""
        return [(job.id, job.state, job.live) for job in self.jobs if job.checks is not checks]

    def _accounting(self):
        """Ended jobs, where a cluster's accounting works at all."""
        if self.world.fault("no accounting", 0.5):
            return ""
        return "".join(
            f"{job.id}|{job.name}|{job.state}\n"
            for job in self.jobs
            if not job.active and not job.live
        )

    def _markers(self, shell):
        lines = []
        for name in names_in(shell):
            lines.append(f"@ {name}")
            if name in self.folders:
                if "echo sealed" in shell:
                    self._sealed_unseen(name)
                    self.folders[name].seal()
                lines += self.folders[name].shown(self.world)
        return "\n".join([*lines, ""])

    def _sealed_unseen(self, name):
        """Somebody takes an attempt for one that never began: nobody knew its job for long."""
        for job in self.jobs:
            if job.name == name and job.state == "PENDING" and not job.was_forgotten:
                self.world.violated(f"{name}: sealed, and its job waits as it did")

    def _cancel(self, name, for_good):
        self.folder(name).seal()
        self.folder(name).cancelled |= for_good
        for job in self.jobs:
            if job.name == name and job.active and not job.forgotten:
                self.world.later(self.world.rng.uniform(0, 2), self._cancelled, job)
        return Result(0, "", "")

    def _cancelled(self, job):
        if job.active and job.state != "COMPLETING":
            self._end(job, "CANCELLED")


def names_in(shell):
    """The jobs that one of our texts is about."""
    if shell.startswith("echo @ "):
        return re.findall(r"^echo @ (\S+)$", shell, re.M)
    found = re.search(r"--(?:job-)?name=([^\s;]+)", shell)
    return found[1].split(",") if found else []
