"""What a job asks for: never less than its workset needs, of the cheapest place that gives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from worksets.record import Estimates
from worksets.requests import Ceiling, Growth, JobRequest, by_preference, first_of, request

UNSAID = JobRequest(vcpus=2, memory_gb=4, minutes=600)
small = st.sampled_from([1, 2, 4, 8, 16])
needs = st.builds(
    Estimates,
    vcpus=st.just(0) | small,
    memory_gb=st.just(0.0) | small.map(float),
    minutes=st.just(0) | small.map(lambda n: n * 30),
    gpus=st.integers(0, 2),
    scratch_gb=st.sampled_from([0.0, 10.0, 100.0]),
)
places = st.lists(
    st.builds(
        Ceiling,
        partition=st.text("abc", min_size=1, max_size=3),
        vcpus=small,
        memory_gb=small.map(lambda n: n * 2.0),
        minutes=small.map(lambda n: n * 60.0) | st.just(float("inf")),
        gpus=st.integers(0, 2),
        scratch_gb=st.sampled_from([0.0, 50.0, float("inf")]),
        price_per_vcpu_hour=st.sampled_from([0.0, 0.5, 1.0]),
        open=st.booleans(),
    ),
    max_size=4,
)
growths = st.builds(
    Growth,
    factor=st.sampled_from([1.0, 1.5, 2.0, 10.0]),
    max_memory_gb=st.none() | st.sampled_from([1.0, 6.0, 100.0]),
    max_minutes=st.none() | st.sampled_from([1, 90, 10_000]),
)
times = st.integers(0, 4)


@given(needs, places, growths, times, times)
def test_never_less_than_the_first_and_within_a_place_that_gives_it(needs, places, growth, m, t):
    rest = first_of(needs, UNSAID).model_copy(update={"minutes": None})
    longest = max((place.minutes for place in places if place.holds(rest)), default=float("inf"))
    unsaid = UNSAID.model_copy(update={"minutes": int(min(UNSAID.minutes, longest))})
    first, asked = first_of(needs, unsaid), request(needs, UNSAID, places, growth, m, t)
    names = set(asked.partition.split(","))
    assert not places or names <= {place.partition for place in places}
    assert asked.memory_gb >= first.memory_gb and asked.minutes >= first.minutes
    assert (asked.vcpus, asked.gpus, asked.scratch_gb) == (
        first.vcpus,
        first.gpus,
        first.scratch_gb,
    )
    there = [place for place in places if place.holds(first)]
    if there:
        found = [p for p in there if p.partition in names and p.holds(asked)]
        assert {place.partition for place in found} == names
        best = min((not p.open, p.price_per_vcpu_hour) for p in places if p.holds(asked))
        capped = request(needs, unsaid, [], growth, m, t) != asked.model_copy(
            update={"partition": ""}
        )
        assert capped or min((not p.open, p.price_per_vcpu_hour) for p in found) == best


@given(needs, places, growths, times, times)
def test_who_ran_out_again_is_never_given_less(needs, places, growth, m, t):
    now = request(needs, UNSAID, places, growth, m, t)
    more_memory = request(needs, UNSAID, places, growth, m + 1, t)
    more_time = request(needs, UNSAID, places, growth, m, t + 1)
    assert more_memory.memory_gb >= now.memory_gb
    assert more_time.minutes >= now.minutes


@given(needs, growths, times, times)
def test_without_a_bound_it_grows_to_the_settings_most_or_four_times_the_first(needs, growth, m, t):
    first, asked = first_of(needs, UNSAID), request(needs, UNSAID, [], growth, m, t)
    most = max(first.memory_gb, growth.max_memory_gb or 4 * first.memory_gb)
    assert asked.memory_gb == min(first.memory_gb * growth.factor**m, most)
    assert asked.minutes <= max(first.minutes, growth.max_minutes or 4 * first.minutes)


@given(needs, st.sampled_from(["vcpus", "memory_gb", "minutes", "gpus", "scratch_gb"]))
def test_a_place_that_gives_just_so_much_holds_it_and_one_with_a_bit_less_does_not(needs, less):
    asked = first_of(needs, UNSAID)
    just = {
        name: getattr(asked, name)
        for name in ("vcpus", "memory_gb", "minutes", "gpus", "scratch_gb")
    }
    assert Ceiling(**just).holds(asked)
    if just[less]:
        assert not Ceiling(**{**just, less: just[less] - 0.001}).holds(asked)
    endless = asked.model_copy(update={"minutes": None})
    assert Ceiling(**{**just, "minutes": 0}).holds(endless), "where no job has a limit"


def test_a_ceiling_says_what_it_does_not_bound():
    asked = JobRequest(vcpus=1, memory_gb=1, minutes=10**6, scratch_gb=10**6)
    place = Ceiling(vcpus=1, memory_gb=1)
    assert place.holds(asked) and place.price_per_vcpu_hour == 0 and place.partition == ""
    assert not place.holds(asked.model_copy(update={"gpus": 1})), "GPUs are there where it says so"
    assert JobRequest(vcpus=1, memory_gb=1) == JobRequest(
        vcpus=1, memory_gb=1, minutes=None, gpus=0, scratch_gb=0, partition=""
    )
    for wrong in ({"vcpus": 0}, {"memory_gb": 0}, {"minutes": 0}, {"gpus": -1}, {"scratch_gb": -1}):
        with pytest.raises(ValidationError):
            JobRequest(**{"vcpus": 1, "memory_gb": 1, **wrong})
    assert JobRequest(vcpus=1, memory_gb=1, minutes=1).minutes == 1
    for name in ("vcpus", "memory_gb", "minutes", "gpus", "scratch_gb", "price_per_vcpu_hour"):
        with pytest.raises(ValidationError):
            Ceiling(**{"vcpus": 1, "memory_gb": 1, name: -1})
    for wrong in ({"factor": 0.9}, {"factor": 0}):
        with pytest.raises(ValidationError):
            Growth(**wrong)
    assert Growth().factor == 1.5


def test_a_cluster_without_a_time_limit_sets_none_after_any_number_of_ends():
    local = JobRequest(vcpus=1, memory_gb=4)
    asked = request(Estimates(), local, [Ceiling(vcpus=1, memory_gb=4)], Growth(), 2, 2)
    assert asked == local
    timed = request(Estimates(minutes=10), local, [], Growth(), 0, 1)
    assert timed.minutes == 15


def test_what_is_said_of_nothing_is_the_clusters():
    assert request(Estimates(), UNSAID, [], Growth()) == UNSAID
    said = Estimates(vcpus=8, memory_gb=30, minutes=5, gpus=1, scratch_gb=2)
    asked = request(said, UNSAID, [], Growth())
    assert str(asked) == "8 vCPUs, 30 GB, 5 minutes, 1 GPUs, 2 GB of scratch"


def test_a_time_limit_is_the_same_whatever_takes_jobs_at_the_moment():
    """What ran out of a day would get an hour next time, while the long partition is drained."""
    short = Ceiling(partition="short", vcpus=4, memory_gb=8, minutes=60)
    for open_ in (True, False):
        long = Ceiling(partition="long", vcpus=4, memory_gb=8, minutes=1440, open=open_)
        asked = [request(Estimates(), UNSAID, [short, long], Growth(), 0, n) for n in range(3)]
        assert [(a.partition, a.minutes) for a in asked] == [
            ("long", 600), ("long", 900), ("long", 1350),
        ]  # fmt: skip
    alone = request(Estimates(), UNSAID, [short], Growth())
    assert (alone.partition, alone.minutes) == ("short", 60), "and at most the longest there is"


def test_a_retry_goes_to_a_dearer_place_when_the_cheap_one_has_no_more():
    cheap = Ceiling(partition="cheap", vcpus=8, memory_gb=8, price_per_vcpu_hour=1)
    big = Ceiling(partition="big", vcpus=8, memory_gb=64, price_per_vcpu_hour=3)
    asked = [request(Estimates(), UNSAID, [big, cheap], Growth(factor=2), n) for n in range(4)]
    assert [(a.partition, a.memory_gb) for a in asked] == [
        ("cheap", 4), ("cheap", 8), ("big", 16), ("big", 16),
    ]  # fmt: skip
    last = [request(Estimates(), UNSAID, [cheap], Growth(factor=2), n) for n in range(4)]
    assert [a.memory_gb for a in last] == [4, 8, 8, 8], "and no more than there is"
    assert [place.partition for place in by_preference([big, cheap])] == ["cheap", "big"]
