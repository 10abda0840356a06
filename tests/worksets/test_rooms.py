"""Room for unlike worksets: nothing is ever given twice, and a plan of thousands stays quick."""

import random
import time

from hypothesis import given
from hypothesis import strategies as st

from worksets.rooms import NODES, Rooms

INF = float("inf")
amounts = st.tuples(
    st.integers(0, 4), st.integers(0, 32), st.floats(0, 128), st.sampled_from([0, 1, 2, INF])
)
asked = st.tuples(st.just(1), st.integers(1, 16), st.floats(0.5, 64), st.sampled_from([0, 0, 1]))


@given(
    st.lists(amounts, min_size=1, max_size=4),
    st.lists(st.tuples(asked, st.lists(st.integers(0, 1000), min_size=4, max_size=4)), max_size=14),
)
def test_no_room_is_given_twice_and_what_is_taken_stays_taken(room, worksets):
    rooms, started = Rooms(room, [0] * len(room)), []
    for takes, costs in worksets:
        prices = dict(enumerate(costs[: len(room)]))
        if rooms.add(prices, dict.fromkeys(prices, takes)):
            started.append(takes)
    where = rooms.settled()
    assert len(where) == len(started)
    for n, most in enumerate(room):
        here = [takes for takes, at in zip(started, where, strict=True) if at == n]
        for have, *taken in zip(most, *here, strict=True):
            assert sum(taken) <= have + 1e-5


def test_among_equals_the_emptiest_is_taken():
    rooms = Rooms([(4, 8, 8, 0), (4, 8, 8, 0)], [2, 0])
    for _ in range(3):
        assert rooms.add({0: 5, 1: 5}, dict.fromkeys((0, 1), (1, 1, 1, 0)))
    assert rooms.settled() == [1, 1, 0]


def test_one_that_fits_nowhere_or_may_go_nowhere_changes_nothing():
    rooms = Rooms([(1, 4, 4, 0)], [0])
    assert not rooms.add({}, {}) and not rooms.add({0: 1}, {0: (1, 5, 1, 0)})
    assert rooms.add({0: 1}, {0: (1, 4, 4, 0)}) and not rooms.add({0: 1}, {0: (1, 1, 1, 0)})
    assert rooms.settled() == [0]


def test_others_are_moved_for_one_that_came_later():
    rooms = Rooms([(9, 8, 64, 0), (9, 6, 64, 0)], [0, 0])
    small, large = (1, 3, 1, 0), (1, 8, 1, 0)
    for _ in range(2):
        assert rooms.add({0: 1, 1: 9}, {0: small, 1: small})
    assert rooms.add({0: 1, 1: 9}, {0: large, 1: large})
    # where they were nothing of them is left
    assert not rooms.add({0: 1}, {0: (1, 0, 63.5, 0)}) and rooms.add({0: 1}, {0: (1, 0, 63, 0)})
    assert rooms.settled() == [1, 1, 0, 0]


def test_a_plan_of_thousands_takes_seconds_at_the_most():
    draw = random.Random(1)
    room = [(40, draw.choice([128, 256]), draw.choice([512, 1024]), 4) for _ in range(100)]
    price = [draw.choice([2, 4, 5, 10]) for _ in room]
    rooms, began, started = Rooms(room, [0] * 100), time.process_time(), 0
    for _ in range(10_000):
        vcpus, gb = draw.choice([(1, 4), (4, 16), (8, 64), (16, 64), (32, 128)])
        hours = draw.randint(1, 200)
        costs = {n: hours * each for n, each in enumerate(price)}
        started += rooms.add(costs, dict.fromkeys(costs, (1, vcpus, gb, 0)))
    assert len(rooms.settled()) == started > 1000
    assert time.process_time() - began < 20, "a machine under load is slow, but not so slow"


def test_sets_that_are_too_large_to_search_are_left_as_they_are():
    rooms = Rooms([(1000, INF, INF, INF)] * 2, [0, 0])
    for n in range(NODES + 50):
        assert rooms.add({0: n % 3, 1: 1}, dict.fromkeys((0, 1), (1, 1, 1, 0)))
    assert set(rooms.settled()) == {0, 1}
