"""The error classes of the Daylily description, and the small hierarchy that carries them.

An error says three things to an operator: what happened, to which workset or cluster, and what to
do next. Its class (`ErrorCategory`) alone decides whether the work is tried again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from worksets.texts import plain

MAX_DETAILS: Final = 4000
"""Characters of error text kept in a record (a DynamoDB item may not pass 400 KB)."""

FIRST_DELAY_S: Final = 2
MAX_DELAY_S: Final = 3600


class ErrorCategory(StrEnum):
    """Why something failed; TRANSIENT and RESOURCE are tried again, the others never."""

    TRANSIENT = "transient"
    RESOURCE = "resource"
    CONFIGURATION = "configuration"
    DATA = "data"
    PERMANENT = "permanent"

    @property
    def retryable(self) -> bool:
        return self in (ErrorCategory.TRANSIENT, ErrorCategory.RESOURCE)


class WorksetError(Exception):
    """Anything this project refuses or gives up on; `category` decides what happens next.

    Its text is fit for anybody (`worksets.texts`), whatever of a cluster's or a YAML's is in it.
    """

    category = ErrorCategory.PERMANENT
    job_absent = False
    """True where it is certain that the attempt's job does not exist."""

    def __init__(self, *told: object) -> None:
        super().__init__(*(plain(part) if isinstance(part, str) else part for part in told))


class ConfigurationError(WorksetError):
    """The workset or the settings ask for something that cannot be; correct them."""

    category = ErrorCategory.CONFIGURATION


class DataError(WorksetError):
    """The workset's own files are missing or damaged; deliver them again."""

    category = ErrorCategory.DATA


class TransientError(WorksetError):
    """Something outside hiccuped; the same call may work in a moment."""

    category = ErrorCategory.TRANSIENT


class ResourceError(WorksetError):
    """Memory, disk or time ran out on the way."""

    category = ErrorCategory.RESOURCE


class ClusterUnreachable(TransientError):
    """A cluster did not answer: its jobs are *unknown*, and no workset is charged for it."""


class JobUnknown(ClusterUnreachable):
    """A cluster answers, and of this one job nothing can be known: no other is touched by it."""


class ClusterRefused(WorksetError):
    """A cluster that answers takes no job now: no workset is charged, it is tried again later."""

    category = ErrorCategory.TRANSIENT


class PlaceAway(TransientError):
    """The place in which a workset lies does not answer: no workset is charged for it."""


class Refused(WorksetError):
    """The life cycle does not allow this change to this workset now."""


class FenceLost(Refused):
    """Another process holds the workset now; this one must not touch it any more."""


class AdmissionRefused(WorksetError):
    """A limit is reached; the workset stays ready and is started when a slot is free."""

    category = ErrorCategory.TRANSIENT


class WorksetNotFound(WorksetError):
    """No workset of that id is in the state DB."""

    category = ErrorCategory.CONFIGURATION


def retry_delay_s(retry: int) -> int:
    """Seconds to wait before the `retry`-th retry (1, 2, 3 …): 2, 4, 8 … at most 3600.

    Source: the Daylily description, "Exponential Backoff".
    """
    if retry < 1:
        raise ValueError("retries are counted from 1")
    # 2 ** 12 is above the cap already: no need to compute a number with a thousand digits
    return int(min(FIRST_DELAY_S ** min(retry, 12), MAX_DELAY_S))
