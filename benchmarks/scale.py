"""What many worksets a day need, by what one of them was measured to take.

``python -m benchmarks.scale`` processes 60 and 240 worksets of jobs that do nothing, watches 100
and 300 jobs that run, takes what one took from the smaller of each, foretells the larger, and
prints one JSON object: the terms, the error of what was foretold, and what 10,000, 100,000 and
1,000,000 worksets a day need.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.rows import program

BUSY: Final = 0.6
"""Share of a processor that is planned for; above it, what waits for it waits ever longer."""
DAY_S: Final = 86_400
DAYS: Final = 30
"""Of a month, and for which runs and records are kept."""
JOB_H: Final = 6.0
WRITE_UNITS, READ_UNITS = 26, 13
"""Of DynamoDB, a workset's life (`benchmarks.state_db_cost`)."""
USD_PER_WRITE, USD_PER_READ = 0.625e-6, 0.125e-6
"""A unit on demand, us-east-1; AWS's price list since November 2024."""
USD_PER_VCPU_HOUR: Final = 0.0504
"""m7i.large, on demand, us-east-1, half of $0.1008."""
USD_PER_GB_MONTH: Final = 0.115
"""gp3 of RDS for PostgreSQL, us-east-1."""
POLLER_GB: Final = 8.0
"""Memory of a poller's machine that is for what runs."""


@dataclass(frozen=True)
class Terms:
    """What one workset takes.

    Over its life: CPU seconds, KB of Prefect's database and of the state DB. While its job runs:
    shares of a processor (Prefect renews its slots and says that it lives), MB of the poller.
    """

    client_cpu_s: float
    server_cpu_s: float
    server_kb: float
    state_kb: float
    client_share: float
    server_share: float
    running_mb: float


def needs(per_day: int, terms: Terms, job_h: float = JOB_H) -> dict[str, float]:
    """What so many worksets a day need, of jobs of `job_h` hours, spread evenly over the day."""
    running = per_day * job_h / 24
    server = per_day * terms.server_cpu_s / DAY_S + running * terms.server_share
    client = per_day * terms.client_cpu_s / DAY_S + running * terms.client_share
    by_memory = math.ceil(running * terms.running_mb / 1000 / POLLER_GB)
    history_gb = per_day * DAYS * terms.server_kb / 1e6
    units_usd = WRITE_UNITS * USD_PER_WRITE + READ_UNITS * USD_PER_READ
    vcpus = (server + client) / BUSY
    return {
        "a_second": per_day / DAY_S,
        "running": running,
        "server_processors": server,
        "servers": max(1, math.ceil(server / BUSY)),
        "poller_processors": client,
        "pollers": max(1, math.ceil(client / BUSY), by_memory),
        "write_units_a_second": per_day * WRITE_UNITS / DAY_S,
        "history_gb": history_gb,
        "records_gb": per_day * DAYS * terms.state_kb / 1e6,
        "usd_a_month": (
            per_day * DAYS * units_usd
            + max(2, vcpus) * 24 * DAYS * USD_PER_VCPU_HOUR
            + history_gb * USD_PER_GB_MONTH
        ),
    }


def terms_of(lived: dict[str, Any], ran: dict[str, Any], idle: dict[str, Any]) -> Terms:
    """`lived`: of `benchmarks.makespan`; `ran`: of `benchmarks.density`; `idle`: with ten jobs."""

    def each(name: str) -> float:
        more = ran["worksets"] - idle["worksets"]
        return max(0.0, float(ran[name] - idle[name])) / more

    return Terms(
        client_cpu_s=lived["client_cpu_s_per_workset"],
        server_cpu_s=lived["server_cpu_s_per_workset"],
        server_kb=lived["server_kb_per_workset"],
        state_kb=lived["state_kb_per_workset"],
        client_share=each("own_share"),
        server_share=each("server_share"),
        running_mb=each("memory_mb"),
    )


def main() -> None:
    sizes = ("--seconds", "0", "--clusters", "10", "--slots", "3", "--worksets")
    lived = [program("benchmarks.makespan", *sizes, str(n)) for n in (60, 240)]
    idle, *ran = (program("benchmarks.density", "--worksets", str(n)) for n in (10, 100, 300))
    few, many = (terms_of(*both, idle) for both in zip(lived, ran, strict=True))
    error = {name: asdict(few)[name] / value - 1 for name, value in asdict(many).items() if value}
    days = {n: needs(n, many) for n in (10_000, 100_000, 1_000_000)}
    told = {
        "terms": {name: float(f"{value:.3g}") for name, value in asdict(many).items()},
        "error": {name: round(value, 3) for name, value in error.items()},
        "days": {n: {k: float(f"{v:.3g}") for k, v in day.items()} for n, day in days.items()},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
