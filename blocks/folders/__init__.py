"""Where worksets come from: watched places, whose sub-folders with a `daylily_work.yaml` they are.

One interface for local folders (`LocalFileSystem`, or a path) and for S3 (`S3Bucket`). A workset's
folder is a real folder directly below the watched one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.doors import opened_when_asked
from blocks.folders.base import Folder, Found, Source, SpecFile, SpecMissing
from blocks.folders.local import LocalFolder, LocalSource, local_folder, look_at

if TYPE_CHECKING:
    from blocks.folders.s3 import S3Folder, S3Source
else:
    __getattr__ = opened_when_asked(__name__, s3="S3Folder S3Source")

__all__ = [
    "Folder",
    "Found",
    "LocalFolder",
    "LocalSource",
    "S3Folder",
    "S3Source",
    "Source",
    "SpecFile",
    "SpecMissing",
    "local_folder",
    "look_at",
]
