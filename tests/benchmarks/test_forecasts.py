"""The benchmark of the forecast: right where everything is known, and told where it is not."""

from benchmarks.forecasts import foretold
from benchmarks.trace import Cluster, Workset
from worksets.record import Priority


def workset(n, arrival_s, hours=8.0, customer="acme", priority=Priority.NORMAL):
    return Workset(n, arrival_s, f"w{n}", customer, priority, hours, 1.0, 0.0, "", "hg38")


ONE_SLOT = [Cluster("c", "", 8, 64, 1, 0.05, frozenset())]


def test_a_queue_that_nobody_joins_is_foretold_exactly():
    found = foretold([workset(n, 0.0) for n in range(6)], ONE_SLOT, 0.0, 1)
    assert (found["waited"], found["median_error"], found["p90_error"]) == (5, 0.0, 0.0)
    assert found["median_wait_s"] == 3 * 3600, "8 vCPU-hours on a slot of 8"


def test_who_comes_later_and_goes_first_is_an_error_of_the_forecast():
    first = [workset(n, 0.0) for n in range(3)]
    urgent = workset(3, 60.0, customer="borealis", priority=Priority.URGENT)
    found = foretold([*first, urgent], ONE_SLOT, 0.0, 1)
    assert found["waited"] == 3 and found["p90_error"] > 0.3


def test_jobs_that_take_longer_than_believed_make_it_worse_and_the_seed_says_which():
    queue = [workset(n, 0.0) for n in range(6)]
    found = foretold(queue, ONE_SLOT, 0.3, 1)
    assert 0 < found["median_error"] < 1 and found == foretold(queue, ONE_SLOT, 0.3, 1)
    assert found != foretold(queue, ONE_SLOT, 0.3, 2)
