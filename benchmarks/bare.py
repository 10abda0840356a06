"""What Prefect itself costs: runs of a flow of five tasks that do nothing, one with three limits.

``python -m benchmarks.bare --runs 60`` starts the server that `make run` starts, and prints one
JSON object: CPU seconds a run in the server (with its PostgreSQL), in the client, and in both. It
is the least that a workset could cost that is shown as five tasks and held to three tag limits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
from typing import Any

from benchmarks.cpu import of_server, serving, settled
from local import server

TAGS = ("bench-global", "bench-cluster", "bench-customer")
AT_ONCE = 30


async def measure(running: server.Server, runs: int) -> dict[str, Any]:
    from prefect import flow, get_client, task
    from prefect.cache_policies import NO_CACHE

    async with get_client() as client:
        for tag in TAGS:
            await client.create_concurrency_limit(tag, 10_000)

    @task(cache_policy=NO_CACHE)
    async def step(name: str) -> str:
        return name

    limited = step.with_options(tags=set(TAGS))

    @flow(persist_result=False)
    async def bare(number: int) -> int:
        for name in ("validate", "schedule", "lock"):
            await step(name)
        await limited("dispatch")
        await step("monitor")
        return number

    @flow(persist_result=False)
    async def parent(runs: int) -> int:
        free = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> None:
            async with free:
                await bare(number)

        await asyncio.gather(*map(one, range(runs)))
        return runs

    await bare(0)
    settled(running)
    before, began = of_server(running), resource.getrusage(resource.RUSAGE_SELF)
    await parent(runs)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    client_s = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    settled(running)
    server_s = of_server(running) - before
    return {
        "runs": runs,
        "server_cpu_s_per_run": round(server_s / runs, 3),
        "client_cpu_s_per_run": round(client_s / runs, 3),
        "cpu_s_per_run": round((server_s + client_s) / runs, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=60)
    options = parser.parse_args()
    with serving() as running:
        print(json.dumps(asyncio.run(measure(running, options.runs))))


if __name__ == "__main__":
    main()
