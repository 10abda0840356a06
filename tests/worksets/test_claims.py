"""What pollers are about to start, and that no two of them start the same."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.claims import CLAIM_S, Claim, claimed, of_others, read, written

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IDS = st.sampled_from(["w1", "w2", "w3"])


def claim(owner, seconds=CLAIM_S, cluster="a"):
    return Claim(owner=owner, until=NOW + timedelta(seconds=seconds), cluster_name=cluster)


def wanted(owner, *ids, seconds=CLAIM_S):
    return {id_: claim(owner, seconds) for id_ in ids}


@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sets(IDS)), max_size=8))
def test_what_one_has_claimed_no_other_gets_until_it_lets_go(turns):
    said, has = {}, {}
    for owner, ids in turns:
        said = claimed(said, wanted(owner, *ids), owner, NOW)
        mine = {id_ for id_, one in said.items() if one.owner == owner}
        others = {id_ for other, theirs in has.items() if other != owner for id_ in theirs}
        assert mine == ids - others
        has[owner] = mine
        # nobody loses what it had by what another says
        assert said.keys() == set().union(*has.values())


def test_a_claim_holds_for_its_time_and_then_anybody_may():
    said = claimed({}, wanted("p", "w1", seconds=1), "p", NOW)
    later = NOW + timedelta(seconds=1)
    assert set(of_others(said, "q", NOW)) == {"w1"} and of_others(said, "q", later) == {}
    assert claimed(said, wanted("q", "w1"), "q", later)["w1"].owner == "q"
    assert of_others(said, "p", NOW) == {}, "its own are no bar to it"


def test_a_note_is_read_as_it_was_written_and_rubbish_is_no_claim():
    said = wanted("p", "w2", "w1")
    assert read(written(said)) == said
    assert written(said) == written(dict(sorted(said.items()))), "one text for the same claims"


@pytest.mark.parametrize("text", ["", "x", "[]", '{"w": 1}', '{"w": {"owner": "p"}}'])
def test_what_cannot_be_read_claims_nothing(text):
    assert read(text) == {}


def test_keys_of_a_newer_release_are_kept():
    text = written(wanted("p", "w1")).replace('"owner":"p"', '"owner":"p","why":"x"')
    assert '"why":"x"' in written(claimed(read(text), wanted("q", "w2"), "q", NOW))
