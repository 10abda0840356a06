"""`python -m tests.simulation --seeds A..B`: see docs/reliability.md."""

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.mutations import MUTATIONS
from tests.simulation.runs import run_seeds

CHUNK = 25


def run_chunk(seeds, mutation, traced):
    return list(run_seeds(seeds, mutation, traced))


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seeds", required=True, help="A..B, both included, or one seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break the product so")
    parser.add_argument("--trace", action="store_true", help="print what happens, step by step")
    args = parser.parse_args()
    first, _, last = args.seeds.partition("..")
    seeds = range(int(first), int(last or first) + 1)

    began = time.monotonic()
    faults, effects, violations = Counter(), 0, []
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    with ProcessPoolExecutor(args.jobs, get_context("fork")) as pool:
        how = [(args.mutation, args.trace)] * len(chunks)
        for results in pool.map(run_chunk, chunks, *zip(*how, strict=True)):
            for result in results:
                faults.update(result.faults)
                effects += result.effects
                print(*result.trace or (), sep="\n", end="\n" if result.trace else "")
                if result.violation:
                    violations.append(result)
                    mutated = f" --mutation {args.mutation}" if args.mutation else ""
                    print(f"seed {result.seed}: {result.violation}")
                    print(f"  python -m tests.simulation --seeds {result.seed} --trace{mutated}")
    took_s = time.monotonic() - began

    for kind, count in faults.most_common():
        print(f"{count:9} {kind}")
    print(
        f"{len(seeds)} seeds in {took_s:.1f} s ({len(seeds) / took_s:.1f} a second), "
        f"{effects} effects, {faults.total()} faults, {len(violations)} violations"
    )
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
