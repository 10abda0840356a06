"""claiming: of several pollers one alone starts a workset; see `worksets.claims`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta

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
        self._ours: dict[str, Claim] = {}

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
        before; of that, what is still ready is said again, for no longer than it was: a run that
        no worker takes keeps nobody from starting its workset.
        """
        here = self._here
        if not self.others or not starts:
            return starts.keys()
        now = here.db.now()
        until = now + timedelta(seconds=CLAIM_S)
        before = {id_: claim for id_, claim in self._ours.items() if id_ in under_way}
        self._ours = {
            id_: before.get(id_) or Claim(owner=here.owner, until=until, cluster_name=cluster)
            for id_, cluster in {**under_way, **starts}.items()
            if id_ in ready
        }
        return await here.call(here.db.claim, here.owner, self._ours, now)
