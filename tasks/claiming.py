"""claiming: of several pollers one alone starts a workset; see `worksets.claims`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from host import Host
from worksets.claims import CLAIM_S, Claim, of_others
from worksets.leases import is_over
from worksets.record import WorksetRecord


class Claiming:
    """What the other pollers are about to start, and what this one is."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self.others = True
        """Whether other processes live beside this one: one that is alone claims nothing."""
        self.theirs: dict[str, str] = {}
        """What others are about to start, as the last look has seen it, and on which cluster."""
        self._said: frozenset[str] = frozenset()
        self._until: dict[str, tuple[int, datetime]] = {}
        """By workset: as it stood when it was claimed first, and until when that holds."""
        self._gone: set[str] = set()

    async def look(self) -> None:
        """See what others are about to start: it is theirs, and so are the slots.

        Before one asks what is ready: what they have locked since is not, and stands here no more.
        """
        here = self._here
        said = await here.call(here.db.about_to_start)
        theirs = of_others(said, here.owner, here.db.now())
        if theirs:
            # what a process that is gone was about to start, it does not
            leases, now = await here.call(here.db.leases), here.db.now()
            alive = {owner for owner, end in leases.items() if not is_over(end, now)}
            self._gone = {claim.owner for claim in theirs.values()} - alive
            theirs = {id_: claim for id_, claim in theirs.items() if claim.owner in alive}
        self.others |= bool(theirs)
        self.theirs = {id_: claim.cluster_name for id_, claim in theirs.items()}

    async def claim(
        self,
        starts: Mapping[str, str],
        under_way: Mapping[str, str],
        ready: Mapping[str, WorksetRecord],
    ) -> Collection[str]:
        """Say what this poller starts now, and on which cluster; what of it is its own.

        Where it is alone, that is all of it, and nothing is said. `under_way`: what it has started
        before, and is not locked yet. As long as a workset stands as it stood, it is claimed once,
        for a minute: runs that no worker takes, or that break off again and again, keep nobody
        from starting it.
        """
        here, now = self._here, self._here.db.now()
        if not self.others:
            return starts.keys()
        on = {id_: cluster for id_, cluster in {**under_way, **starts}.items() if id_ in ready}
        if not starts and self._said <= on.keys():
            return starts.keys()
        first = now + timedelta(seconds=CLAIM_S)
        before = {
            id_: known
            for id_, known in self._until.items()
            if id_ in ready and ready[id_].version == known[0]
        }
        self._until = {id_: (ready[id_].version, first) for id_ in on} | before
        wanted = {
            id_: Claim(owner=here.owner, until=self._until[id_][1], cluster_name=cluster)
            for id_, cluster in on.items()
        }
        self._said = frozenset(wanted)
        return await here.call(here.db.claim, here.owner, wanted, now, self._gone)
