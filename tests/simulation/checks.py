"""What must hold after every effect; the truth is the model's own, not what anybody says."""

from contextlib import contextmanager

from tests.simulation.loop import PROCESS
from tests.simulation.slurm import FULL
from worksets.record import HELD, STEPS, State

HEARD_S = 180.0
"""Seconds before an intent in which its cluster has answered somebody: the look's own ten, by
clocks that may differ by 60 s, and 90 s for which a process may sleep before the intent."""
ASLEEP_S = 90.0
"""Seconds after the faults' end in which a process may still sleep."""
ALONE_S = 300.0
"""Seconds after the faults' end in which every workset has found a process that carries it on."""


class Checks:
    """Told of every write and of all that happens on the clusters."""

    def __init__(self, world, table, limits, config):
        self.world = world
        self.table = table
        self.limits = limits
        self.config = config
        self.jobs = []
        self.live = {}
        self.ended_well = {}
        self.taken_away = set()
        self.told = set()
        self.told_unreadable = set()
        self.stuck = set()
        self.no_room = set()
        self.answered = {}
        self.cycles = {}

    def _hold(self, lawful, what):
        if not lawful:
            self.world.violated(what)

    # --- Writes ---

    def committed(self, before, after, by):
        """One record was replaced by the next; `by` is the process, '' the operator."""
        id_ = after.workset_id
        # what leaves no trace in the history is about what people are told
        event = "Told" if after.history == before.history else after.history[-1].event
        others = before.state in HELD and by not in ("", before.lock_owner)
        # Stopped is evidence, whoever brings it: after a request to cancel its job has ended
        self._hold(
            not others
            or event in ("TakeOver", "ReleaseStale", "SetAffinity", "Stopped", "Told", "Owe"),
            f"{id_}: {by} writes {event}, and {before.lock_owner} holds it",
        )
        self._hold(after.version == before.version + 1, f"{id_}: version is not one more")
        self._hold(after.fence >= before.fence, f"{id_}: the fence fell")
        changed_hands = after.lock_owner not in ("", before.lock_owner)
        self._hold(
            after.fence > before.fence or not changed_hands, f"{id_}: changed hands, same fence"
        )
        kept = {**after.model_extra, **before.model_extra} == after.model_extra
        self._hold(kept, f"{id_}: a key of another release was not written back")
        # what an operator says of it (nobody's process) is the operator's business
        if by and (after.retry_count > before.retry_count or event == "Fail"):
            full = before.state in HELD and before.job_name in self.no_room
            self._hold(not full, f"{id_}: is charged for the full disk of {before.cluster_name}")
        if event == "Owe":
            self.stuck.add(after.job_name)
        begun = after.attempt - before.attempt
        self._hold(begun in (0, 1), f"{id_}: attempt went from {before.attempt} to {after.attempt}")
        if event == "Restore" and "(from the start)" in after.history[-1].note:
            self.ended_well.pop(id_, None)  # an operator has it start anew
        elif event == "Lock" and before.completed_steps and not after.completed_steps:
            done = self.ended_well.pop(id_, {})
            lawful = set(done) <= {"stage"} and before.clusters_fault
            self._hold(lawful, f"{id_}: leaves {before.cluster_name} and {sorted(done)} behind")
        else:
            kept = set(before.completed_steps) <= set(after.completed_steps)
            self._hold(kept, f"{id_}: forgot a step")
        if begun:
            self.taken_away.discard(id_)
        if event == "Lock":
            self._hold(after.lock_owner in self.table.leases, f"{id_}: locked without a lease")
        self._owed(before, after)
        if event == "Begin":
            at = self.answered.get(after.cluster_name, float("-inf"))
            heard = self.world.now_s - at <= HEARD_S
            self._hold(heard, f"{id_}: begun on {after.cluster_name}, of which nobody has heard")
        if before.state in HELD and after.state not in HELD:
            self._given_up(before, after)
        if after.state is State.COMPLETE:
            done = self.ended_well.get(id_, {})
            missing = [step for step in STEPS if step.value not in done]
            self._hold(not missing, f"{id_}: complete without {missing}")
        self._scopes()

    def _owed(self, before, after):
        id_ = after.workset_id
        if after.state is State.FAILED and before.state is not State.FAILED:
            self._hold(after.owed is not None, f"{id_}: a dead letter that nobody is to be told of")
        if before.owed is not None and after.owed is None:
            told = (id_, before.owed.message) in self.told
            self._hold(told, f"{id_}: was not told, and is owed no more: {before.owed.message}")

    def _given_up(self, before, after):
        from_outside = after.history[-1].event == "ForceRelease" or (
            after.history[-1].event == "Fail" and after.fence > before.fence
        )
        if from_outside:
            self.taken_away.add(after.workset_id)
        self._counted(after.workset_id, after)

    def _scopes(self):
        wanted = {}
        for record in self.table.records.values():
            for scope in record.scopes:
                wanted.setdefault(scope, set()).add(record.workset_id)
        held = {scope: set(ids) for scope, ids in self.table.holders.items() if ids}
        self._hold(held == wanted, "the holder sets are not what the records say")
        for scope, ids in held.items():
            limit = self.limits.get(scope)
            self._hold(
                limit is None or len(ids) <= limit, f"{scope}: {len(ids)} of {limit} hold it"
            )

    # --- Processes ---

    def cycled(self):
        """A process has asked what it may start."""
        if process := PROCESS.get():
            self.cycles[process.name] = self.world.now_s

    @contextmanager
    def cycling_meanwhile(self):
        """Something hangs, and the poller that waits for it goes on starting worksets."""
        process, began_s = PROCESS.get(), self.world.now_s
        yield
        waited_s = self.world.now_s - began_s
        if (
            began_s > self.world.horizon_s + ASLEEP_S
            and waited_s > self.config.poll_interval_seconds + 30
            and process.name in self.cycles
            and not process.task.done()
        ):
            cycled = self.cycles[process.name] > began_s
            self._hold(
                cycled, f"{process.name}: starts nothing for {waited_s:.0f} s: a folder hangs"
            )

    # --- Jobs ---

    def submitting(self, spec):
        """A process is about to hand a job in."""
        for job in self.jobs:
            waits = job.held_at and job.state == "PENDING" and not job.folder.sealed
            beside = waits and job.home == spec.home and self.world.now_s - job.held_at > HEARD_S
            self._hold(not beside, f"{spec.name}: handed in beside {job.name}, which waits")

    def heard(self, name, error):
        """What a process was told of a submission; nothing: it was taken."""
        if FULL in error:
            self.no_room.add(name)
        else:
            self.no_room.discard(name)

    def let_go(self, job):
        """A job that waited for somebody is let go of: were people told of it?"""
        alone_s = self.world.now_s - max(job.held_at, self.world.horizon_s + ALONE_S)
        record = self.table.records[job.workset_id]
        if (
            alone_s > self.config.stuck_minutes * 60
            and record.job_name == job.name
            and record.state in HELD
            and not record.cancel_requested
        ):
            self._hold(
                job.name in self.stuck, f"{job.name}: waits for {job.reason}; nobody is told"
            )

    def submitted(self, job):
        self.jobs.append(job)
        record = self.table.records[job.workset_id]
        self._hold(record.attempt >= job.attempt, f"{job.name}: submitted without its intent")

    def started(self, job):
        """A job has claimed its attempt: its steps run from now on."""
        id_ = job.workset_id
        other = self.live.get(id_)
        self._hold(
            other is None or not other.live, f"{job.name}: starts beside {other and other.name}"
        )
        self.live[id_] = job
        record = self.table.records[id_]
        self._hold(
            record.attempt == job.attempt, f"{job.name}: starts when attempt {record.attempt} does"
        )
        done = self.ended_well.get(id_, {})
        for step in STEPS:
            at = job.cluster_name if step in job.steps else done.get(step, "nowhere")
            self._hold(at == job.cluster_name, f"{job.name}: goes on from {step}, which is {at}")
        self._counted(id_, record)

    def _counted(self, id_, record):
        job = self.live.get(id_)
        self._hold(
            job is None or not job.live or record.state in HELD or id_ in self.taken_away,
            f"{id_}: is {record.state.value}, and its job {job and job.name} runs",
        )

    def step_started(self, job, step):
        done = self.ended_well.get(job.workset_id, {})
        self._hold(step not in done, f"{job.name}: runs {step} again, which had ended well")

    def step_ended(self, job, step, code):
        if code == 0:
            self.ended_well.setdefault(job.workset_id, {})[step] = job.cluster_name
