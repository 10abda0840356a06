"""The error classes of the Daylily description, and the small hierarchy that carries them.

An error says three things to an operator: what happened, to which workset or cluster, and what to
do next. Its class (`ErrorCategory`) alone decides whether the work is tried again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

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
    """Anything this project refuses or gives up on; `category` decides what happens next."""

    category = ErrorCategory.PERMANENT
    job_absent = False
    """True where it is certain that the attempt's job does not exist."""


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


# Meaning of a step's exit code, by sysexits.h (BSD) and by the shell's 128 + signal convention.
EXIT_CODES: Final[dict[int, tuple[ErrorCategory, str]]] = {
    64: (ErrorCategory.CONFIGURATION, "the command line is wrong; correct the pipeline's command"),
    65: (ErrorCategory.DATA, "the input is damaged; deliver the FASTQ files again"),
    66: (ErrorCategory.DATA, "an input file is missing; deliver it again"),
    69: (ErrorCategory.TRANSIENT, "a service was unavailable"),
    70: (ErrorCategory.PERMANENT, "the program has a fault of its own; see the log"),
    71: (ErrorCategory.TRANSIENT, "the operating system refused a call"),
    73: (ErrorCategory.RESOURCE, "an output file could not be created; is the disk full?"),
    74: (ErrorCategory.TRANSIENT, "reading or writing a file failed"),
    75: (ErrorCategory.TRANSIENT, "the program asks to be tried again later"),
    77: (ErrorCategory.CONFIGURATION, "permission was denied; check the folders' owners"),
    78: (ErrorCategory.CONFIGURATION, "the program is configured wrongly; correct its settings"),
    126: (ErrorCategory.CONFIGURATION, "the command is not executable; correct the pipeline"),
    127: (ErrorCategory.CONFIGURATION, "the command was not found; correct the pipeline"),
    137: (ErrorCategory.RESOURCE, "killed (signal 9), mostly for want of memory"),
    143: (ErrorCategory.TRANSIENT, "stopped from outside (signal 15)"),
}


def classify_exit(exit_code: int) -> tuple[ErrorCategory | None, str]:
    """Class and remedy of a step's exit code; the class is None where no table knows it.

    A negative code is a signal, as Python's `subprocess` reports it.
    """
    code = 128 - exit_code if exit_code < 0 else exit_code
    known = EXIT_CODES.get(code)
    if known is None:
        return None, "no table knows this exit code; read the step's log"
    return known
