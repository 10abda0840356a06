"""What pollers are about to start: each tells the others, so that no two start the same.

From the decision to start a workset until its lock is a second or more, in which another poller
would start it too, and for the same slot. The lock decides; a claim only spares a flow run that
would find its workset taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from pydantic import TypeAdapter, ValidationError

from worksets.record import Stored, Utc

CLAIM_S: Final = 60.0
"""Seconds in which a workset that was claimed is locked; then anybody may start it."""


class Claim(Stored):
    """Who is about to start a workset, where, and until when nobody else does."""

    owner: str
    until: Utc
    cluster_name: str = ""
    """Empty: it needs no slot, for validation will refuse it."""


Claims = Mapping[str, Claim]
"""By the ids of worksets."""
_CLAIMS: Final = TypeAdapter(dict[str, Claim])


def read(text: str) -> dict[str, Claim]:
    """The claims of a note; of one that cannot be read, none: the locks decide."""
    try:
        return _CLAIMS.validate_json(text or "{}")
    except ValidationError:
        return {}


def written(claims: Claims) -> str:
    """The note of these."""
    return _CLAIMS.dump_json(dict(sorted(claims.items()))).decode()


def of_others(claims: Claims, owner: str, now: datetime) -> dict[str, Claim]:
    """Those of other processes that still hold."""
    return {id_: one for id_, one in claims.items() if one.owner != owner and now < one.until}


def claimed(claims: Claims, wanted: Claims, owner: str, now: datetime) -> dict[str, Claim]:
    """After a process has said all that it is about to start: what others claim is theirs."""
    return {**wanted, **of_others(claims, owner, now)}
