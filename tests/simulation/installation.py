"""One installation: its settings, state DB, watched place, worksets, pollers and operator."""

from blocks.settings import WorksetSettings
from tests.simulation.checks import Checks
from tests.simulation.cluster import cluster
from tests.simulation.folders import ROOT, Folders
from tests.simulation.process import Process, poller, worker
from tests.simulation.store import Table, model_state_db
from worksets.config import Customer, Pipeline, ProcessorConfig
from worksets.errors import Refused, WorksetNotFound
from worksets.leases import CLOCK_SKEW_S
from worksets.record import FINAL

PIPELINES = {"germline": Pipeline(run=("run", "{manifest}"))}
UNREADABLE = "x0"
"""A workset whose record this release cannot read."""


class Installation:
    """All that belongs to one installation; its clusters may be another's, too.

    `letter`: its ids and the names of its processes begin with it. `worksets`: how many there are.
    """

    def __init__(self, world, slurms, letter, worksets):
        self.world, rng = world, world.rng
        self.slurms = slurms
        self.letter = letter
        self.cluster_limits = {slurm.name: rng.randint(1, 3) for slurm in slurms}
        customers = {
            f"c{n}": Customer(max_concurrent_worksets=rng.choice((None, 1, 2, 3)))
            for n in range(rng.randint(2, 3))
        }
        self.config = ProcessorConfig(
            max_concurrent_worksets=rng.randint(2, 6),
            max_workers=rng.choice((2, 5)),
            poll_interval_seconds=rng.choice((20, 40, 60)),
            stuck_minutes=rng.choice((0.5, 1, 2)),
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
        self.table = Table(letter, lambda: world.now_s, lambda: rng.uniform(0, lag_s))
        limits = {"global": self.config.max_concurrent_worksets}
        limits |= {f"cluster:{name}": limit for name, limit in self.cluster_limits.items()}
        limits |= {
            f"customer:{name}": customer.max_concurrent_worksets
            for name, customer in customers.items()
        }
        self.checks = Checks(world, self.table, limits, self.config)
        self.names = [f"w{n}" for n in range(worksets)]
        self.source = Folders(world, self.checks, rng.choice(self.names))
        self.launch = rng.choice(("inline", "inline", "inline", "deployment"))
        self.skewed = rng.choice((False, False, True))
        world.faults["clocks further apart than 5 s"] += self.skewed
        self.started = 0
        self._keys = {}
        # the operator's way is reliable: faults on it would be his, not the product's
        self.operator_db = model_state_db(self.table, world.utc, checks=self.checks)

    def begin(self):
        """Let all of it come about."""
        world, rng = self.world, self.world.rng
        for name in self.names:
            world.later(rng.uniform(0, 20), self._appears, name)
            world.later(rng.uniform(5, 100), self._written_by_another_release, name)
        if world.fault("readable by another release only"):
            self._appears(UNREADABLE)
            self.table.put_unreadable(UNREADABLE, f"{ROOT}/{UNREADABLE}")
        for _ in range(rng.randint(1, 3)):
            world.later(rng.uniform(0, 5), self._start_poller)
        self._meddling = rng.choice((0.0, 0.0, 1 / 20, 1 / 60))
        if self._meddling:
            world.later(rng.expovariate(self._meddling), self._meddle)

    def unfinished(self):
        """Worksets that have not come to their end, or of which people are still to be told."""
        records = self.table.records
        untold = self.table.unreadable.keys() - self.checks.told_unreadable
        return [
            *untold,
            *(
                id_
                for id_ in self.names
                if id_ not in records or records[id_].state not in FINAL or records[id_].owed
            ),
        ]

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

    def _written_by_another_release(self, name):
        """As a poller of a newer release does in the days of an upgrade: with a key of its own."""
        record = self.table.records.get(name)
        if record is not None and self.world.fault("written by another release"):
            change = {"of_another_release": name, "version": record.version + 1}
            self.operator_db._commit(record, record.model_copy(update=change), {}, None)

    # --- Processes ---

    def blocks(self):
        """The blocks of its clusters, as one process loads them."""
        return {
            f"model-slurm-cluster/{slurm.name}": cluster(
                slurm, self.checks, self.cluster_limits[slurm.name]
            )
            for slurm in self.slurms
        }

    def _start(self, main, then):
        self.started += 1
        farthest_s = 60.0 if self.skewed else CLOCK_SKEW_S / 2
        skew_s = self.world.rng.uniform(-farthest_s, farthest_s)
        Process(self, f"{self.letter}{self.started}", skew_s, main, then)

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

    # --- The operator ---

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
