"""discover: register the worksets that have appeared in the watched folders."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.folders import Found, SpecFile, SpecMissing
from blocks.state_db import Known, Unreadable
from host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.settled import Look, keep, mark, pass_over
from tasks.validate import allowed, check, read
from worksets.announcements import Announcement, Kind
from worksets.delivery import Waits, looked
from worksets.errors import DataError, TransientError, WorksetError, WorksetNotFound
from worksets.inputs import inputs_of
from worksets.record import FINAL, Delivery, State, WorksetRecord
from worksets.registration import Description, asks_of, describe, new_record
from worksets.spec import named_customer
from worksets.texts import few

T = TypeVar("T")

FOLDER_S: Final = 60.0
"""Seconds that a look at one folder may take; one that takes longer is let go of, and named."""
MOST_PENDING: Final = 500
"""Folders without a `daylily_work.yaml` that are looked at in every cycle, in each watched place;
the others when their turn comes."""
SAMPLE: Final = 2
"""Folders that are looked at in a cycle, in each watched place, if their worksets have ended."""


@task(
    name="discover",
    task_run_name="discover {root}",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=600,
)
async def discover(root: str, seen: dict[str, Look], named: Sequence[str] = ()) -> list[str]:
    """Ids of the worksets that are new in a place; `seen` remembers what is not for the next call.

    `named`: folders that the place has told of, whether their turn has come or not. A folder that
    cannot be taken is told once and passed over; it holds up no other.
    """
    here, log = host(), get_run_logger()
    place = next(place for place in here.places if place.source.root == root)
    before = await here.call(here.db.cursor, root)
    found, after = await place.call(place.source.find, before)
    remembered = await here.call(here.db.pending, root)
    waits = frozenset(remembered)
    # those that wait for their file are no part of it: they are looked at in every cycle
    chunks = await pass_over(here, root, [e for e in found if e.workset_id not in waits], seen)
    listed = {entry.location for entry in found}
    others = map(_candidate(root), dict.fromkeys([*remembered, *named]))
    found += [entry for entry in others if entry.location not in listed]
    fresh = [e for e in found if e.location not in seen or seen[e.location].mark != mark(e)]
    ids = [entry.workset_id for entry in fresh if entry.workset_id]
    known = await here.call(here.db.known, ids) if ids else {}
    new: list[str] = []
    pending: list[str] = []

    async def one(entry: Found) -> None:
        there = known.get(entry.workset_id)
        settled = await in_time(_take(here, entry, there, new, pending), entry.location)
        if settled is not None:
            # only now: what a hiccup kept from being registered is found again
            seen[entry.location] = Look(mark(entry), settled)

    await asyncio.gather(*map(one, fresh))
    await keep(here, root, chunks, seen)
    await _look_at_some(here, [e for e in found if e.workset_id and not e.refused])
    if after != before:
        await here.call(here.db.save_cursor, root, after)
    if (waiting := sorted(pending)[-MOST_PENDING:]) != remembered:
        await here.call(here.db.save_pending, root, waiting)
    if new:
        log.info("%d new worksets: %s", len(new), few(sorted(new)))
    return new


async def _take(
    here: Host, entry: Found, there: Known | None, new: list[str], pending: list[str]
) -> bool | None:
    """Register a folder, or say why not; None: it is looked at again in the next cycle.

    Otherwise this process is done with it until the folder changes, and it says whether every
    other process is, too.
    """
    log, id_ = get_run_logger(), entry.workset_id
    if entry.refused:
        log.error("the folder %s is passed over: %s", entry.location, entry.refused)
    elif there is not None and there.location != entry.location:
        log.error(
            "the folder %s is passed over: a workset %s is known already, at %s; "
            "rename one of the two", entry.location, id_, there.location,
        )  # fmt: skip
        return False
    elif there is None:
        try:
            if not await here.at(entry.location, register, here, id_, entry.location):
                return None  # another process has just registered it, perhaps at another place
            new.append(id_)
        except SpecMissing:
            pending.append(id_)  # an upload on its way; looked at in every cycle
            return None
        except WorksetError as error:
            log.warning("%s could not be registered: %s; tried again", entry.location, error)
            return None
    elif entry.stamp and there.spec not in ("", entry.stamp):
        if not there.ended:
            return False  # what it is compared with is still to be read
        await tell_of_redelivery(here, id_)
    return True


async def in_time(look: Awaitable[T], what: str) -> T | None:
    """What a look at one folder finds; one that hangs, or at which we fail, is named: None."""
    try:
        async with asyncio.timeout(FOLDER_S):
            return await look
    except WorksetError:
        raise
    except TimeoutError:
        get_run_logger().error(
            "%s did not answer for %g s; it is looked at again in a later cycle. Does its file "
            "system hang?", what, FOLDER_S,
        )  # fmt: skip
    except Exception:  # whatever is in there: it is no other folder's affair
        get_run_logger().exception("%s could not be looked at; tried again", what)
    return None


def _candidate(root: str) -> Callable[[str], Found]:
    """A folder that had no `daylily_work.yaml` yet, by its name."""
    return lambda name: Found(name, f"{root}/{name}")


async def _look_at_some(here: Host, entries: list[Found]) -> None:
    """Look whether something new lies in the folders of a few worksets that have ended.

    By chance, so that many short polls come to all of them as well as one long poll does.
    """
    for entry in random.sample(entries, min(SAMPLE, len(entries))):
        with contextlib.suppress(WorksetNotFound, Unreadable):
            await in_time(tell_of_redelivery(here, entry.workset_id), entry.location)


async def tell_of_redelivery(here: Host, workset_id: str) -> None:
    """Say once that a workset that has ended was delivered again: nothing is done by itself."""
    record = await here.call(here.db.get, workset_id)
    if record.state not in FINAL or not record.delivery.spec:
        return
    try:
        change = await here.at(record.location, changed_since, here, record)
    except WorksetError:
        return  # its folder is gone or unreadable: that is nobody's delivery
    if not change or change == record.redelivered:
        return
    back = "restore" if record.state is State.IGNORED else "retry"
    note = (
        f"its folder {record.location} holds something new since it was {record.state.value}; "
        + (
            f"if that is a new delivery, `worksets retry {workset_id} --from-start` makes a new "
            f"workset of it, under the same name"
            if record.state is State.COMPLETE
            else f"if that puts it right, `worksets {back} {workset_id}` goes on with it"
        )
    )
    noted = await here.call(here.db.note_redelivery, workset_id, change, note)
    if noted is not None:
        get_run_logger().warning("%s: %s", workset_id, note)
        here.announce(Announcement(Kind.REDELIVERED, workset_id, note, noted))


def changed_since(here: Host, record: WorksetRecord) -> str:
    """A text for what lies in the folder now, if that is not what was described; blocks."""
    folder = here.open_folder(record.location)
    file = folder.read_spec()
    if file.stamp != record.delivery.spec:
        return file.stamp
    spec = read(here, folder, file).spec
    if record.delivery.asks and asks_of(spec) != record.delivery.asks:
        return asks_of(spec)  # the table of its samples has changed, or what stands for a default
    if not record.delivery.files:
        return ""
    inputs = inputs_of(spec, record.location, allowed(spec, here.settings))
    now = looked(folder.look([entry for entry in inputs if not entry.uri]))
    elsewhere = any(entry.uri for entry in inputs)
    return "" if elsewhere or now == record.delivery.files else now


def register(here: Host, workset_id: str, location: str) -> bool:
    """Put one workset into the state DB; whether it was new. Blocks.

    One whose file is not lawful is registered all the same: its validation tells what is wrong.
    """
    now = here.db.now()
    bare = new_record(workset_id, location, now, None)
    description: Description | None = None
    waits: Waits | None = None
    file: SpecFile | None = None
    try:
        folder = here.open_folder(location)
        file = folder.read_spec()
        spec = read(here, folder, file).spec
        delivery = Delivery(spec=file.stamp)
        description = describe(
            spec,
            here.settings.default_customer,
            here.settings.default_max_retries,
            delivery=delivery,
        )
        with contextlib.suppress(DataError):
            # before validation does: placement weighs what it costs to move its files
            found = check(here, bare)
            description = found.description
            waits = found.verdict if isinstance(found.verdict, Waits) else None
    except (SpecMissing, TransientError):
        raise
    except Exception:  # what is known of it so far is kept; its validation says what is wrong
        pass
    if waits is not None:
        here.look_again_in(waits.again_s)
        record = new_record(workset_id, location, now, description, waits.reason, waits.looked)
    else:
        record = new_record(workset_id, location, now, description)
    if description is None and file is not None:
        customer = named_customer(file.data) or here.settings.default_customer
        record = record.model_copy(update={"customer_id": customer})
    return here.db.register(record)
