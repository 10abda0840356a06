"""What many worksets a day need, by what one of them was measured to take.

``python -m benchmarks.scale`` takes what one workset took from the smaller of two sizes that
`benchmarks.growth` has measured, foretells the larger, and prints the tables of docs/scale.md: what
one takes, how far off it was foretold, and what 10,000, 100,000 and 1,000,000 a day need.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.growth import KEPT

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


def measured(kept: dict[str, Any]) -> tuple[Terms, Terms]:
    """The terms by what `benchmarks.growth` has kept: by its smaller sizes, and by its largest."""
    few, *_, many = kept["lives"].values()
    idle, some, *_, most = kept["running"].values()
    return terms_of(few, some, idle), terms_of(many, most, idle)


NAMES: Final = {
    "client_cpu_s": "CPU seconds of the poller, for a life",
    "server_cpu_s": "CPU seconds of Prefect's server, for a life",
    "server_kb": "KB of Prefect's database",
    "state_kb": "KB of the state DB (SQLite)",
    "client_share": "processors of the poller, while its job runs",
    "server_share": "processors of Prefect's server, while its job runs",
    "running_mb": "MB of the poller, while its job runs",
}
NEEDS: Final = {
    "a_second": "worksets a second",
    "running": "jobs that run at once",
    "server_processors": "processors of Prefect's server",
    "servers": "its processes, each busy for 60 %",
    "poller_processors": "processors of the pollers",
    "pollers": "pollers",
    "write_units_a_second": "write units of DynamoDB a second",
    "history_gb": "GB of Prefect's database",
    "records_gb": "GB of the state DB",
    "usd_a_month": "US dollars a month",
}


def tables(kept: dict[str, Any], days: tuple[int, ...]) -> Iterator[str]:
    """Both tables, as Markdown."""
    few, many = (asdict(terms) for terms in measured(kept))
    yield from ("| | a workset | error |", "|---|---|---|")
    for key, name in NAMES.items():
        error = f"{few[key] / many[key] - 1:+.0%}" if many[key] else ""
        yield f"| {name} | {_plain(many[key])} | {error} |"
    yield ""
    yield f"| | {' | '.join(f'{n:,} a day' for n in days)} |"
    yield "|---|" + "---|" * len(days)
    of_days = [needs(n, Terms(**many)) for n in days]
    for key, name in NEEDS.items():
        yield f"| {name} | {' | '.join(_plain(day[key]) for day in of_days)} |"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    print("\n".join(tables(json.loads(KEPT.read_text()), (10_000, 100_000, 1_000_000))))


if __name__ == "__main__":
    main()
