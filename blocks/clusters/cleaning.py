"""What `on_cluster/clean.py` prints, parsed."""

from __future__ import annotations

import json
from typing import Any

from worksets.errors import ClusterUnreachable
from worksets.keeping import Freed, Lineage


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


def _lines(text: str) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ClusterUnreachable(f"what clean.py printed is not whole: {error}") from error
