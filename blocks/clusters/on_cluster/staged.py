"""What `stage.py` reads and remembers: its manifest, and a record of the copies it finished."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files, sums
else:
    import files
    import sums


@dataclass(frozen=True)
class Entry:
    """One file of the manifest."""

    name: str
    parts: list[bytes]
    uri: str
    root: str
    digests: dict[str, str]


def read_manifest(path: str) -> dict[str, Any]:
    """The manifest, with an `Entry` for each of its `inputs`.

    Raises:
        files.Failed: it cannot be read, lacks something, or names a file in two ways.
    """
    try:
        with open(path, encoding="utf-8") as file:
            value = json.load(file)
    except OSError as error:
        raise files.failed(path, error, files.EX_CONFIG) from error
    except ValueError as error:
        raise files.Failed(files.EX_CONFIG, f"the manifest {path} is no JSON: {error}") from error
    for key in ("workset_id", "source", "source_root"):
        if not _text(value, path, key, "manifest"):
            raise files.Failed(files.EX_CONFIG, f"the manifest {path} has an empty {key!r}")
    _text(value, path, "uid", "manifest")
    quiet_s = value.get("quiet_s")
    if isinstance(quiet_s, bool) or not isinstance(quiet_s, (int, float)):
        quiet_s = math.nan
    if not 0 <= quiet_s < math.inf:
        raise files.Failed(files.EX_CONFIG, f"the manifest {path} has no 'quiet_s' in seconds")
    if not isinstance(value.get("inputs"), list):
        raise files.Failed(files.EX_CONFIG, f"the manifest {path} has no list 'inputs'")
    found: dict[str, Entry] = {}
    for item in value["inputs"]:
        entry = _entry(item, path)
        # two samples may share a file
        if found.setdefault(entry.name, entry) != entry:
            raise files.Failed(files.EX_CONFIG, f"{path} says two things of {entry.name!r}")
    try:
        files.tree([entry.parts for entry in found.values()])
    except ValueError as error:
        raise files.Failed(
            files.EX_CONFIG, f"{path}: {error} is a file and a folder at once"
        ) from error
    return {**value, "inputs": list(found.values())}


def _text(value: Any, path: str, key: str, what: str) -> str:
    if not isinstance(value, dict) or not isinstance(value.get(key), str):
        raise files.Failed(files.EX_CONFIG, f"the {what} {path} has no text {key!r}")
    return str(value[key])


def _entry(item: Any, path: str) -> Entry:
    texts = [_text(item, path, key, "entry of") for key in ("name", "uri", "root")]
    name, uri, root = texts
    if uri and not root:
        raise files.Failed(files.EX_CONFIG, f"{path}: {uri!r} has no root below which it may lie")
    digests = {}
    for key in ("md5", "sha256"):
        text = _text(item, path, key, "entry of")
        if not text:
            continue
        try:
            algorithm, digests[key] = sums.digest(text)
        except sums.Garbage:
            algorithm = ""
        if algorithm != key:
            raise files.Failed(
                files.EX_DATAERR, f"the {key} of {name!r} in daylily_work.yaml is none: {text!r}"
            )
    try:
        encoded = name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise files.Failed(files.EX_CONFIG, f"{path}: {name!r} is no name of a file") from error
    return Entry(name, files.parts(encoded, "the input", files.EX_NOINPUT), uri, root, digests)


class Record:
    """Which copies in INPUTS are finished, of what, with which digests.

    It lies beside INPUTS. A copy of which it knows nothing, or that is not as it was then, is made
    again; so a record that is lost or damaged costs time and nothing else.
    """

    def __init__(self, inputs: str, uid: str) -> None:
        parent, name = os.path.split(os.path.abspath(inputs))
        self.path, self.uid = os.path.join(parent, f".{name}.staged"), uid
        self.copies: dict[str, Any] = {}
        try:
            with open(os.open(self.path, files.FILE), encoding="utf-8") as file:
                value = json.load(file)
            if value["format"] == 1 and value["uid"] == uid:
                self.copies = dict(value["copies"])
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def digests(
        self, entry: Entry, origin: str, seen: files.Seen, here: files.Seen
    ) -> dict[str, str] | None:
        """The digests of the copy that is here, if it is a finished one of what was seen."""
        copy = self.copies.get(entry.name)
        known = [origin, list(seen.identity), list(here.identity)]
        if not isinstance(copy, dict) or [copy.get(k) for k in ("of", "seen", "here")] != known:
            return None
        digests: dict[str, str] = copy["digests"]
        return digests

    def add(
        self,
        entry: Entry,
        origin: str,
        seen: files.Seen,
        here: files.Seen,
        digests: dict[str, str],
    ) -> None:
        self.copies[entry.name] = {
            "of": origin,
            "seen": list(seen.identity),
            "here": list(here.identity),
            "digests": digests,
        }
        self._save()

    def _save(self) -> None:
        value = {"format": 1, "uid": self.uid, "copies": self.copies}
        files.write_whole(self.path, json.dumps(value).encode("ascii"))
