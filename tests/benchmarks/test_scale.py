"""The model of many worksets a day: linear, and never less than one of each."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import Terms, needs

TERMS = Terms(client_cpu_s=0.2, server_cpu_s=0.4, server_kb=100, state_kb=8, running_mb=0.5)


@given(st.integers(1, 10**7), st.floats(0.1, 48))
def test_twice_as_many_take_twice_as_much(per_day, job_h):
    one, two = (needs(n, TERMS, job_h) for n in (per_day, 2 * per_day))
    for term in ("running", "server_processors", "poller_processors", "history_gb", "records_gb"):
        assert abs(two[term] - 2 * one[term]) < 1e-6 * two[term]
    assert 1 <= one["servers"] <= two["servers"] and 1 <= one["pollers"] <= two["pollers"]
    assert one["servers"] * 0.6 >= one["server_processors"]
    assert one["usd_a_month"] < two["usd_a_month"] < 2.01 * one["usd_a_month"]


def test_a_figure_by_hand():
    day = needs(86_400, TERMS, 24)
    assert (day["a_second"], day["running"], day["server_processors"]) == (1.0, 86_400, 0.4)
    assert day["servers"] == 1 and day["pollers"] == 6, "43.2 GB of what runs, 8 GB a poller"
    assert day["history_gb"] == 86_400 * 30 * 100 / 1e6
