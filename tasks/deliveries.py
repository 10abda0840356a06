"""Worksets whose files are still on their way, or that are stuck: looked at again, cheaply."""

from __future__ import annotations

from prefect import get_run_logger

from host import Host
from tasks.validate import check
from worksets.delivery import Waits
from worksets.errors import Refused, TransientError, WorksetError
from worksets.record import WorksetRecord


async def look_at_delivery(here: Host, record: WorksetRecord) -> bool:
    """Look again at what one workset waits for, and write what is found.

    False: something is wrong with it, which its validation is to say.
    """
    try:
        found = await here.at(record.location, check, here, record)
        waits = found.verdict
        if isinstance(waits, Waits):
            here.look_again_in(waits.again_s)
            if (waits.reason, waits.looked) != (record.awaits, record.looked):
                await here.call(
                    here.db.await_delivery, record.workset_id, waits.reason, waits.looked
                )
            return True
        if not record.awaits and found.description.matches(record):
            return True
        told = "all its files are there" if record.awaits else "what it needs is reckoned anew"
        get_run_logger().info("%s: %s", record.workset_id, told)
        await here.call(here.db.describe, record.workset_id, found.description)
    except TransientError as error:
        get_run_logger().warning("%s could not be looked at: %s", record.workset_id, error)
    except Refused:
        return True  # somebody was faster
    except WorksetError:
        return False
    return True
