"""Many seeds in one process."""

import gc
from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from tests.simulation.mutations import MUTATIONS
from tests.simulation.process import without_prefect
from tests.simulation.scenario import simulate

COLLECTED_EVERY = 25


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
    with without_prefect(), MUTATIONS[mutation]() if mutation else nullcontext():
        for number, seed in enumerate(seeds):
            if number % COLLECTED_EVERY == 0:
                gc.collect()
            with _no_collection():
                world, violation = simulate(seed, traced)
            yield Result(seed, violation, world.faults, world.effects, world.trace)


@contextmanager
def _no_collection():
    """A seed's garbage is small, and all that was imported takes long to look through for it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
