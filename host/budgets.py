"""What customers may still spend this month, where they have a budget: counted, and told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prefect.logging import get_logger

from worksets.announcements import Announcement, Kind
from worksets.budgets import Budget, budgets, month_of, month_of_steps, of_steps
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

    async def look(self, begun: Iterable[WorksetRecord] = ()) -> None:
        """See what is spent, and what runs; tell people, at least once, when it is nearly all.

        `begun`: what this process has started on a cluster and does not hold yet.
        """
        here, most = self._here, self._here.settings.budgets_usd
        if not most:
            self.known = {}
            return
        month = month_of(here.db.now())
        spent = await here.call(here.db.spent, month, most)
        held = {record.workset_id: record for record in begun}
        held |= {record.workset_id: record for record in await here.call(here.db.held)}
        views = {name: here.view(name) for name in here.watches}
        self.known = await here.call(budgets, most, spent, held.values(), views, month)
        for name, budget in self.known.items():
            if name in spent and budget.level > spent[name].told_level(budget.usd):
                what = "nothing of it begins" if budget.left_usd <= 0 else "at 100 % nothing begins"
                message = f"budget of {name}: {budget}; {what}, what runs goes on"
                get_logger("host").warning("%s", message)
                here.announce(Announcement(Kind.BUDGET, name, message))
                await here.call(here.db.budget_told, month, name, budget.level, budget.usd)

    async def count(self, record: WorksetRecord, status: JobStatus) -> None:
        """Count an attempt that is over, before its end is written; nothing where it cost nothing.

        Whether its customer has a budget or not: it may be given one later in the month.
        """
        here, cluster = self._here, self._here.watch(record.cluster_name).cluster
        asked = cluster.request(record.estimates, record.out_of_memory, record.out_of_time)
        price = asked.vcpus * cluster.view().price_of_request(asked)
        if price > 0 and status.steps:
            usd = of_steps(status.steps, here.db.now(), asked.minutes, price)
            month, customer = month_of_steps(status.steps), record.customer_id
            await here.call(here.db.add_spent, month, customer, status.name, usd)
