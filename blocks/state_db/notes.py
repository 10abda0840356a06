"""The state DB's notes: small texts that all processes share, each under a key of its own.

None decides what becomes of a workset. Of two that are written at once one may be lost, and is
written again; of what a customer spends none is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from random import random
from time import sleep
from typing import Final

from pydantic import TypeAdapter, ValidationError

from blocks.state_db.store import Store
from worksets import claims
from worksets.budgets import Spent
from worksets.errors import TransientError
from worksets.estimates import Ratio, paces, remembered, with_ratio
from worksets.health import Health
from worksets.registration import digest

HEALTH: Final = "health"
"""Key of the note with what is known of the clusters, by name, as JSON."""
MAX_SWAPS: Final = 20
"""Times a note is changed anew, because another process was faster, before that is given up."""
CLEANED: Final = "cleaned"
"""Key of the note with the time (UTC) at which a poller began to clean last, and which."""
STARTS: Final = "starts"
"""Key of the note with what the pollers are about to start; see `worksets.claims`."""
_HEALTH: Final = TypeAdapter(dict[str, Health])


class Notes(Store):
    """What discovery, the clusters' watches and the estimates remember."""

    def cursor(self, source: str) -> str:
        """How far a watched place has been listed, for `Source.find`."""
        return self._get_note(source)

    def save_cursor(self, source: str, cursor: str) -> None:
        self._put_note(source, cursor)

    def pending(self, source: str) -> list[str]:
        """Folders of a watched place that had no `daylily_work.yaml` when they were looked at."""
        return (self._get_note(f"pending:{source}") or "").split()

    def save_pending(self, source: str, names: Iterable[str]) -> None:
        self._put_note(f"pending:{source}", " ".join(names))

    def settled(self, source: str, chunks: Iterable[str]) -> dict[str, str]:
        """Digests of the chunks of a watched place in which all is settled; see `worksets.listing`.

        One that was written a moment ago may be missing, or the one before.
        """
        keys = {_settled_key(source, chunk): chunk for chunk in chunks}
        return {keys[key]: text for key, text in self._get_notes(list(keys)).items()}

    def save_settled(self, source: str, chunk: str, text: str) -> None:
        self._put_note(_settled_key(source, chunk), text)

    def clusters_health(self) -> dict[str, Health]:
        """What is known of each cluster, by its name; what cannot be read is not known."""
        try:
            return dict(_HEALTH.validate_json(self._get_note(HEALTH) or "{}"))
        except ValidationError:
            return {}

    def save_clusters_health(self, found: Mapping[str, Health]) -> None:
        """Let all processes know; of two that come at once one may be lost: it is saved again."""
        text = _HEALTH.dump_json({**self.clusters_health(), **found}, exclude_defaults=True)
        self._put_note(HEALTH, text.decode())

    def drain(self, cluster_name: str, reason: str) -> None:
        """Have nothing new placed on a cluster, whatever its block says; what runs there goes on.

        Raises:
            ValueError: no reason is given.
        """
        if not reason:
            raise ValueError(f"cluster {cluster_name}: say why it is drained")
        self._put_note(_drained_key(cluster_name), reason)

    def undrain(self, cluster_name: str) -> None:
        """Take the operator's word back: it is placed on again."""
        self._put_note(_drained_key(cluster_name), "")

    def drained(self, cluster_names: Iterable[str]) -> dict[str, str]:
        """Those of the clusters that an operator has drained, with the reason."""
        keys = {_drained_key(name): name for name in cluster_names}
        found = self._get_notes(list(keys))
        return {keys[key]: reason for key, reason in found.items() if reason}

    def estimate_ratios(self, pipeline: str) -> tuple[Ratio, ...]:
        """vCPU-hours taken by those expected, of the last worksets of a pipeline that finished."""
        return remembered(self._get_note(_ratios_key(pipeline)))

    def add_estimate_ratio(self, pipeline: str, ratio: float, cluster_name: str) -> None:
        """Remember one more; of two that come at once one may be lost, which does no harm."""
        key = _ratios_key(pipeline)
        self._put_note(key, with_ratio(self._get_note(key), ratio, cluster_name))

    def paces(
        self, pipelines: Iterable[str], cluster_names: Sequence[str]
    ) -> dict[str, dict[str, float]]:
        """How long each pipeline takes on a cluster by what it usually takes, where that differs.

        By cluster, and by pipeline there; see `worksets.estimates.paces`.
        """
        keys = {_ratios_key(pipeline): pipeline for pipeline in pipelines}
        found: dict[str, dict[str, float]] = {}
        for key, note in self._get_notes(list(keys)).items():
            for name, pace in paces(remembered(note), cluster_names).items():
                found.setdefault(name, {})[keys[key]] = pace
        return found

    def may_clean(self, owner: str, now: datetime, every: timedelta) -> bool:
        """Whether no poller has begun to clean for so long; then `owner` has begun now."""
        own = f"{now.isoformat()} {owner}"
        before = self._first_note(CLEANED, own)
        if before == own:
            return True
        with suppress(ValueError, TypeError):  # one that cannot be read is of no time
            if now - datetime.fromisoformat(before.partition(" ")[0]) < every:
                return False
        return self._swap_note(CLEANED, before, own)

    def about_to_start(self) -> dict[str, claims.Claim]:
        """What the pollers are about to start, by the ids of worksets."""
        return claims.read(self._get_note(STARTS))

    def claim(
        self, owner: str, wanted: claims.Claims, now: datetime, gone: Collection[str] = ()
    ) -> set[str]:
        """Say all that a process is about to start; those of it that no other has claimed.

        `gone`: processes that live no more. Where too many come at once, all of it: nothing stands
        still for that, the locks decide.
        """
        for lost in range(MAX_SWAPS):
            if lost:
                sleep(random() / 50)
            before = self._get_note(STARTS) or self._first_note(STARTS, claims.written({}))
            theirs = claims.of_others(claims.read(before), owner, now, gone)
            text = claims.written(claims.claimed(theirs, wanted))
            if text == before or self._swap_note(STARTS, before, text):
                return wanted.keys() - theirs.keys()
        return set(wanted)

    def grown(self, pipeline: str) -> str:
        """What the last worksets of a pipeline that finished had needed more; `worksets.growth`."""
        return self._get_note(f"grown:{pipeline}")

    def save_grown(self, pipeline: str, note: str) -> None:
        """Of two that come at once one may be lost, which does no harm."""
        self._put_note(f"grown:{pipeline}", note)

    def spent(self, month: str, customers: Iterable[str]) -> dict[str, Spent]:
        """What these have spent in a month, of those of which it was noted."""
        keys = {_spent_key(month, name): name for name in customers}
        found = self._get_notes(list(keys))
        return {keys[key]: Spent.model_validate_json(text) for key, text in found.items() if text}

    def add_spent(self, month: str, customer: str, attempt: str, usd: float) -> None:
        """Count an attempt, named as its job is, exactly once, however often this is called."""
        self._change_spent(month, customer, lambda spent: spent.plus(attempt, usd))

    def budget_told(self, month: str, customer: str, level: int, budget_usd: float) -> None:
        """People know that so much (per cent) of this budget of a month is spent."""
        self._change_spent(month, customer, lambda spent: spent.known(level, budget_usd))

    def _change_spent(self, month: str, customer: str, change: Callable[[Spent], Spent]) -> None:
        """Change a note of which no change may be lost, until the change is there."""
        key = _spent_key(month, customer)
        for lost in range(MAX_SWAPS):
            before = self._get_note(key) or self._first_note(key, Spent().model_dump_json())
            spent = Spent.model_validate_json(before)
            after = change(spent)
            if after == spent:
                return
            if lost:
                sleep(random() / 50)  # many at once come apart
            self._swap_note(key, before, after.model_dump_json())
        raise TransientError(f"what {customer} spends is noted by too many at once; try again")


def _spent_key(month: str, customer: str) -> str:
    return f"spent:{month}:{customer}"


def _drained_key(cluster_name: str) -> str:
    return f"drained:{cluster_name}"


def _ratios_key(pipeline: str) -> str:
    return f"pipeline:{pipeline}"


def _settled_key(source: str, chunk: str) -> str:
    return (
        f"settled:{digest(f'{source} {chunk}')}"  # a key has a length, a name of a folder may not
    )
