"""Slots are filled at the least total cost, and everybody who can have one is given one."""

import random
from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment

from worksets.slots import Slots

NEVER = 10**9


def optimum(rows, free):
    """The least total by SciPy, every slot a column; None if not all can have one."""
    columns = [n for n, slots in enumerate(free) for _ in range(slots)]
    if len(rows) > len(columns):
        return None
    table = np.array([[row.get(n, NEVER) for n in columns] for row in rows])
    total = int(table[linear_sum_assignment(table)].sum())
    return total if total < NEVER // 2 else None


def test_after_every_workset_the_total_is_the_least_and_none_is_turned_away_that_could_start():
    moved = turned_away = 0
    for seed in range(300):
        draw = random.Random(seed)
        size = draw.randint(1, 8)
        free = [draw.randint(0, 4) for _ in range(size)]
        slots, rows = Slots(list(free), [draw.randint(0, 3) for _ in range(size)]), []
        for _ in range(draw.randint(1, 30)):
            costs = {
                n: draw.choice([0, 5, draw.randint(-20, 1000)])
                for n in range(size)
                if free[n] and draw.random() < 0.6
            }
            before = list(slots.where)
            best = optimum([*rows, costs], free)
            assert slots.add(costs) == (best is not None), f"seed {seed}"
            if best is None:
                turned_away += 1
                assert slots.where == before
                continue
            rows.append(costs)
            moved += slots.where[:-1] != before
            assert sum(row[n] for row, n in zip(rows, slots.where, strict=True)) == best
            taken = Counter(slots.where)
            assert [free[n] - taken[n] for n in range(size)] == slots.free
        for n in range(size):
            if slots.full_for_good >> n & 1:
                assert not slots.free[n]
    assert moved > 200 and turned_away > 200, "too easy"


def test_among_equals_the_emptiest_by_share():
    slots = Slots(free=[6, 2], used=[2, 0])  # 2 of 8 and 0 of 2 in use
    for _ in range(5):
        slots.add({0: 7, 1: 7})
    assert slots.where == [1, 0, 0, 0, 1]
