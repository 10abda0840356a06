"""What many worksets a day need, by what one of them was measured to take.

``python -m benchmarks.scale`` processes 60 and 240 worksets of jobs that do nothing, takes what one
of them took from the smaller run, foretells the larger one, and prints one JSON object: the terms,
the error of what was foretold, and what 10,000, 100,000 and 1,000,000 worksets a day need.
"""

from __future__ import annotations

import argparse
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
    """What one workset takes: CPU seconds, KB of history, MB while its job runs."""

    client_cpu_s: float
    server_cpu_s: float
    server_kb: float
    state_kb: float
    running_mb: float


def needs(per_day: int, terms: Terms, job_h: float = JOB_H) -> dict[str, float]:
    """What so many worksets a day need, of jobs of `job_h` hours, spread evenly over the day."""
    running = per_day * job_h / 24
    server, client = (per_day * s / DAY_S for s in (terms.server_cpu_s, terms.client_cpu_s))
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


def terms_of(found: dict[str, Any], running_mb: float) -> Terms:
    return Terms(
        client_cpu_s=found["client_cpu_s_per_workset"],
        server_cpu_s=found["server_cpu_s_per_workset"],
        server_kb=found["server_kb_per_workset"],
        state_kb=found["state_kb_per_workset"],
        running_mb=running_mb,
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--few", type=int, default=60)
    parser.add_argument("--many", type=int, default=240)
    parser.add_argument("--running-mb", type=float, default=0.7, help="`benchmarks.density` has it")
    options = parser.parse_args()
    sizes = ("--seconds", "0", "--clusters", "10", "--slots", "3", "--worksets")
    few, many = (
        terms_of(program("benchmarks.makespan", *sizes, str(n)), options.running_mb)
        for n in (options.few, options.many)
    )
    error = {name: asdict(few)[name] / value - 1 for name, value in asdict(many).items() if value}
    del error["running_mb"]
    days = {n: needs(n, many) for n in (10_000, 100_000, 1_000_000)}
    told = {
        "terms": asdict(many),
        "error": {name: round(value, 3) for name, value in error.items()},
        "days": {n: {k: float(f"{v:.3g}") for k, v in day.items()} for n, day in days.items()},
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
