"""What a person's Retry means, wherever a workset stands: the life cycle's business, once for all.

Prefect's button says "run this again"; whether there is anything to run, the record knows.
"""

from __future__ import annotations

from enum import StrEnum

from worksets.record import State, WorksetRecord


class Meaning(StrEnum):
    """What is done first, if anything is to be done at all."""

    RESTORE = "restore"
    """It has ended: it is brought back, with all its retries, and goes on after what is done."""
    HASTEN = "hasten"
    """It waits for its next try: it is tried now."""
    ANEW = "anew"
    """It was complete: a new workset of the same name begins, in the same folder."""
    GO_ON = "go on"
    """It is ready, or nobody carries it: it is processed."""
    NOTHING = "nothing"


def meaning(record: WorksetRecord, carried: bool, from_start: bool = False) -> tuple[Meaning, str]:
    """What a Retry means, and what to say of it.

    `carried`: a process carries the workset now. `from_start`: finished steps are run again.
    """
    id_ = record.workset_id
    if record.state is State.COMPLETE:
        if from_start:
            return Meaning.ANEW, "it was complete; it begins anew, and keeps nothing"
        return Meaning.NOTHING, f"workset {id_} is complete already; nothing is run again"
    if record.cancel_requested:
        return Meaning.NOTHING, f"workset {id_} is to be cancelled, and is when its job has ended"
    if record.state is State.IGNORED:
        return Meaning.NOTHING, f"workset {id_} is ignored; restore it first, if that is meant"
    if carried:
        where = f" on {record.cluster_name}" if record.cluster_name else ""
        at = f"attempt {record.current_attempt}{where}"
        return Meaning.NOTHING, f"workset {id_} is being processed already, {at}; that goes on"
    if record.state in (State.FAILED, State.CANCELLED):
        how = "all its steps run again" if from_start else "it goes on after its finished steps"
        return Meaning.RESTORE, f"it was {record.state.value}; {how}"
    if from_start:
        return Meaning.NOTHING, f"workset {id_} has not ended; cancel it first"
    if record.state is State.RETRYING:
        return Meaning.HASTEN, "it waited for its next try, which is now"
    return Meaning.GO_ON, ""
