"""One seed: its worksets, customers, clusters, pollers and operator, from start to end."""

import asyncio
from dataclasses import dataclass

from blocks.folders import Found, SpecFile, SpecMissing
from blocks.settings import WorksetSettings
from tests.simulation.checks import Checks
from tests.simulation.loop import SimulatedLoop
from tests.simulation.process import Process, poller, worker
from tests.simulation.slurm import Slurm
from tests.simulation.store import Table, model_state_db
from tests.simulation.world import World
from worksets.config import Customer, Pipeline, ProcessorConfig
from worksets.delivery import Seen
from worksets.errors import Refused, WorksetNotFound
from worksets.leases import CLOCK_SKEW_S
from worksets.record import FINAL

LONGEST_S = 3600.0
"""Seconds after the last fault in which everything must have come to its end."""
ROOT = "file:///worksets"
PIPELINES = {"germline": Pipeline(run=("run", "{manifest}"))}


class Folders:
    """The watched place and its folders, which appear one after the other."""

    root = ROOT

    def __init__(self, world):
        self.world = world
        self.files = {}

    def _perform(self, what, effect):
        error = OSError(f"{what} failed")
        return self.world.perform("folders", what, effect, error, error, 10.0)

    def find(self, _cursor):
        return [Found(id_, f"{ROOT}/{id_}", "1") for id_ in self.files], ""

    def open(self, location):
        return _Folder(self, location.rpartition("/")[2])


@dataclass
class _Folder:
    place: Folders
    workset_id: str

    source_root = "/worksets"

    @property
    def source(self):
        return f"/worksets/{self.workset_id}"

    def read_spec(self):
        text = self.place.files.get(self.workset_id)
        if text is None:
            raise SpecMissing("there is no daylily_work.yaml")
        return SpecFile(text, "1")

    def read_sheet(self):
        return None

    def look(self, inputs):
        return {entry.name: Seen(1, "1") for entry in inputs}


class Scenario:
    """What a seed makes of the world."""

    def __init__(self, world):
        self.world, rng = world, world.rng
        self.cluster_limits = {name: rng.randint(1, 3) for name in "abc"[: rng.randint(2, 3)]}
        customers = {
            f"c{n}": Customer(max_concurrent_worksets=rng.choice((None, 1, 2, 3)))
            for n in range(rng.randint(2, 3))
        }
        self.config = ProcessorConfig(
            max_concurrent_worksets=rng.randint(2, 6),
            max_workers=rng.choice((2, 5)),
            poll_interval_seconds=rng.choice((20, 40, 60)),
        )
        self.settings = WorksetSettings(
            state_db="model-db/db",
            clusters=[f"model-slurm-cluster/{name}" for name in self.cluster_limits],
            worksets=[ROOT],
            results="/results",
            customers=customers,
            pipelines=PIPELINES,
            processor=self.config,
        )
        lag_s = rng.choice((0.0, 2.0))
        self.table = Table(lambda: world.now_s, lambda: rng.uniform(0, lag_s))
        limits = {"global": self.config.max_concurrent_worksets}
        limits |= {f"cluster:{name}": limit for name, limit in self.cluster_limits.items()}
        limits |= {
            f"customer:{name}": customer.max_concurrent_worksets
            for name, customer in customers.items()
        }
        self.checks = Checks(world, self.table, limits)
        self.slurms = [Slurm(name, world, self.checks) for name in self.cluster_limits]
        self.source = Folders(world)
        self.names = [f"w{n}" for n in range(rng.randint(3, 8))]
        self.launch = rng.choice(("inline", "inline", "inline", "deployment"))
        self.skewed = rng.choice((False, False, True))
        world.faults["clocks further apart than 5 s"] += self.skewed
        self._started = 0
        self._keys = {}
        # the operator's way is reliable: faults on it would be his, not the product's
        self.operator_db = model_state_db(self.table, world.utc, checks=self.checks)

    async def run(self):
        """What was violated; None if nothing was."""
        world, rng = self.world, self.world.rng
        for name in self.names:
            world.later(rng.uniform(0, 20), self._appears, name)
        for _ in range(rng.randint(1, 3)):
            world.later(rng.uniform(0, 5), self._start_poller)
        world.later(rng.uniform(5, 60), self._outage)
        self._meddling = rng.choice((0.0, 0.0, 1 / 20, 1 / 60))
        if self._meddling:
            world.later(rng.expovariate(self._meddling), self._meddle)
        world.later(1, self._look)
        return await world.over

    def _look(self):
        """Whether it is over: all is final, nothing runs and nothing is on its way."""
        records = self.table.records
        unfinished = [id_ for id_ in self.names if id_ not in records]
        unfinished += [id_ for id_, record in records.items() if record.state not in FINAL]
        unfinished += [id_ for id_, record in records.items() if record.owed]
        # an operator may bring a finished one back as long as he is there
        moving = any(job.active and not job.forgotten for s in self.slurms for job in s.jobs)
        if not unfinished and not moving and not self.world.in_the_air:
            if not self.world.over.done():
                self.world.over.set_result(None)
        elif self.world.now_s > self.world.horizon_s + LONGEST_S:
            states = {id_: records[id_].state.value for id_ in unfinished if id_ in records}
            self.world.violated(f"no end after {LONGEST_S:.0f} s without faults: {states}")
        else:
            self.world.later(5, self._look)

    def _appears(self, name):
        rng = self.world.rng
        lines = [
            f"customer_id: {rng.choice([*self.settings.customers] * 8 + ['stranger'])}",
            f"priority: {rng.choice(('urgent', 'normal', 'low'))}",
            f"max_retries: {rng.randint(0, 4)}",
            "reference_genome: hg38",
            "samples:",
            "  - {sample_id: s1, fastq_r1: s1.fq.gz}",
        ]
        if rng.random() < 0.3:
            lines.append(f"preferred_cluster: {rng.choice(list(self.cluster_limits))}")
            lines.append(f"cluster_required: {rng.choice(('true', 'false'))}")
        self.source.files[name] = "\n".join(lines).encode()

    # --- Processes ---

    def _start(self, main, then):
        self._started += 1
        farthest_s = 60.0 if self.skewed else CLOCK_SKEW_S / 2
        skew_s = self.world.rng.uniform(-farthest_s, farthest_s)
        Process(self, f"p{self._started}", skew_s, main, then)

    def _start_poller(self):
        def again():
            self.world.later(self.world.rng.uniform(0.5, 40), self._start_poller)

        self._start(poller(self.launch, self.config), again)

    def deploy(self, key, parameters):
        """A flow run of a deployment: one for each key, begun by a worker after a while."""
        if key not in self._keys:
            self._keys[key] = parameters
            if not self.world.fault("worker lost a run", 0.05):
                start = (worker(parameters), lambda: None)
                self.world.later(self.world.rng.expovariate(0.5), self._start, *start)

    # --- Outages and the operator ---

    def _outage(self):
        world, rng = self.world, self.world.rng
        if world.now_s > world.horizon_s:
            return
        place = rng.choice(["db", *self.cluster_limits, *self.cluster_limits])
        cut = rng.choice(["", f"p{self._started}"])
        kind = "db outage" if place == "db" else "cluster outage"
        world.faults[f"{kind} for one process" if cut else kind] += 1
        world.tell(f"{place} is cut off from {cut or 'all'}")
        world.cut(cut, place, rng.uniform(5, 90))
        world.later(rng.uniform(20, 200), self._outage)

    def _meddle(self):
        world, rng, db = self.world, self.world.rng, self.operator_db
        if world.now_s > world.horizon_s:
            return
        id_ = rng.choice(self.names)
        what = rng.choice(("cancel", "restore", "restore", "release", "fail", "affinity"))
        acts = {
            "cancel": lambda: db.cancel(id_, "operator"),
            "restore": lambda: db.restore(id_, "operator"),
            "release": lambda: db.release_lock(id_, force=True, reason="operator"),
            "fail": lambda: db.record_failure(id_, "operator", None, "run"),
            "affinity": lambda: db.set_cluster_affinity(
                id_, rng.choice(list(self.cluster_limits)), "manual"
            ),
        }
        try:
            acts[what]()
            world.faults[f"operator: {what}"] += 1
            world.tell(f"operator: {what} {id_}")
        except (Refused, WorksetNotFound):
            pass
        world.later(rng.expovariate(self._meddling), self._meddle)


def simulate(seed, traced=False):
    """The world after a seed's life, and what was violated in it (None: nothing)."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_simulate(seed, traced))


async def _simulate(seed, traced):
    world = World(seed, traced)
    try:
        violation = await Scenario(world).run()
    finally:
        world.close()
    return world, violation
