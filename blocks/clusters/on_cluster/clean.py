"""Frees room: `clean.py list WORK_FOLDER`, `clean.py remove|measure WORK_FOLDER < PATHS`.

`list` prints a JSON line for each lineage below the work folder: its home, its number, its parts;
as lineage 0 the logs and markers of all attempts of a home (`HOME/jobs`). The other two read a JSON
list of `[HOME, NUMBER, PART]` and print a JSON line for each: its size in bytes, its files, and
what went wrong, if anything did. No link is followed. Python 3.9.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from typing import Any

LINEAGE = re.compile(r"L([0-9]{1,9})")


def lineages(work: str) -> Iterator[dict[str, Any]]:
    """Every lineage that is there; what cannot be read is passed over, and stays."""
    for home in _folders(work):
        for name in _folders(os.path.join(work, home)):
            if match := LINEAGE.fullmatch(name):
                parts = {part_of(inside) for inside in _names(os.path.join(work, home, name))}
                yield {"home": home, "number": int(match[1]), "parts": sorted(parts)}
            elif name == "jobs":
                yield {"home": home, "number": 0, "parts": ["logs"]}


def part_of(name: str) -> str:
    """Which part a name in a lineage's folder belongs to; `.inputs.…` are notes about copies."""
    return "inputs" if name == "inputs" or name.startswith(".inputs.") else "rest"


def handle(work: str, home: str, number: int, part: str, remove: bool) -> dict[str, Any]:
    """Measure, and perhaps remove, one part of one lineage."""
    told: dict[str, Any] = {"home": home, "number": number, "part": part, "bytes": 0, "files": 0}
    try:
        if "/" in home or home in ("", ".", "..") or part not in ("inputs", "rest", "logs"):
            raise ValueError(f"no part of a lineage: {home!r} {part!r}")
        logs = part == "logs"
        folder = os.path.join(work, home, "jobs" if logs else f"L{int(number)}")
        for above in (os.path.join(work, home), folder):
            if os.path.islink(above):
                raise ValueError(f"{above} is a link")
        # one that cannot be read is told, and not taken for an empty one
        names = os.listdir(folder) if os.path.lexists(folder) else []
        for name in sorted(name for name in names if logs or part_of(name) == part):
            path = os.path.join(folder, name)
            size, files = measured(path)
            told["bytes"] += size
            told["files"] += files
            if remove:
                _remove(path)
        if remove:
            _remove_empty(folder, os.path.join(work, home))
    except (OSError, ValueError) as error:
        told["wrong"] = str(error)
    return told


def measured(path: str) -> tuple[int, int]:
    """Bytes and files of what is at a path; of a link, itself."""
    if os.path.islink(path) or not os.path.isdir(path):
        return os.lstat(path).st_size, 1
    size = files = 0
    for folder, _, names in os.walk(path):
        for name in names:
            size += os.lstat(os.path.join(folder, name)).st_size
            files += 1
    return size, files


def _remove(path: str) -> None:
    if os.path.islink(path) or not os.path.isdir(path):
        os.unlink(path)
    else:
        shutil.rmtree(path)


def _remove_empty(*folders: str) -> None:
    """Remove these, as far as nothing is in them."""
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _folders(path: str) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def main(argv: list[str]) -> int:
    verb, work = argv
    if verb == "list":
        for found in lineages(work):
            print(json.dumps(found))
    else:
        for home, number, part in json.load(sys.stdin):
            print(json.dumps(handle(work, home, number, part, remove=verb == "remove")), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
