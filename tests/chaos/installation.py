"""One installation: settings, state DB, watched folders, pollers, and a journal of its jobs."""

from collections import Counter

from tests import services
from tests.chaos import checks, parts
from tests.chaos.share import Share
from tests.real.conftest import Site
from worksets.record import FINAL, State

MOST_WAITING = 15
"""With more worksets that wait no other arrives: what a busy machine leaves can be settled."""
LIMITS = {"global": 6, "cluster": 4, "acme": 3, "cedar": 5}
STEP = 'echo "$0 $1 $2 $SLURM_CLUSTER_NAME begin $(date +%s.%N)" >> "$3"; sleep "$4"; '
DONE = 'echo "$0 $1 $2 $SLURM_CLUSTER_NAME end $(date +%s.%N)" >> "$3"'


def pipelines(journal):
    """`good`, one that fails the first time, and one whose data are damaged."""

    def step(name, seconds, before=""):
        shell = before + STEP + DONE
        return ["sh", "-c", shell, "{workset_id}", "{attempt}", name, journal, str(seconds)]

    plain = {"stage": step("stage", 0.3), "run": step("run", 4), "export": step("export", 0.3)}
    return {
        "good": plain,
        "flaky": {**plain, "run": step("run", 2, '[ "$1" -gt 1 ] || exit 75; ')},
        "damaged": {**plain, "run": step("run", 1, "exit 65; ")},
    }


class Installation:
    """It shares Prefect's server, DynamoDB, the clusters and their folders with the others.

    Its worksets have the names that theirs have, too. Half of them arrive in a share.
    """

    def __init__(self, name, pollers, folder, environment, clusters, dynamodb_url):
        home = folder / name
        home.mkdir()
        self.name = name
        self.journal = home / "journal"
        self.journal.touch()
        self.expected = {}
        self.in_share = set()
        self.share = Share(home / "share")
        self.site = Site(name, home, environment)
        self.db = services.dynamodb_state_db(dynamodb_url)
        self._configure(folder, clusters, dynamodb_url)
        self.pollers = parts.Pollers(self.site, pollers)

    def _configure(self, folder, clusters, dynamodb_url):
        shared = [
            {
                "type": "slurm-cluster",
                "cluster_name": real.name,
                "max_concurrent_worksets": LIMITS["cluster"],
                "memory_gb_per_workset": 0.1,
                "work_folder": str(folder / f"work-{real.name}"),
                "transport": {"environment": {"SLURM_CONF": str(real.conf)}},
            }
            for real in clusters
        ]
        self.site.configure(
            customers={c: {"max_concurrent_worksets": LIMITS[c]} for c in ("acme", "cedar")},
            max_concurrent_worksets=LIMITS["global"],
            overrides={
                "clusters": shared,
                "worksets": ["worksets", "share"],
                "pipelines": pipelines(str(self.journal)),
                "default_max_retries": 10,
                "state_db": {
                    "type": "dynamodb", "table_name": self.db.table_name,
                    "region_name": "us-west-2", "endpoint_url": dynamodb_url,
                },
            },
        )  # fmt: skip

    @property
    def waiting(self):
        """Worksets without a job yet; not by the state DB, which may be frozen just now."""
        begun = {line.split()[0] for line in self.journal.read_text().splitlines()}
        return len(self.expected) - len(begun)

    def arrive(self, rng):
        if self.waiting >= MOST_WAITING:
            return
        kind = rng.choice(["good"] * 6 + ["flaky"] * 2 + ["damaged"])
        self.add(rng, kind, in_share=rng.random() < 0.5)

    def add(self, rng, kind, in_share):
        id_ = f"w{len(self.expected)}"
        place = self.share.inside if in_share else "worksets"
        self.site.add(id_, 1, rng.choice(["acme", "cedar"]), place=place, pipeline=kind)
        self.expected[id_] = "failed" if kind == "damaged" else "complete"
        if in_share:
            self.in_share.add(id_)
        return id_

    def records(self):
        return [self.db.get(id_) for id_ in self.db.known(list(self.expected))]

    @property
    def settled(self):
        records = self.records()
        return len(records) == len(self.expected) and all(r.state in FINAL for r in records)

    def is_complete(self, id_):
        return id_ in self.db.known([id_]) and self.db.get(id_).state is State.COMPLETE

    def close(self):
        self.pollers.kill_all()
        self.share.back()

    def report(self):
        """What became of its worksets, and what of it is wrong."""
        records = self.records()
        jobs = checks.jobs_of(self.journal.read_text().splitlines())
        customer = {record.workset_id: record.customer_id for record in records}
        peaks = checks.most_at_once(jobs, lambda job: "global")
        peaks |= checks.most_at_once(jobs, lambda job: f"cluster {job.cluster}")
        peaks |= checks.most_at_once(jobs, lambda job: customer.get(job.workset_id))
        limits = {name: LIMITS[name.partition(" ")[0]] for name in peaks}
        wrong = checks.ends_wrong(records, self.expected)
        wrong += checks.steps_wrong(jobs, checks.moves_of(records))
        wrong += [f"{n}: {peaks[n]} at once" for n in peaks if peaks[n] > limits[n]]
        begun = checks.begun_during(jobs, self.share.hangs)
        return {
            "worksets": dict(Counter(record.state.value for record in records)),
            "attempts": sum(record.attempt for record in records),
            "jobs": len(jobs),
            "pollers_restarted": self.pollers.restarts,
            "most_at_once": peaks,
            "share_hung_s": round(sum(end - begin for begin, end in self.share.hangs)),
            "begun_meanwhile_elsewhere": len(begun - self.in_share),
            "wrong": [f"{self.name}: {what}" for what in wrong],
        }
