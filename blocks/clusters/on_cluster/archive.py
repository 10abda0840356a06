"""Puts a workset's record beside its results: `archive.py JOB_FOLDER UID < RECORD`.

The manifest in the folder of its last job says where its results went. The record is the JSON of
the state DB; it becomes `worksets-record.UID.json` there, whole or not at all. A JSON line is
printed: `where` it lies, or what was `wrong`. Run again it changes nothing. It is no file of the
results: an export of another run leaves it alone. Python 3.9.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # mypy knows them by their package; on a node they lie side by side
    from blocks.clusters.on_cluster import export, files
else:
    import export
    import files


def put(job_folder: str, uid: str, content: bytes) -> str:
    """Write the record; where it lies now."""
    manifest = os.path.join(job_folder, "manifest.json")
    owner = export.Owner(manifest)
    if owner.uid != uid:
        raise files.Failed(files.EX_CONFIG, f"{manifest} is of {owner.uid!r}, and not of {uid!r}")
    target = owner.target(owner.place)
    name = (f"worksets-record.{uid}.json" if uid else "worksets-record.json").encode()
    target.write(name, content, is_first=False)
    return target.shown(name)


def main(argv: list[str]) -> int:
    job_folder, uid = argv
    files.prepare()
    try:
        told = {"where": put(job_folder, uid, sys.stdin.buffer.read())}
    except files.Failed as error:
        told = {"wrong": str(error)}
    except OSError as error:
        told = {"wrong": str(files.failed(error.filename or "", error))}
    except Exception as error:  # no boto3, or no credentials: it is this record's trouble alone
        told = {"wrong": f"{type(error).__name__}: {error}"}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
