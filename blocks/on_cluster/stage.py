"""Brings a workset's FASTQ files to the cluster: `python stage.py MANIFEST INPUTS`.

A file that is there already with the same size and time is left alone. Exit codes are those of
sysexits.h: 66 a file is missing, 73 no room to write, 74 reading or writing failed.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path

EX_NOINPUT, EX_CANTCREAT, EX_IOERR = 66, 73, 74


def stage(manifest: dict[str, object], inputs: Path) -> int:
    """Copy every file that the manifest's samples name; the number of bytes copied."""
    source = Path(str(manifest["source"])).resolve()
    copied = 0
    samples = manifest["samples"]
    assert isinstance(samples, list)
    for sample in samples:
        for key in ("fastq_r1", "fastq_r2"):
            if not sample[key]:
                continue
            origin = (source / sample[key]).resolve()
            if not origin.is_relative_to(source):
                raise FileNotFoundError(errno.ENOENT, "leads out of the workset's folder", origin)
            copied += copy(origin, inputs / sample[key])
    return copied


def copy(origin: Path, target: Path) -> int:
    """Copy one file so that `target` is whole or absent; bytes copied, 0 if it was there."""
    there, here = origin.stat(), target.stat() if target.exists() else None
    if here and (here.st_size, int(here.st_mtime)) == (there.st_size, int(there.st_mtime)):
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.part")
    shutil.copy2(origin, draft)
    os.replace(draft, target)
    return there.st_size


def explained(work: str, error: OSError) -> int:
    """Print what went wrong with a file and return the exit code that says so."""
    print(f"{work}: {error.filename}: {error.strerror}", file=sys.stderr)
    if isinstance(error, FileNotFoundError):
        return EX_NOINPUT
    return EX_CANTCREAT if error.errno in (errno.ENOSPC, errno.EDQUOT) else EX_IOERR


def main() -> int:
    manifest = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        copied = stage(manifest, Path(sys.argv[2]))
    except OSError as error:
        return explained(f"workset {manifest['workset_id']} is not staged", error)
    print(f"workset {manifest['workset_id']}: {copied:,} bytes staged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
