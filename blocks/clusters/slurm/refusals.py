"""What it means that sbatch took no job: a table, `refusals.yaml`, and an error for each class."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

import yaml
from pydantic import TypeAdapter

from blocks.clusters.base import SubmitUncertain
from worksets.errors import ClusterRefused, ClusterUnreachable, ConfigurationError, WorksetError
from worksets.record import Frozen


class Entry(Frozen):
    """A text of sbatch, and what it means."""

    says: str
    means: Literal["unreached", "uncertain", "refused", "settings"]
    remedy: str


UNKNOWN: Final = Entry(
    says="", means="refused", remedy="ask those who run the cluster what this message means"
)
ERRORS: Final[dict[str, type[WorksetError]]] = {
    "unreached": ClusterUnreachable,
    "uncertain": SubmitUncertain,
    "refused": ClusterRefused,
    "settings": ConfigurationError,
}


@cache
def table() -> tuple[Entry, ...]:
    text = (files("blocks.clusters.slurm") / "refusals.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)
    return tuple(TypeAdapter(list[Entry]).validate_python(found))


def refusal(what: str, said: str) -> WorksetError:
    """The error for what sbatch said when it took no job; `what` names the job and the cluster."""
    if not said:
        return SubmitUncertain(f"{what}: no answer; it is looked up again")
    entry = next((entry for entry in table() if entry.says in said), None)
    if entry is None and "error: " not in said and "sbatch: " not in said:
        return SubmitUncertain(f"{what}: {said}; it is looked up again")
    entry = entry or UNKNOWN
    return ERRORS[entry.means](f"{what}: {said}; {entry.remedy}")
