"""Room on clusters for worksets that ask for unlike amounts, filled one at a time, at little cost.

`worksets.slots` is exact where each takes one slot. Where they take more or less of vCPUs, memory
and GPUs the question is the generalised assignment problem, for which no quick exact way is known
(Martello, Toth: Knapsack Problems, 1990, 7). Here a workset takes its cheapest cluster that has
room. Where none has, the worksets of two clusters are placed anew with it among them; and at the
end those of two and of three clusters, as long as that costs less: each time the best of what is
tried by branch and bound, the largest first. docs/decisions.md has how near it comes to HiGHS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final

Amounts = tuple[float, float, float, float]
"""Of a workset or of a cluster: slots, vCPUs, GB of memory, GPUs."""
NODES: Final = 300
"""Branches that are looked at for one set of clusters: enough for a dozen worksets."""
MOST: Final = 100_000
"""The same in one plan while worksets are added, with the worksets of each set, and as many again
at its end: about a third of a second each."""
SMALL: Final = 12
"""So many worksets are placed anew all together, if nothing less helps and at the end."""
THOROUGH: Final = 3000
"""Branches that are looked at then."""
ROUNDING: Final = 1e-6


class Rooms:
    """Clusters 0 … n-1, and who was given room there."""

    full_for_good = 0
    """As in `Slots`; here that is not known."""

    def __init__(self, room: Sequence[Amounts], used: Sequence[int]) -> None:
        self._left = [list(amounts) for amounts in room]
        self._used = used
        self._on: list[set[int]] = [set() for _ in room]
        self._where: list[int] = []
        self._costs: list[Mapping[int, int]] = []
        self._takes: list[Mapping[int, Amounts]] = []
        self._no_room: set[tuple[frozenset[int], tuple[Amounts, ...]]] = set()
        self._spent = 0

    @property
    def none_free(self) -> bool:
        """Whether no cluster has a slot left, be there room or not."""
        return all(left[0] < 1 - ROUNDING for left in self._left)

    def add(self, costs: Mapping[int, int], takes: Mapping[int, Amounts]) -> bool:
        """Give a workset room on one of the clusters that `costs` names, in millionths of a dollar.

        `takes`: what it takes there. False if no room was found, whoever was moved.
        """
        kind = (frozenset(costs), tuple(takes.values()))
        if not costs or kind in self._no_room:
            return False
        workset = len(self._where)
        self._costs.append(costs)
        self._takes.append(takes)
        self._where.append(-1)
        fits = [n for n in costs if self._fits(takes[n], self._left[n])]
        if fits:
            self._put(workset, min(fits, key=lambda n: (costs[n], self._load(n), n)))
            return True
        for some in self._beside(costs):
            if self._spent > MOST:
                break  # whoever comes later may still have what is free
            if self._anew(some, workset):
                return True
        self._no_room.add(kind)  # what is given away later makes it no better
        for kept in (self._costs, self._takes, self._where):
            kept.pop()
        return False

    def settled(self) -> list[int]:
        """The cluster of each workset, in the order in which they were added; none comes after."""
        every = range(len(self._left))
        self._spent = 0
        for size in (2, 3):
            better = True
            while better:
                better = False
                for some in combinations(every, size):
                    better |= self._anew(some)
        if len(self._where) <= SMALL:
            self._anew(tuple(every))
        return self._where

    def _beside(self, costs: Mapping[int, int]) -> Iterator[tuple[int, ...]]:
        """Clusters whose worksets may make room for one more on the first of them."""
        every = range(len(self._left))
        for n in sorted(costs, key=costs.__getitem__):
            for other in every:
                if other != n:
                    yield (n, other)
        if len(self._where) <= SMALL:
            yield tuple(every)

    def _anew(self, clusters: tuple[int, ...], more: int | None = None) -> bool:
        """Place those on some clusters anew, at less cost; or with one more, at any."""
        here = [workset for n in clusters for workset in self._on[n]]
        if (more is None and len(here) < 2) or self._spent > MOST:
            return False
        now = sum(self._costs[workset][self._where[workset]] for workset in here)
        if more is not None:
            here.append(more)
        self._spent += len(here)
        room = {n: self._emptied(n) for n in clusters}
        found = self._best(here, room, None if more is not None else now)
        if found is None:
            return False
        for workset in here:
            if self._where[workset] >= 0:
                self._take_away(workset)
        for workset, n in found.items():
            self._put(workset, n)
        return True

    def _best(
        self, worksets: Iterable[int], room: dict[int, list[float]], below: int | None
    ) -> dict[int, int] | None:
        """The cheapest way that is found to place these in this room, if it costs less than so."""
        ways = {
            workset: sorted((c, n) for n, c in self._costs[workset].items() if n in room)
            for workset in worksets
        }
        if not all(ways.values()):
            return None
        # the hardest first: those with one way, then those that take most of what there is
        order = sorted(
            ways, key=lambda workset: (len(ways[workset]) > 1, -self._share(workset, room))
        )
        rest = [0] * (len(order) + 1)
        for place in reversed(range(len(order))):
            rest[place] = rest[place + 1] + ways[order[place]][0][0]
        if below is not None and rest[0] >= below:
            return None
        best: dict[int, int] | None = None
        at: dict[int, int] = {}
        until = self._spent + (THOROUGH if len(order) <= SMALL + 1 else NODES)

        def deeper(place: int, cost: int) -> None:
            nonlocal best, below
            if place == len(order):
                best, below = dict(at), cost
                return
            workset = order[place]
            for price, n in ways[workset]:
                self._spent += 1
                total = cost + price
                if self._spent > until or (below is not None and total + rest[place + 1] >= below):
                    return
                takes, left = self._takes[workset][n], room[n]
                if self._fits(takes, left):
                    room[n] = [have - amount for have, amount in zip(left, takes, strict=True)]
                    at[workset] = n
                    deeper(place + 1, total)
                    room[n] = left

        if len(order) <= NODES:
            deeper(0, 0)
        return best

    def _share(self, workset: int, room: Mapping[int, Sequence[float]]) -> float:
        """The part of a cluster that it takes, of what it takes most of, where that is least."""
        return min(
            max(a / (b or 1.0) for a, b in zip(takes, room[n], strict=True))
            for n, takes in self._takes[workset].items()
            if n in room
        )

    def _load(self, n: int) -> float:
        held = self._used[n] + len(self._on[n])
        return held / max(held + self._left[n][0], 1)

    def _emptied(self, n: int) -> list[float]:
        taken = zip(*(self._takes[workset][n] for workset in self._on[n]), strict=True)
        sums = [sum(amounts) for amounts in taken] or [0.0] * len(self._left[n])
        return [have + amount for have, amount in zip(self._left[n], sums, strict=True)]

    @staticmethod
    def _fits(takes: Amounts, left: Sequence[float]) -> bool:
        slots, vcpus, memory, gpus = left
        return (
            takes[1] <= vcpus + ROUNDING
            and takes[2] <= memory + ROUNDING
            and takes[0] <= slots
            and takes[3] <= gpus
        )

    def _put(self, workset: int, n: int) -> None:
        for place, amount in enumerate(self._takes[workset][n]):
            self._left[n][place] -= amount
        self._on[n].add(workset)
        self._where[workset] = n

    def _take_away(self, workset: int) -> None:
        n = self._where[workset]
        for place, amount in enumerate(self._takes[workset][n]):
            self._left[n][place] += amount
        self._on[n].discard(workset)
