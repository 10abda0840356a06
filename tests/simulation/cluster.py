"""The real `SlurmCluster` of one process, and its unreliable way to the model of a cluster."""

from pydantic import PrivateAttr

from blocks.clusters import SlurmCluster
from blocks.clusters.slurm.transport import LocalTransport, MayHaveReached
from tests.simulation.slurm import CPUS, Slurm, names_in
from worksets.errors import ClusterUnreachable, WorksetError

WORK = "/work"


class ModelTransport(LocalTransport):
    """The way to a `Slurm` of one simulated process."""

    _slurm: Slurm = PrivateAttr(default=None)
    _checks: object = PrivateAttr(default=None)

    def run(self, script, timeout_s=60):
        slurm, checks = self._slurm, self._checks
        answer = slurm.world.perform(
            slurm.name,
            _what(script),
            lambda: slurm.run(script, checks),
            ClusterUnreachable(f"{slurm.name} could not be reached"),
            MayHaveReached(f"{slurm.name} did not answer"),
            timeout_s,
        )
        checks.answered[slurm.name] = slurm.world.now_s
        return answer


def _what(shell):
    names = " ".join(names_in(shell))
    if "@submitting" in shell:
        return f"sbatch {names}"
    if "scancel" in shell:
        return f"scancel {names}"
    for word in ("squeue", "sinfo", "found=$(sacct"):
        if shell.startswith(word):
            return word.rpartition("(")[2]
    return "markers"


class ModelCluster(SlurmCluster):
    """The real block; the programs that a node would need are left out."""

    _block_type_slug = "model-slurm-cluster"

    def submit(self, spec):
        checks = self.transport._checks
        checks.submitting(spec)
        try:
            super().submit(spec)
        except WorksetError as error:
            checks.heard(spec.name, str(error))
            raise
        checks.heard(spec.name, "")

    def capacity(self, needs=()):
        slurm, checks = self.transport._slurm, self.transport._checks
        theirs = slurm.of_others(checks)
        room = super().capacity(needs)
        run = sum(running for *_, running in theirs)
        if theirs == slurm.of_others(checks) and room not in (0, CPUS - run):
            slurm.world.violated(f"{slurm.name}: room for {room}, and others run {run}")
        return room

    def programs(self):
        return {"python": "python3", "programs": "/programs"}

    def _prepare(self):
        self._prepared = True

    def _run(self, shell, timeout_s=60.0):
        return self.transport.run(shell)


def cluster(slurm, checks, limit):
    """The block by which one process of an installation knows a cluster."""
    transport = ModelTransport()
    transport._slurm, transport._checks = slurm, checks
    block = ModelCluster(
        cluster_name=slurm.name,
        work_folder=WORK,
        max_concurrent_worksets=limit,
        poll_min_s=2,
        transport=transport,
    )
    block.transport = transport
    return block
