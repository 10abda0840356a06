"""What processes know of a cluster together: the later event counts, trouble is told once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worksets.health import HEARD_S, OPENS_AT, Health, backoff_s, newer, worth_saving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
events = st.lists(
    st.tuples(st.sampled_from(["answered", "failed"]), st.floats(0.1, 400)), max_size=9
)


def lived(story, health=None, now=NOW):
    health = health or Health()
    for what, wait_s in story:
        now += timedelta(seconds=wait_s)
        health = health.answered(now) if what == "answered" else health.failed(now, "no route")
    return health, now


def test_one_that_nobody_has_heard_of_is_not_placed_on():
    assert "not been heard of" in Health().unavailable(NOW)
    heard = Health().answered(NOW)
    assert heard.unavailable(NOW) == ""
    assert "not been heard of" in heard.unavailable(NOW + timedelta(seconds=HEARD_S + 1))


@given(events)
def test_it_is_placed_on_only_if_its_last_word_was_an_answer(story):
    health, now = lived(story)
    assert (health.unavailable(now) == "") == bool(story and story[-1][0] == "answered")
    assert Health.model_validate_json(health.model_dump_json()) == health


@given(events, events)
def test_of_two_processes_the_one_with_the_later_event_knows(before, after):
    one, now = lived(before)
    two, _ = lived([*after, ("failed", 1)], one, now)
    assert newer(one, two) == newer(two, one) == two


@given(st.integers(0, 9))
def test_people_are_told_once_however_many_processes_meet_the_trouble(count):
    health, _ = lived([("failed", 5)] * count)
    assert health.to_tell == (count >= OPENS_AT)
    told = health.model_copy(update={"told": True})
    assert newer(health, told) == newer(told, health) == told and not told.to_tell
    assert lived([("failed", 5)], told, NOW + timedelta(hours=1))[0].told


def test_one_in_trouble_rests_ever_longer():
    health, now = lived([("failed", 1)] * 4)
    assert health.rests(now + timedelta(seconds=15)) and not health.rests(
        now + timedelta(seconds=backoff_s(4))
    )
    assert not health.answered(now).rests(now)


def test_an_answer_is_saved_now_and_then_and_a_change_at_once():
    known = Health().answered(NOW)
    later = [Health().answered(NOW + timedelta(seconds=s)) for s in (30, 121)]
    assert [worth_saving(known, health) for health in (known, *later)] == [False, False, True]
    assert worth_saving(Health(), known) and not worth_saving(Health(), Health())
    assert worth_saving(known, known.failed(NOW, "x")) and worth_saving(
        known.failed(NOW, "x"), known
    )
