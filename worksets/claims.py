"""What pollers are about to start: each tells the others, so that no two start the same.

From the decision to start a workset until its lock is a second or more, in which another poller
would start it too, and for the same slot. The lock decides; a claim only spares a flow run that
would find its workset taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Final

from pydantic import TypeAdapter, ValidationError

from worksets.leases import CLOCK_SKEW_S
from worksets.record import Stored, Utc

CLAIM_S: Final = 60.0
"""Seconds in which a workset that was claimed is locked; then anybody may start it."""
MOST: Final = 1000
"""Claims in a note: of an item of DynamoDB, which has 400 KB, a half."""


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


def of_others(
    claims: Claims, owner: str, now: datetime, gone: Collection[str] = ()
) -> dict[str, Claim]:
    """Those of other processes that hold still; `gone`: processes that live no more.

    By this process's clock: one of a process whose clock is far ahead does not hold.
    """
    latest = now + timedelta(seconds=CLAIM_S + CLOCK_SKEW_S)
    return {
        id_: one
        for id_, one in claims.items()
        if one.owner not in (owner, *gone) and now < one.until <= latest
    }


def claimed(theirs: Claims, wanted: Claims) -> dict[str, Claim]:
    """After a process has said all that it is about to start, beside those of others.

    What others claim is theirs. Of very many the last ones stay unsaid: a note has a size.
    """
    new = [(id_, one) for id_, one in wanted.items() if id_ not in theirs]
    return {**dict(new[: max(0, MOST - len(theirs))]), **theirs}
