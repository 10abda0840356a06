"""What pollers are about to start, and that no two of them start the same."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.claims import CLAIM_S, MOST, Claim, claimed, of_others, read, written
from worksets.leases import CLOCK_SKEW_S

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = st.sampled_from(["w1", "w2", "w3"])


def claim(owner, seconds=CLAIM_S, cluster="a"):
    return Claim(owner=owner, until=NOW + timedelta(seconds=seconds), cluster_name=cluster)


def wanted(owner, *ids, seconds=CLAIM_S):
    return {id_: claim(owner, seconds) for id_ in ids}


def said_by(owner, said, now=NOW, gone=(), **more):
    """What stands in the note after one has said what it wants."""
    return claimed(of_others(said, owner, now, gone), wanted(owner, *more.pop("ids"), **more))


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sets(IDS)), max_size=8))
def test_what_one_has_claimed_no_other_gets_until_it_lets_go(turns):
    said, has = {}, {}
    for owner, ids in turns:
        said = said_by(owner, said, ids=ids)
        mine = {id_ for id_, one in said.items() if one.owner == owner}
        others = {id_ for other, theirs in has.items() if other != owner for id_ in theirs}
        assert mine == ids - others
        has[owner] = mine
        # nobody loses what it had by what another says
        assert said.keys() == set().union(*has.values())


def test_a_claim_holds_for_its_time_and_then_anybody_may():
    said = said_by("p", {}, ids=["w1"], seconds=1)
    later = NOW + timedelta(seconds=1)
    assert set(of_others(said, "q", NOW)) == {"w1"} and of_others(said, "q", later) == {}
    assert said_by("q", said, later, ids=["w1"])["w1"].owner == "q"
    assert of_others(said, "p", NOW) == {}, "its own are no bar to it"


def test_neither_one_that_is_gone_nor_one_whose_clock_is_far_ahead_bars_the_way():
    said = said_by("p", {}, ids=["w1"])
    assert of_others(said, "q", NOW, gone={"p"}) == {}
    assert said_by("q", said, gone={"p"}, ids=["w1"])["w1"].owner == "q"
    ahead = said_by("p", {}, ids=["w1"], seconds=CLAIM_S + CLOCK_SKEW_S + 1)
    assert of_others(ahead, "q", NOW) == {}


def test_a_note_of_very_many_stays_within_its_size():
    """An item of DynamoDB has 400 KB, and an id 100 characters."""
    first = said_by("p", {}, ids=[f"{n:0100d}" for n in range(MOST - 1)])
    both = said_by("q", first, ids=["w1", "w2"])
    assert len(both) == MOST and first.items() <= both.items() and "w1" in both
    assert len(written(both)) < 300_000
    assert said_by("q", {**both, "one": claim("p")}, ids=["w1"]).keys() >= first.keys()


def test_a_note_is_read_as_it_was_written_and_rubbish_is_no_claim():
    said = wanted("p", "w2", "w1")
    assert read(written(said)) == said
    assert written(said) == written(dict(sorted(said.items()))), "one text for the same claims"


@pytest.mark.parametrize("text", ["", "x", "[]", '{"w": 1}', '{"w": {"owner": "p"}}'])
def test_what_cannot_be_read_claims_nothing(text):
    assert read(text) == {}


def test_keys_of_a_newer_release_are_kept():
    text = written(wanted("p", "w1")).replace('"owner":"p"', '"owner":"p","why":"x"')
    assert '"why":"x"' in written(said_by("q", read(text), ids=["w2"]))
