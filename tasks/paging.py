"""Reading all of what Prefect's API gives in pages: one page is never taken for everything.

A server is shared: what another installation leaves there must not hide what is ours.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

PAGE: Final = 200
"""Most that Prefect's API gives at once."""

T = TypeVar("T")


async def all_pages(
    read: Callable[[int, int], Awaitable[list[T]]], at_most: int = sys.maxsize
) -> list[T]:
    """What `read(limit, offset)` gives, page after page, until a page is not full.

    Ends after the page with which `at_most` are reached; so up to `PAGE - 1` more may come.
    """
    found: list[T] = []
    while len(found) < at_most:
        page = await read(PAGE, len(found))
        found += page
        if len(page) < PAGE:
            break
    return found
