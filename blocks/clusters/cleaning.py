"""What `clean.py` and `archive.py` of `on_cluster` print, parsed."""

from __future__ import annotations

import json
from typing import Any

from worksets.errors import ClusterUnreachable
from worksets.keeping import Archived, Freed, Lineage


def read_lineages(text: str) -> list[Lineage]:
    return [
        Lineage(str(one["home"]), int(one["number"]), frozenset(one["parts"]))
        for one in _lines(text)
    ]


def read_freed(text: str) -> list[Freed]:
    return [
        Freed(int(one["bytes"]), int(one["files"]), str(one.get("wrong", "")))
        for one in _lines(text)
    ]


def read_archived(text: str) -> Archived:
    found = _lines(text)
    if len(found) != 1:
        raise ClusterUnreachable(f"what archive.py printed is not whole: {text[:200]!r}")
    return Archived(str(found[0].get("where", "")), str(found[0].get("wrong", "")))


def _lines(text: str) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ClusterUnreachable(f"what it printed is not whole: {error}") from error
