"""Many seeds in one process."""

import gc
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass

from tests.simulation.mutations import MUTATIONS
from tests.simulation.process import without_prefect
from tests.simulation.scenario import simulate


@dataclass
class Result:
    """What came of one seed; `violation` is None if all went well."""

    seed: int
    violation: str | None
    faults: Counter
    effects: int
    trace: list | None


def run_seeds(seeds, mutation=None, traced=False):
    """Yields a result for each seed, with the product as it is or broken by a mutation."""
    # what was imported is never garbage, and takes long to look through
    gc.collect()
    gc.freeze()
    with without_prefect(), MUTATIONS[mutation]() if mutation else nullcontext():
        for seed in seeds:
            world, violation = simulate(seed, traced)
            yield Result(seed, violation, world.faults, world.effects, world.trace)
