"""What the simulation has found in the product, each in the few lines that show it."""

import logging
from types import SimpleNamespace

import pytest

import blocks.host
from blocks.slurm.cluster import SlurmCluster
from blocks.slurm.transport import LocalTransport, Result
from blocks.watch import ClusterWatch
from tasks.dispatch import dispatch
from tasks.settle import Progress, settle_error
from tasks.validate import Validated
from tests.simulation.store import Table, model_state_db
from worksets.config import ProcessorConfig
from worksets.errors import ClusterUnreachable, ConfigurationError, ErrorCategory, FenceLost
from worksets.jobs import JobStatus, Phase
from worksets.record import State, WorksetRecord


class Cluster(SlurmCluster):
    """A cluster without a job; remembers what it was told."""

    _block_type_slug = "told-cluster"
    _told: list = []
    _unreachable: bool = False

    def submit(self, spec):
        self._told.append(f"submit {spec.name}")

    def cancel(self, name):
        if self._unreachable:
            raise ClusterUnreachable("no route to host")
        self._told.append(f"seal {name}")

    def observe(self, names):
        sealed = [name for name in names if f"seal {name}" in self._told]
        return {
            name: JobStatus(name, Phase.VANISHED if name in sealed else Phase.ABSENT)
            for name in names
        }


@pytest.fixture
def here(monkeypatch):
    """A process that holds no workset yet, and one workset that is ready."""
    for module in ("tasks.dispatch", "tasks.settle"):
        monkeypatch.setattr(f"{module}.get_run_logger", lambda: logging.getLogger("test"))
    db = model_state_db(Table())
    now = db.now()
    db.register(
        WorksetRecord(
            workset_id="w", customer_id="c", location="file:///w", created_at=now, updated_at=now
        )
    )
    db.renew_lease("p", 30)

    async def call(function, *arguments, **named):
        return function(*arguments, **named)

    cluster = Cluster(cluster_name="a", work_folder="/w")
    cluster._told = []
    watch = ClusterWatch(cluster, call)
    found = SimpleNamespace(
        db=db, call=call, cluster=cluster, owner="p", config=ProcessorConfig(),
        watch=lambda _name: watch, announce=lambda _: None,
    )  # fmt: skip
    monkeypatch.setattr(blocks.host, "_current", SimpleNamespace(get=lambda: found))
    return found


async def test_a_process_that_has_lost_its_workset_submits_nothing(here):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    here.db.take_over("w", "q", "p")
    with pytest.raises(FenceLost, match="changed hands"):
        await dispatch.fn(Validated(held, None), held)
    assert here.cluster._told == []


async def test_a_refused_attempt_is_sealed_before_it_counts_as_never_started(here):
    held = here.db.lock("w", "p", "a", "r", {})
    here.db.begin("w", held.fence)
    error = ConfigurationError("no such partition")
    error.job_absent = True
    here.cluster._unreachable = True
    assert (await settle_error(Progress("w", "dispatch", held.fence), error)).state is None
    assert here.db.get("w").state is State.IN_PROGRESS, "its job may still arrive"
    here.cluster._unreachable = False
    assert (await settle_error(Progress("w", "dispatch", held.fence), error)).state is State.FAILED
    assert here.cluster._told == ["seal w.a1"] and here.db.get("w").job_ended


async def test_an_earlier_attempt_that_is_absent_is_sealed_before_the_next_begins(here):
    here.db.begin("w", here.db.lock("w", "p", "a", "r", {}).fence)
    here.db.record_failure("w", "an operator's word", ErrorCategory.DATA, "run")
    here.db.restore("w", "again")
    held = here.db.lock("w", "p", "a", "r", {})
    with pytest.raises(ConfigurationError):  # it has no file here: a job cannot be made
        await dispatch.fn(Validated(held, None), held)
    assert here.cluster._told == ["seal w.a1"] and here.db.get("w").attempt == 2


class Forgetful(LocalTransport):
    """A job has claimed its attempt, and Slurm lists what it likes to."""

    squeue: str
    markers: str

    def run(self, script, timeout_s=60):
        if script.startswith("squeue"):
            return Result(0, self.squeue, "")
        return Result(0, self.markers if "echo @" in script else "", "")


@pytest.mark.parametrize(
    ("squeue", "markers", "phase"),
    [
        ("", "steps stage\nclaim\n", Phase.RUNNING),
        # only its twin is listed, which found the attempt claimed
        ("8|w.a1|FAILED|NonZeroExitCode\n", "steps stage\njob 7\nclaim\n", Phase.RUNNING),
        ("7|w.a1|NODE_FAIL|None\n", "steps stage\njob 7\nclaim\n", Phase.VANISHED),
        ("", "steps stage\nsealed sealed\nclaim\n", Phase.VANISHED),
    ],
)
def test_a_claimed_job_that_slurm_does_not_list_is_not_gone_at_once(squeue, markers, phase):
    cluster = SlurmCluster(cluster_name="a", work_folder="/w")
    cluster.transport = Forgetful(squeue=squeue, markers=f"@ w.a1\n{markers}")
    cluster._prepared = True
    assert cluster.observe(["w.a1"])["w.a1"].phase is phase
