"""Whose turn it is: priority first, then the customer that is served least, then the oldest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from heapq import heapify, heappop, heappush
from statistics import median
from typing import Final, NamedTuple

from worksets.costs import PlacementPolicy
from worksets.record import Priority, WorksetRecord

NOT_YET: Final = float("-inf")
BEHIND: Final = 1.0
"""Usual jobs that a customer was served less than the others, before it counts as behind."""
LAST_TO_END: Final = 1.5
"""A workset that takes so many times as long as all that waits would, shared out over all slots,
would be the last to end: it begins now, or everybody's last result comes later for it."""
LONG: Final = 2.0
"""The same in usual jobs: where few wait each of them would be the last, and none is an outlier."""
LEAD: Final = 2.0
"""Lengths of its own run before a workset is due, from which on it counts as urgent."""
FIRST: Final = float("-inf")
URGENT: Final = Priority.URGENT.rank
NORMAL: Final = Priority.NORMAL.rank
AGED: Final = 4
"""Times `aging_hours` after which anything counts as urgent: not before, or a long backlog of
normal worksets would stand beside what is urgent."""


class Entry(NamedTuple):
    """One workset in its customer's queue; the least comes first."""

    minus_late: float
    """Hours of a workset that would be the last to end, negative; 0 of any other."""
    rank: int
    minus_waited: float
    """Hours since it was found, negative."""
    workset_id: str
    record: WorksetRecord


@dataclass(frozen=True)
class Served:
    """What customers have had: what they hold now, and what they were given lately.

    In usual jobs: one is as long as the median of those that wait. What was given lately counts in
    whole ones, so that customers that have had about the same are served alike.
    """

    held: Mapping[str, int]
    hours: Mapping[str, float]
    weights: Mapping[str, float]
    usual_h: float

    def by_weight(self) -> dict[str, float]:
        """Usual jobs of each customer, by its weight."""
        return {
            name: self.held.get(f"customer:{name}", 0) / weight
            + self.hours.get(name, 0.0) / self.usual_h // weight
            for name, weight in self.weights.items()
        }


class Turns:
    """Ready worksets in the order in which slots are offered to them.

    - Priority: a low workset counts as normal after `aging_hours` of waiting, and any as urgent
      after four times as many, so that none is passed over for ever. The low ones of a customer
      that is behind the mean of those that wait count as normal: by its own priorities a customer
      orders its own work, and loses nothing of its share. What is urgent goes before all else.
    - What is due counts as urgent from the moment on at which its run, and as long again for what
      may come between (`LEAD`), is all the time that is left; and when it is late.
    - Of one priority, first what would be the last to end (`LAST_TO_END`), the longest first; a
      low one of these counts as normal.
    - Customers of one priority: least served first. Served is what the customer holds and what it
      was given lately, by its weight, and one less for every whole `aging_hours` that its workset
      has waited: who waits long enough comes first however much its customer has had.
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
        lately: Mapping[str, float],
        hours: Callable[[WorksetRecord], float],
        slots: int,
    ) -> None:
        ready = list(ready)
        lengths = [hours(record) for record in ready]
        known = [length for length in lengths if length > 0]
        usual_h = median(known) if known else 1.0
        self._weights = weights
        self._served = Served(held, lately, weights, usual_h).by_weight()
        self._policy = policy
        self._premium = premium
        self._classes: dict[int, dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
        behind = self._behind({record.customer_id for record in ready})
        last_h = max(LAST_TO_END * sum(known) / max(slots, 1), LONG * usual_h)
        for record, length in zip(ready, lengths, strict=True):
            waited = max(0.0, (now - record.created_at).total_seconds() / 3600)
            rank = effective_rank(record.priority, waited, policy)
            if presses(record, length, policy, now):
                rank = URGENT
            minus_late = -length if length >= last_h else 0.0
            entry = Entry(minus_late, rank, -waited, record.workset_id, record)
            if minus_late or record.customer_id in behind:
                rank = min(rank, NORMAL)
            self._classes[rank][record.customer_id].append(entry)

    def started(self, customer_id: str) -> None:
        self._served[customer_id] += 1 / self._weights[customer_id]

    def __iter__(self) -> Iterator[WorksetRecord]:
        for rank, queues in sorted(self._classes.items()):
            for queue in queues.values():
                queue.sort(key=lambda entry: entry[:4], reverse=True)
            hour_usd = self._policy.waiting_usd(list(Priority)[rank])
            heap = [self._key(customer, queue) for customer, queue in queues.items()]
            heapify(heap)
            while heap:
                served, tie, _, customer = heappop(heap)
                _, _, minus_waited, workset_id, record = queues[customer][-1]
                if tie == NOT_YET:
                    # only those that are served alike need to be told apart
                    tie = minus_waited + self._worth(record, hour_usd)
                    heappush(heap, (served, tie, workset_id, customer))
                    continue
                queues[customer].pop()
                yield record
                if queues[customer]:
                    heappush(heap, self._key(customer, queues[customer]))

    def _behind(self, customers: set[str]) -> set[str]:
        """Those of the customers that were served less than the mean of them."""
        mean = sum(self._served[name] for name in customers) / max(len(customers), 1)
        return {name for name in customers if mean - self._served[name] >= BEHIND}

    def _key(self, customer: str, queue: list[Entry]) -> tuple[float, float, str, str]:
        if queue[-1].minus_late:
            return FIRST, queue[-1].minus_late, "", customer
        aged = int(-queue[-1].minus_waited / self._policy.aging_hours)
        return self._served[customer] - aged, NOT_YET, "", customer

    def _worth(self, record: WorksetRecord, hour_usd: float) -> float:
        """Hours of waiting that are worth its premium; without a price of waiting, the most."""
        premium, most = self._premium(record), self._policy.aging_hours
        if premium <= 0:
            return 0.0
        return min(premium / hour_usd, most) if hour_usd else most


def effective_rank(priority: Priority, waited_hours: float, policy: PlacementPolicy) -> int:
    """The rank of a priority after so many hours; 0 is the most urgent."""
    if waited_hours >= AGED * policy.aging_hours:
        return URGENT
    return min(priority.rank, NORMAL) if waited_hours >= policy.aging_hours else priority.rank


def presses(record: WorksetRecord, length_h: float, policy: PlacementPolicy, now: datetime) -> bool:
    """Whether it must begin now, or its result may come after it is due.

    Where the length of its run, in hours, is not known (0), that is `aging_hours` before. A
    priority that was set by hand stands.
    """
    if record.due is None or record.priority_by_hand:
        return False
    left_h = (record.due - now).total_seconds() / 3600
    return left_h <= (LEAD * length_h or policy.aging_hours)


def jain_index(values: Iterable[float]) -> float:
    """Jain's index of fairness, (Σx)² / (n·Σx²): 1 for equal shares, 1/n if one has everything.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination, 1984.
    1 for no shares at all.
    """
    shares = list(values)
    squares = sum(x * x for x in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0
