"""Whose turn it is: priority first, then the customer that is served least, then the oldest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Final

from worksets.costs import PlacementPolicy
from worksets.record import Priority, WorksetRecord

Entry = tuple[float, str, WorksetRecord]
"""Hours waited, negative; id; record."""
NOT_YET: Final = float("-inf")


class Turns:
    """Ready worksets in the order in which slots are offered to them.

    - Priority: a workset counts as one higher after every `aging_hours` of waiting, so that a low
      one is not passed over for ever.
    - Customers of one priority: least served first. Served is what the customer holds, by its
      weight, and one less for every whole `aging_hours` that its workset has waited: who waits
      long enough comes first however much its customer holds elsewhere.
    - Customers served alike: who waits longest, counting less for hours that are worth no more
      than the `premium` (US dollars) it would pay for a slot of now (`aging_hours` at the most).
    - One customer's worksets of one priority: the oldest first, whatever it costs.

    A reader that starts a workset tells so by `started`; it counts from then on.
    """

    def __init__(
        self,
        ready: Iterable[WorksetRecord],
        held: Mapping[str, int],
        weights: Mapping[str, float],
        policy: PlacementPolicy,
        now: datetime,
        premium: Callable[[WorksetRecord], float],
    ) -> None:
        self._served = {name: held.get(f"customer:{name}", 0) for name in weights}
        self._weights = weights
        self._policy = policy
        self._premium = premium
        self._classes: dict[int, dict[str, list[Entry]]] = {}
        for record in ready:
            waited = max(0.0, (now - record.created_at).total_seconds() / 3600)
            rank = effective_rank(record.priority, waited, policy)
            of_rank = self._classes.setdefault(rank, defaultdict(list))
            of_rank[record.customer_id].append((-waited, record.workset_id, record))

    def started(self, customer_id: str) -> None:
        self._served[customer_id] += 1

    def __iter__(self) -> Iterator[WorksetRecord]:
        for rank, queues in sorted(self._classes.items()):
            for queue in queues.values():
                queue.sort(key=lambda entry: entry[:2], reverse=True)
            hour_usd = self._policy.waiting_usd(list(Priority)[rank])
            heap = [self._key(customer, queue) for customer, queue in queues.items()]
            heapify(heap)
            while heap:
                served, tie, _, customer = heappop(heap)
                minus_waited, workset_id, record = queues[customer][-1]
                if tie == NOT_YET:
                    # only those that are served alike need to be told apart
                    tie = minus_waited + self._worth(record, hour_usd)
                    heappush(heap, (served, tie, workset_id, customer))
                    continue
                queues[customer].pop()
                yield record
                if queues[customer]:
                    heappush(heap, self._key(customer, queues[customer]))

    def _key(self, customer: str, queue: list[Entry]) -> tuple[float, float, str, str]:
        aged = int(-queue[-1][0] / self._policy.aging_hours)
        served = self._served[customer] / self._weights[customer] - aged
        return served, NOT_YET, "", customer

    def _worth(self, record: WorksetRecord, hour_usd: float) -> float:
        """Hours of waiting that are worth its premium; without a price of waiting, the most."""
        premium, most = self._premium(record), self._policy.aging_hours
        if premium <= 0:
            return 0.0
        return min(premium / hour_usd, most) if hour_usd else most


def effective_rank(priority: Priority, waited_hours: float, policy: PlacementPolicy) -> int:
    """The rank of a priority after so many hours; 0 is the most urgent."""
    return max(0, priority.rank - int(waited_hours / policy.aging_hours))


def jain_index(values: Iterable[float]) -> float:
    """Jain's index of fairness, (Σx)² / (n·Σx²): 1 for equal shares, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination, 1984.
    1 for no shares at all.
    """
    shares = list(values)
    squares = sum(x * x for x in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
