"""A long walk through the life cycle: every transition that there is, two hundred times and more.

`test_lifecycle.py` looks for the sequence that breaks a law; this walk says that none is left out.
"""

import random
from collections import Counter

import pytest

from tests.worksets.test_lifecycle import LifeCycle
from worksets import events as ev
from worksets.errors import ErrorCategory
from worksets.record import HELD, AffinityReason, State

LEAST = 200
STEPS = 1_000_000
"""At the most; about 250,000 are enough."""
ONWARD = {
    (State.READY, "lock"): 12, (State.LOCKED, "begin"): 12, (State.RETRYING, "due"): 4,
    **{(s, "restore"): 12 for s in (State.FAILED, State.CANCELLED, State.IGNORED)},
}  # fmt: skip
"""Where a life goes on, it mostly does: so many times as often as all else."""
TRANSITIONS = {
    (before, event, after)
    for before, events in {
        "ready": {
            "Lock": "locked", "Cancel": "cancelled", "Stopped": "cancelled", "Ignore": "ignored",
            "Fail": "retrying failed",
        },
        "locked": {
            "Begin": "in_progress", "ReleaseStale": "ready", "ForceRelease": "ready",
            "Postpone": "retrying ready cancelled", "Fail": "retrying failed ready cancelled",
            "Cancel": "cancelled", "Stopped": "cancelled",
        },
        "in_progress": {
            "Complete": "complete", "ForceRelease": "ready", "Stopped": "cancelled",
            "Postpone": "retrying ready cancelled", "Fail": "retrying failed ready cancelled",
        },
        "retrying": {
            "Requeue": "ready", "Hasten": "ready", "Cancel": "cancelled ready", "Ignore": "ignored",
        },
        "failed": {"Restore": "ready", "Ignore": "ignored"},
        "cancelled": {"Restore": "ready", "Ignore": "ignored"},
        "ignored": {"Restore": "ready"},
    }.items()
    for event, afters in events.items()
    for after in afters.split()
}  # fmt: skip
"""All that there are, but for a complete workset that is begun anew. What is to be cancelled, while
an earlier job of it may still run, goes back to `ready` and waits there for the end of that job."""


class Walk(LifeCycle):
    """One workset's life by chance; the laws of `LifeCycle` hold after every event."""

    def __init__(self, taken, tried):
        super().__init__()
        self.taken, self.tried = taken, tried

    def send(self, event):
        before, after = self.record, super().send(event)
        if after is not None and before.state is not after.state:
            self.taken[before.state.value, type(event).__name__, after.state.value] += 1
        return after

    def step(self, rng):
        """Mostly what was tried least of all from where it stands."""
        here = (self.record.state, bool(self.record.cancel_requested))
        names = list(ACTIONS)
        if rng.random() < 0.8:
            often = {n: self.tried[here, n] / ONWARD.get((here[0], n), 1) for n in names}
            names = [name for name in names if often[name] == min(often.values())]
        name = rng.choice(names)
        self.tried[here, name] += 1
        holder = next((o for o in "pq" if self.fences[o] == self.record.fence), "p")
        ACTIONS[name](self, rng, holder)
        self.lawful()

    def fails(self, rng, owner):
        # what is only locked has no job yet that could have run anything
        runs = self.record.state is State.IN_PROGRESS
        codes = rng.choice([(), (75,), (0, 75), (0, 0, 75)] if runs else [()])
        ended, enabled, fault = (rng.random() < chance for chance in (0.6, 0.9, 0.2))
        category = rng.choice([None, *ErrorCategory])
        self.job_fails(owner, category, codes, ended, enabled, fault)


def told(*events):
    return lambda walk, rng, _: walk.operator_or_poller(rng.choice(events))


ACTIONS = {
    "lock": lambda w, rng, _: w.lock(rng.choice("pq"), rng.choice("ab")),
    "take over": lambda w, rng, _: w.take_over(rng.choice("pq"), rng.choice("pq")),
    "begin": lambda w, _, owner: w.begin(owner),
    "an old holder begins": lambda w, _, owner: w.begin("q" if owner == "p" else "p"),
    "complete": lambda w, _, owner: w.complete(owner, (0, 0, 0)),
    "complete too early": lambda w, _, owner: w.complete(owner, (0,)),
    "fail": lambda w, rng, owner: w.fails(rng, owner),
    "postpone": lambda w, rng, owner: w.postpone(owner, rng.random() < 0.5),
    "its job has ended": lambda w, rng, _: w.the_job_is_seen_at_its_end(
        None, rng.choice([(), (143,)]) if w.record.state is State.IN_PROGRESS else ()
    ),
    "another's job has ended": lambda w, rng, _: w.the_job_is_seen_at_its_end(rng.randrange(9), ()),
    "time passes": lambda w, rng, _: w.time_passes(rng.randrange(5000)),
    "due": lambda w, rng, _: (w.time_passes(5000), w.operator_or_poller(ev.Requeue())),
    "hasten": told(ev.Hasten("r")),
    "unsettled": told(ev.Unsettled(1, "r", 60.0)),
    "release what is stale": told(ev.ReleaseStale("p"), ev.ReleaseStale("q")),
    "release by force": told(ev.ForceRelease("r")),
    "cancel": told(ev.Cancel("r")),
    "ignore": told(ev.Ignore("r")),
    "restore": told(*(ev.Restore("r", anew) for anew in (None, True, False))),
    "affinity": told(ev.SetAffinity("a", AffinityReason.COST)),
    "failed by hand": told(*(ev.Fail(category, "o", "run") for category in ErrorCategory)),
}


def begun(rng, taken, tried):
    """A new life; half of them are short, and begin where two rare things have come together."""
    walk = Walk(taken, tried)
    walk.short = rng.random() < 0.5
    if walk.short:
        # a job of it may run, and it is to be cancelled
        walk.lock("p", "a")
        walk.begin("p")
        if rng.random() < 0.7:
            walk.job_fails("p", ErrorCategory.TRANSIENT, (75,), False, True, False)
            walk.time_passes(5000)
            walk.operator_or_poller(ev.Requeue())
            walk.lock("q", "a")
        walk.operator_or_poller(ev.Cancel("r"))
    return walk


def is_over(walk):
    left = walk.short and walk.record.state not in HELD
    return left or walk.record.attempt > 5 or walk.record.state is State.COMPLETE


def walked(seed):
    """How often each transition was taken, as (state, event, state), and in how many steps."""
    rng, taken, tried = random.Random(seed), Counter(), Counter()
    walk, number = begun(rng, taken, tried), 0
    while number < STEPS and min(taken[one] for one in TRANSITIONS) < LEAST:
        number += 1
        walk.step(rng)
        if is_over(walk):
            walk = begun(rng, taken, tried)
    return taken, number


@pytest.mark.slow
def test_every_transition_is_taken_two_hundred_times_and_no_other_ever():
    taken, steps = walked(1)
    print(
        f"{steps} steps, {sum(taken.values())} transitions; the rarest: {taken.most_common()[-1]}"
    )
    assert set(taken) == TRANSITIONS
    assert min(taken.values()) >= LEAST
