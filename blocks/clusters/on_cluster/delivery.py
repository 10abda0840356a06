"""The manifest of a delivery: which files of ours lie in an export's place, and whether all do.

`worksets-manifest.json` is JSON in ASCII. A name that is no UTF-8 has, for each byte that is not,
the lone surrogate U+DC80 to U+DCFF (`\\udc80` … `\\udcff`) as Python's surrogateescape has it:
`name.encode("utf-8", "surrogateescape")` gives the bytes back, and no other name is spelled so.

    format         1
    state          "exporting": some of these files may be missing, or be half of an older delivery;
                   "complete": all are there, and each was verified where it lies
    workset_id, customer_id, uid, lineage     whose it is
    files          name, bytes, mtime_ns (of the source), sha256 (null: not verified yet); with
                   S3, parts_sha256 of a file that went up in parts: what S3 says of the object;
                   "earlier": true, in state "exporting", for what is to be removed
    empty_folders  names
    files_count, bytes                        without the earlier ones
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import files
else:
    import files

NAME = b"worksets-manifest.json"
MOST_BYTES = 1024 * 1024 * 1024
"""A manifest that is longer is not read; a million files take about 200 MB."""


@dataclass
class File:
    """One file of a delivery."""

    name: bytes
    size: int
    mtime_ns: int
    sha256: str | None = None
    parts_sha256: str = ""
    earlier: bool = False

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {
            "name": text(self.name),
            "bytes": self.size,
            "sha256": self.sha256,
            "mtime_ns": self.mtime_ns,
        }
        if self.parts_sha256:
            value["parts_sha256"] = self.parts_sha256
        if self.earlier:
            value["earlier"] = True
        return value


@dataclass
class Delivery:
    """A manifest."""

    workset_id: str
    customer_id: str
    uid: str
    lineage: int | None
    state: str = "exporting"
    files: list[File] = field(default_factory=list)
    empty_folders: list[bytes] = field(default_factory=list)

    def encoded(self) -> bytes:
        own = [file for file in self.files if not file.earlier]
        value = {
            "format": 1,
            "state": self.state,
            "workset_id": self.workset_id,
            "customer_id": self.customer_id,
            "uid": self.uid,
            "lineage": self.lineage,
            "files_count": len(own),
            "bytes": sum(file.size for file in own),
            "files": [file.as_json() for file in self.files],
            "empty_folders": [text(name) for name in self.empty_folders],
        }
        return (json.dumps(value, indent=1) + "\n").encode("ascii")


def text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def bytes_of(name: Any) -> bytes:
    encoded = str(name).encode("utf-8", "surrogateescape")
    files.parts(encoded, "the name")  # whoever wrote it: nothing outside is ever removed for it
    return encoded


def decoded(content: bytes, where: str) -> Delivery:
    """A manifest that lay in an export's place.

    Raises:
        files.Failed: it is damaged, or of another release.
    """
    try:
        value = json.loads(content)
        if value["format"] != 1:
            raise ValueError(f"its format is {value['format']!r}")
        return Delivery(
            workset_id=str(value["workset_id"]),
            customer_id=str(value["customer_id"]),
            uid=str(value["uid"]),
            lineage=value["lineage"],
            state=str(value["state"]),
            files=[_file(item) for item in value["files"]],
            empty_folders=[bytes_of(name) for name in value["empty_folders"]],
        )
    except (ValueError, KeyError, TypeError, files.Failed) as error:
        raise files.Failed(
            files.EX_CONFIG,
            f"{where} cannot be read ({type(error).__name__}: {error}), so it is not known which "
            f"files there are of an earlier export; move it away, and remove those files yourself",
        ) from error


def _file(item: Any) -> File:
    sha256 = item["sha256"]
    return File(
        name=bytes_of(item["name"]),
        size=int(item["bytes"]),
        mtime_ns=int(item["mtime_ns"]),
        sha256=None if sha256 is None else str(sha256),
        parts_sha256=str(item.get("parts_sha256", "")),
        earlier=bool(item.get("earlier", False)),
    )
