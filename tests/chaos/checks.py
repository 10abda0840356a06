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


def steps_wrong(jobs):
    """Steps that ran twice in an attempt, and finished steps that ran again."""
    wrong, finished = [], {}
    for (id_, attempt), job in sorted(jobs.items(), key=lambda item: item[1].begun[0][1]):
        for step, times in Counter(step for step, _ in job.begun).items():
            if times > 1:
                wrong.append(f"{id_}: {step} ran {times} times in attempt {attempt}")
        for step, _ in job.begun:
            if step in finished.get(id_, {}) and finished[id_][step] != attempt:
                wrong.append(f"{id_}: {step} ran again in attempt {attempt}")
        for step, _ in job.ended:
            finished.setdefault(id_, {})[step] = attempt
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


def ends_wrong(records, expected):
    """Worksets whose end is not the one that is theirs by right."""
    found = {record.workset_id: record.state for record in records}
    return [
        f"{id_}: {found.get(id_, 'lost')}, and should be {state}"
        for id_, state in expected.items()
        if found.get(id_) is not State(state)
    ]
