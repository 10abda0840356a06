"""Faults made by hand, each as a patch of the real code.

They show that the simulation finds what it looks for; each has been, or might be, a real mistake.
"""

from tests.simulation.mutations import clusters, state, steps
from tests.simulation.mutations.registry import MUTATIONS

__all__ = ["MUTATIONS", "clusters", "state", "steps"]
