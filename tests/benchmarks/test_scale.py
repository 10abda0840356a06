"""The model of many worksets a day: linear, and never less than one of each."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import Terms, measured, needs, tables, terms_of

TERMS = Terms(
    client_cpu_s=0.2, server_cpu_s=0.4, server_kb=100, state_kb=8, client_share=1e-5,
    server_share=1e-4, running_mb=0.5,
)  # fmt: skip


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
    assert (day["a_second"], day["running"]) == (1.0, 86_400)
    assert day["server_processors"] == 0.4 + 8.64 and day["servers"] == 16, "60 % of each"
    assert day["pollers"] == 6, "43.2 GB of what runs, 8 GB a poller"
    assert day["history_gb"] == 86_400 * 30 * 100 / 1e6


def test_what_runs_is_counted_beyond_what_an_idle_poller_takes():
    lived = {"client_cpu_s_per_workset": 0.2, "server_cpu_s_per_workset": 0.4,
             "server_kb_per_workset": 100, "state_kb_per_workset": 8}  # fmt: skip
    idle = {"worksets": 10, "own_share": 0.01, "server_share": 0.03, "memory_mb": 160}
    ran = {"worksets": 110, "own_share": 0.005, "server_share": 0.13, "memory_mb": 210}
    found = terms_of(lived, ran, idle)
    assert (found.client_share, found.server_share, found.running_mb) == (0.0, 0.001, 0.5)
    assert (found.client_cpu_s, found.server_kb) == (0.2, 100)


def _kept(share, cpu_s=0.2):
    """What would be measured if every job took so much of a processor beside the poller's own."""

    def lived(n):
        return {"client_cpu_s_per_workset": cpu_s, "server_cpu_s_per_workset": 0.4,
                "server_kb_per_workset": 100 + n, "state_kb_per_workset": 8}  # fmt: skip

    def ran(n):
        return {"worksets": n, "own_share": 0.02 + share * n, "server_share": 0.03 + n * 1e-3,
                "memory_mb": 150 + n}  # fmt: skip

    return {"lives": {str(n): lived(n) for n in (60, 240)},
            "running": {str(n): ran(n) for n in (10, 50, 150)}}  # fmt: skip


def test_the_error_is_that_of_the_smaller_size_for_the_larger():
    few, many = measured(_kept(1e-4))
    assert abs(few.client_share - many.client_share) < 1e-12 and few.running_mb == many.running_mb
    assert (few.server_kb, many.server_kb) == (160, 340)
    said = "\n".join(tables(_kept(1e-4), (10_000, 100_000)))
    assert "| KB of Prefect's database | 340 | -53% |" in said
    assert "| jobs that run at once | 2,500 | 25,000 |" in said


def test_a_poller_that_nothing_is_seen_of_has_no_error():
    said = "\n".join(tables(_kept(0.0), (10_000,)))
    assert "| processors of the poller, while its job runs | 0 |  |" in said
