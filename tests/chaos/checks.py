"""What the jobs' own log and the state DB must say when all is over."""

from collections import Counter
from dataclasses import dataclass, field

from worksets.record import State


@dataclass
class Job:
    """One attempt, as its steps have told: times in seconds."""

    workset_id: str
    attempt: str
    cluster: str = ""
    begun: list = field(default_factory=list)
    ended: list = field(default_factory=list)


def jobs_of(lines):
    """Jobs by (workset, attempt) from lines `WORKSET ATTEMPT STEP CLUSTER begin|end TIME`."""
    jobs = {}
    for line in lines:
        id_, attempt, step, cluster, mark, at = line.split()
        job = jobs.setdefault((id_, attempt), Job(id_, attempt))
        job.cluster = cluster
        (job.begun if mark == "begin" else job.ended).append((step, float(at)))
    return jobs


def moves_of(records):
    """For each workset: when the state DB sent it away from a cluster that had failed it."""
    return {
        record.workset_id: [
            entry.at.timestamp()
            for entry in record.history
            if entry.event == "Lock" and "which failed it; staged again" in entry.note
        ]
        for record in records
    }


def steps_wrong(jobs, moves):
    """Steps that ran twice in an attempt, and finished steps that ran again.

    Files that were staged alone do not hold a workset on a cluster that failed it: after such a
    move, and only then, `stage` runs again: elsewhere, or, where nothing could begin there, on the
    cluster that it came from (docs/life-cycle.md).
    """
    wrong, before = [], {}
    for (id_, attempt), job in sorted(jobs.items(), key=lambda item: item[1].begun[0][1]):
        for step, times in Counter(step for step, _ in job.begun).items():
            if times > 1:
                wrong.append(f"{id_}: {step} ran {times} times in attempt {attempt}")
        done, at = before.get(id_, (set(), 0))
        moved = any(at < move < job.begun[0][1] for move in moves.get(id_, ()))
        if moved and done == {"stage"}:
            done = set()
        wrong += [f"{id_}: {s} ran again in attempt {attempt}" for s, _ in job.begun if s in done]
        ended = {step for step, _ in job.ended}
        before[id_] = (done | ended, max(time for _, time in (*job.begun, *job.ended)))
    return wrong


def most_at_once(jobs, group):
    """For each group of jobs: most that ran at one time."""
    changes = {}
    for job in jobs.values():
        if name := group(job):
            times = [at for _, at in (*job.begun, *job.ended)]
            changes.setdefault(name, []).extend([(min(times), 1), (max(times), -1)])
    peaks = {}
    for name, of_it in changes.items():
        running = 0
        for _, change in sorted(of_it):
            running += change
            peaks[name] = max(peaks.get(name, 0), running)
    return peaks


def begun_during(jobs, spans):
    """Ids of the worksets of which a job began in one of the spans of time."""
    return {
        job.workset_id
        for job in jobs.values()
        if any(begin <= min(at for _, at in job.begun) < end for begin, end in spans)
    }


def ends_wrong(records, expected):
    """Worksets whose end is not the one that is theirs by right."""
    found = {record.workset_id: record.state for record in records}
    return [
        f"{id_}: {found.get(id_, 'lost')}, and should be {state}"
        for id_, state in expected.items()
        if found.get(id_) is not State(state)
    ]
