"""All of what comes in pages."""

from hypothesis import given
from hypothesis import strategies as st

from tasks.paging import PAGE, all_pages


@given(st.integers(0, 3 * PAGE + 1))
async def test_nothing_is_left_out_and_nothing_comes_twice(many):
    there, asked = list(range(many)), []

    async def read(limit, offset):
        asked.append((limit, offset))
        return there[offset : offset + limit]

    assert await all_pages(read) == there
    assert asked == [(PAGE, PAGE * n) for n in range(many // PAGE + 1)], "and no page in vain"


@given(st.integers(1, 3 * PAGE), st.integers(0, 5 * PAGE))
async def test_no_more_pages_are_read_than_are_wanted(at_most, many):
    there = list(range(many))

    async def read(limit, offset):
        return there[offset : offset + limit]

    found = await all_pages(read, at_most)
    assert found == there[: len(found)]
    assert len(found) == many or at_most <= len(found) < at_most + PAGE
