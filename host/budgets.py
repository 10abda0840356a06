"""What customers may still spend this month, where they have a budget: counted, and told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.logging import get_logger

from worksets.announcements import Announcement, Kind
from worksets.budgets import Budget, budgets, month_of, of_steps, spent_before, usd_per_hour
from worksets.capacity import ClusterView
from worksets.jobs import JobStatus
from worksets.record import WorksetRecord

if TYPE_CHECKING:
    from host.process import Host


class Budgets:
    """The budgets of one process's settings, by what the state DB says is spent."""

    def __init__(self, here: Host) -> None:
        self._here = here
        self.known: dict[str, Budget] = {}
        """As the last look has found them."""

    def _views(self) -> dict[str, ClusterView]:
        return {name: watch.cluster.view() for name, watch in self._here.watches.items()}

    async def look(self) -> None:
        """See what is spent, and what runs; tell people, at least once, when it is nearly all."""
        here, most = self._here, self._here.settings.budgets_usd
        if not most:
            self.known = {}
            return
        month = month_of(here.db.now())
        spent = await here.call(here.db.spent, month, most)
        if fresh := most.keys() - spent.keys():
            await self._begin(month, fresh)
            spent = await here.call(here.db.spent, month, most)
        held = await here.call(here.db.held)
        self.known = budgets(most, spent, held, self._views(), month)
        for name, budget in self.known.items():
            if name in spent and budget.level > spent[name].told:
                what = "nothing of it begins" if budget.left_usd <= 0 else "at 100 % nothing begins"
                message = f"budget of {name}: {budget}; {what}, what runs goes on"
                get_logger("host").warning("%s", message)
                here.announce(Announcement(Kind.BUDGET, name, message))
                await here.call(here.db.budget_told, month, name, budget.level)

    async def _begin(self, month: str, customers: set[str]) -> None:
        """Note what was spent before a budget was set: the settings may be new, the month is not.

        Whoever counts an attempt notes first and writes the record then, so that an attempt which
        the records know is never counted twice: that note would stand before this one.
        """
        here = self._here
        records = await here.call(here.db.list_worksets)
        before = spent_before(records, self._views(), month)
        for name in customers:
            await here.call(here.db.begin_spending, month, name, before.get(name, 0.0))

    async def count(self, record: WorksetRecord, status: JobStatus) -> None:
        """Count an attempt that is over, before its end is written; nothing without a budget."""
        here, name = self._here, record.customer_id
        if name not in here.settings.budgets_usd:
            return
        cluster = here.watch(record.cluster_name).cluster
        minutes = cluster.request(
            record.estimates, record.out_of_memory, record.out_of_time
        ).minutes
        now = here.db.now()
        usd = of_steps(status.steps, now, minutes, usd_per_hour(record, cluster.view()))
        month = month_of(now)
        if not await here.call(here.db.spent, month, [name]):
            await self._begin(month, {name})
        await here.call(here.db.add_spent, month, name, status.name, usd)
