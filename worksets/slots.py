"""Free slots, filled one workset at a time and always at the least total cost.

A workset takes its cheapest cluster if a slot is free there. If not, it moves others on along the
shortest path to a free slot, on a graph of the clusters: the length of a -> b is the least that
moving one of the worksets placed on a to b would cost. So one that fits on one cluster only starts
although it came later, and the total is the least there is: a minimum-cost flow by successive
shortest paths (Ahuja, Magnanti, Orlin: Network Flows, 1993, 9.7), with as few nodes as there are
clusters. Prices of full clusters, the duals of the flow, change no result; they save searches, for
where cost and price together are least and a slot is free, nobody need be moved.
docs/decisions.md has the times beside SciPy's `linear_sum_assignment` and HiGHS.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


class Slots:
    """Slots of clusters 0 … n-1, and who was given one."""

    def __init__(self, free: list[int], used: list[int]) -> None:
        self.free = free
        self.where: list[int] = []
        """The cluster of each workset, in the order in which they were added."""
        self.full_for_good = 0
        """Clusters (bits) on which nothing can be placed any more, whoever is moved."""
        self._used = used
        self._on: list[set[int]] = [set() for _ in free]
        self._costs: list[Mapping[int, int]] = []
        self._price = [0] * len(free)
        self._stale: set[int] = set()

    @property
    def none_free(self) -> bool:
        """Whether all have been given away."""
        return not any(self.free)

    @cached_property
    def _graph(self) -> _Graph:
        return _Graph(len(self.free))

    def settled(self) -> list[int]:
        """The cluster of each workset, in the order in which they were added."""
        return self.where

    def add(self, costs: Mapping[int, int]) -> bool:
        """Give a workset a slot on one of the clusters that `costs` names.

        Costs are whole numbers, millionths of a dollar: their sums are exact, and no path seems a
        hair cheaper than itself. Among equals the emptiest cluster is taken. False if there is no
        slot, whoever is moved; nothing has changed then but `full_for_good`.
        """
        least = min((cost + self._price[n] for n, cost in costs.items()), default=0)
        best = [n for n, cost in costs.items() if cost + self._price[n] == least and self.free[n]]
        path = [min(best, key=self._load)] if best else self._make_room(costs)
        if not path:
            return False
        for start, end in reversed(list(pairwise(path))):
            mover = self._graph.mover(self._on[start], start, end)
            self._on[start].remove(mover)
            self._on[end].add(mover)
            self.where[mover] = end
        self._on[path[0]].add(len(self.where))
        self.where.append(path[0])
        self._costs.append(costs)
        self.free[path[-1]] -= 1
        self._used[path[-1]] += 1
        self._stale.update(path)
        return True

    def _load(self, n: int) -> tuple[float, int]:
        return self._used[n] / max(self._used[n] + self.free[n], 1), n

    def _make_room(self, costs: Mapping[int, int]) -> list[int]:
        """The clusters along the cheapest path to a free slot: each gives one workset to the next.

        Empty if there is none. With the prices no length is below 0, so nothing is looked at that
        lies further than a free slot does.
        """
        import numpy as np

        lengths = self._graph.lengths(self._costs, self._on, self._stale)
        price, every = np.array(self._price), np.arange(len(self._price))
        free = np.flatnonzero(self.free)
        away = _row(costs, len(price))
        before = np.full(len(price), -1)
        far = away + price
        nearer = np.flatnonzero(far < far[free].min(initial=np.inf))
        while len(nearer):
            through = lengths[nearer]
            through += away[nearer, None]
            by = through.argmin(axis=0)
            new = through[by, every]
            better = np.flatnonzero(new < away)
            away[better] = new[better]
            before[better] = nearer[by[better]]
            far[better] = away[better] + price[better]
            nearer = better[far[better] < far[free].min(initial=np.inf)]
        nearest = far[free].min(initial=np.inf)
        if nearest == np.inf:
            self.full_for_good |= sum(1 << int(n) for n in np.flatnonzero(far < np.inf))
            return []
        self._price = (price + np.maximum(nearest - far, 0)).astype(int).tolist()
        ends = [int(n) for n in free[far[free] == nearest]]
        path = [min(ends, key=self._load)]
        while (previous := int(before[path[0]])) >= 0:
            path.insert(0, previous)
        return path


class _Graph:
    """What it costs least to move one of the worksets on one cluster to another."""

    def __init__(self, size: int) -> None:
        import numpy as np  # a quarter of a second, and often not needed

        self._costs = np.full((64, size), np.inf)
        self._lengths = np.full((size, size), np.inf)
        self._rows = 0

    def mover(self, on: set[int], start: int, end: int) -> int:
        """Which of the worksets on `start` costs least to move to `end`."""
        here = list(on)
        return here[int((self._costs[here, end] - self._costs[here, start]).argmin())]

    def lengths(
        self, costs: list[Mapping[int, int]], on: list[set[int]], stale: set[int]
    ) -> Matrix:
        """All of them, those from the clusters whose worksets have changed made anew."""
        import numpy as np

        while len(self._costs) < len(costs):
            self._costs = np.vstack([self._costs, np.full_like(self._costs, np.inf)])
        for workset in range(self._rows, len(costs)):
            self._costs[workset, list(costs[workset])] = list(costs[workset].values())
        self._rows = len(costs)
        for start in stale:
            if on[start]:
                moves = self._costs[list(on[start])]
                moves -= moves[:, start, None]
                moves.min(axis=0, out=self._lengths[start])
        stale.clear()
        return self._lengths


def _row(costs: Mapping[int, int], size: int) -> Matrix:
    import numpy as np

    row = np.full(size, np.inf)
    row[list(costs)] = list(costs.values())
    return row
