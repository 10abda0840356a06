"""A few simulated lives, in seconds: what breaks nearly every life is seen at once."""

from tests.simulation.runs import run_seeds


def test_the_first_lives_come_to_their_end():
    assert [(r.seed, r.violation) for r in run_seeds(range(60)) if r.violation] == []
