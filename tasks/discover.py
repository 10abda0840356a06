"""discover: register the worksets that have appeared in the watched folders."""

from __future__ import annotations

import contextlib

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from blocks.folders import Source, SpecMissing
from blocks.host import Host, host
from tasks.retry import DELAYS_S, RETRIES, only_transient
from tasks.validate import check_files, described
from worksets.errors import ConfigurationError, DataError, WorksetError
from worksets.registration import Description, describe, new_record
from worksets.spec import parse_spec


@task(
    name="discover",
    retries=RETRIES,
    retry_delay_seconds=DELAYS_S,
    retry_condition_fn=only_transient,
    cache_policy=NO_CACHE,
    timeout_seconds=600,
)
async def discover(seen: dict[str, str]) -> list[str]:
    """Ids of the worksets that are new; `seen` remembers, for the next call, what is not.

    A folder that cannot be taken is told once and passed over; it holds up no other.
    """
    here, log = host(), get_run_logger()
    new: list[str] = []
    failed: list[WorksetError] = []
    for source in here.sources:
        try:
            new += await _from_source(here, source, seen)
        except WorksetError as error:
            # one place that cannot be read holds up no other, and no workset that is known
            log.error("%s is passed over in this cycle: %s", source.root, error)
            failed.append(error)
    if failed and len(failed) == len(here.sources):
        raise failed[-1]
    if new:
        log.info("%d new worksets: %s", len(new), ", ".join(new[:20]))
    return new


async def _from_source(here: Host, source: Source, seen: dict[str, str]) -> list[str]:
    log, new = get_run_logger(), []
    before = await here.call(here.db.cursor, source.root)
    found, after = await here.call(source.find, before)
    fresh = [(id_, location) for id_, location in found if seen.get(location) != id_]
    known = await here.call(here.db.known, [id_ for id_, _ in fresh])
    for id_, location in fresh:
        if not id_:
            log.error(
                "the folder %s is passed over: its name must be 1 to 64 letters, digits, '.', "
                "'_' or '-'; rename it", location,
            )  # fmt: skip
        elif known.get(id_, location) != location:
            log.error(
                "the folder %s is passed over: a workset %s is known already, at %s; "
                "rename one of the two", location, id_, known[id_],
            )  # fmt: skip
        elif id_ not in known:
            try:
                if await here.call(register, here, id_, location):
                    new.append(id_)
            except SpecMissing:
                continue  # an upload on its way; looked at again
        # only now: what a hiccup kept from being registered is found again
        seen[location] = id_
    if after != before:
        await here.call(here.db.save_cursor, source.root, after)
    return new


def register(here: Host, workset_id: str, location: str) -> bool:
    """Put one workset into the state DB; whether it was new. Blocks.

    One whose file is not lawful is registered all the same: its validation tells what is wrong.
    """
    description: Description | None = None
    try:
        folder = here.open_folder(location)
        spec = parse_spec(folder.read_spec()).spec
        description = describe(
            spec, here.settings.default_customer, here.settings.default_max_retries
        )
        sizes = None
        if here.config.enable_validation:
            with contextlib.suppress(DataError):
                # before validation does: placement weighs what it costs to move them
                sizes = check_files(spec, folder)
        description = described(here, spec, sizes)
    except SpecMissing:
        raise
    except ConfigurationError:
        pass  # what is known of it so far is kept
    return here.db.register(new_record(workset_id, location, here.db.now(), description))
