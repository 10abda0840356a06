"""One seed: its clusters and installations, from start to end."""

import asyncio

from tests.simulation.installation import Installation
from tests.simulation.loop import SimulatedLoop
from tests.simulation.slurm import Slurm
from tests.simulation.world import World

LONGEST_S = 3600.0
"""Seconds after the last fault in which everything must have come to its end."""


class Scenario:
    """What a seed makes of the world."""

    def __init__(self, world):
        self.world, rng = world, world.rng
        self.slurms = [Slurm(name, world) for name in "abc"[: rng.randint(2, 3)]]
        self.installations = [Installation(world, self.slurms, "p", rng.randint(3, 8))]
        if world.fault("another installation"):
            # worksets of the same names, in the same work folder
            self.installations.append(Installation(world, self.slurms, "q", rng.randint(1, 3)))

    async def run(self):
        """What was violated; None if nothing was."""
        for installation in self.installations:
            installation.begin()
        self.world.later(self.world.rng.uniform(5, 60), self._outage)
        self.world.later(1, self._look)
        return await self.world.over

    def _look(self):
        """Whether it is over: all is final, nothing runs and nothing is on its way."""
        unfinished = [i.unfinished() for i in self.installations]
        # an operator may bring a finished one back as long as he is there
        moving = any(job.active and not job.forgotten for s in self.slurms for job in s.jobs)
        if not any(unfinished) and not moving and not self.world.in_the_air:
            if not self.world.over.done():
                self.world.over.set_result(None)
        elif self.world.now_s > self.world.horizon_s + LONGEST_S:
            self.world.violated(f"no end after {LONGEST_S:.0f} s without faults: {unfinished}")
        else:
            self.world.later(5, self._look)

    def _outage(self):
        world, rng = self.world, self.world.rng
        if world.now_s > world.horizon_s:
            return
        whose = rng.choice(self.installations)
        places = [slurm.name for slurm in self.slurms]
        place = rng.choice(["db", *places, *places])
        cut = rng.choice(["", f"{whose.letter}{whose.started}"])
        kind = "db outage" if place == "db" else "cluster outage"
        world.faults[f"{kind} for one process" if cut else kind] += 1
        world.tell(f"{place} is cut off from {cut or 'all'}")
        world.cut(cut, place, rng.uniform(5, 90))
        world.later(rng.uniform(20, 200), self._outage)


def simulate(seed, traced=False):
    """The world after a seed's life, and what was violated in it (None: nothing)."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(_simulate(seed, traced))


async def _simulate(seed, traced):
    world = World(seed, traced)
    try:
        violation = await Scenario(world).run()
    finally:
        world.close()
    return world, violation
