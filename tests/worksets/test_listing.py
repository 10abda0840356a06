"""Laws of listings in chunks, with a memory of what is settled as `tasks/discover.py` keeps it."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from worksets import listing
from worksets.listing import TAIL, chunks, ends_chunk, whole_chunks

small = patch.object(listing, "NAMES", 4)
names = st.text("abc-_.ü ", min_size=1, max_size=4)
marks = st.dictionaries(names, st.text(max_size=2), max_size=40)


@small
@given(marks)
def test_chunks_are_the_listing_in_order_and_each_ends_where_a_name_does(listed):
    found = chunks(listed.items())
    flat = [pair for chunk in found for pair in chunk.marks]
    assert flat == sorted(listed.items())[: len(flat)]
    assert len(listed) - len(flat) < listing.FEW
    for chunk in found:
        assert not any(ends_chunk(name) for name, _ in chunk.marks[:-1])
    assert [chunk.key for chunk in found].count(TAIL) <= 1
    assert len({chunk.key for chunk in found}) == len(found)


@small
@given(marks, names, st.text(max_size=2))
def test_a_name_that_comes_or_changes_has_only_its_chunk_and_a_neighbour_asked(before, name, mark):
    kept = {chunk.key: chunk.digest for chunk in chunks(before.items())}
    after = {**before, name: mark}
    asked = [chunk for chunk in chunks(after.items()) if kept.get(chunk.key) != chunk.digest]
    assert len(asked) <= 2
    # with it, at the most the rest of a chunk that it parts
    assert all(
        name in dict(chunk.marks) or (chunk.key == TAIL or name < chunk.marks[0][0])
        for chunk in asked
    )
    if before == after:
        assert not asked


@small
@given(st.lists(st.tuples(marks, st.sets(names)), max_size=8))
def test_a_name_that_was_not_settled_as_it_is_now_is_never_passed_over(looks):
    """Whatever is listed, in parts or whole, again and again, and whichever names are settled."""
    notes, settled = {}, set()
    for listed, takes in looks:
        settled |= {(name, mark) for name, mark in listed.items() if name in takes}
        for chunk in chunks(listed.items()):
            if notes.get(chunk.key) == chunk.digest:
                assert set(chunk.marks) <= settled
            elif set(chunk.marks) <= settled:
                notes[chunk.key] = chunk.digest


@small
@given(st.sets(names, max_size=60), st.integers(1, 12))
def test_pages_cut_at_an_end_have_the_chunks_of_the_whole_listing(everything, page):
    ordered, found, at = sorted(everything), [], 0
    while at < len(ordered):
        part = ordered[at : at + page]
        if at + page < len(ordered):
            part = whole_chunks(part)
            if not ends_chunk(part[-1]):
                return  # a page without an end: its chunk is in two parts
        found += chunks((name, "") for name in part)
        at += len(part)
    assert found == chunks((name, "") for name in ordered)


@given(st.sampled_from(["run", "2026-11-25-S", ""]))
def test_chunks_have_their_size_also_for_names_that_count(stem):
    ends = sum(ends_chunk(f"{stem}{n:07d}") for n in range(100 * listing.NAMES))
    assert 60 <= ends <= 150
