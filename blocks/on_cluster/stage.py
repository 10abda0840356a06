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
    samples = manifest["samples"]
    assert isinstance(samples, list)
    names = [sample[key] for sample in samples for key in ("fastq_r1", "fastq_r2") if sample[key]]
    source = str(manifest["source"])
    if source.startswith("s3://"):
        import s3  # only here: a cluster without S3 needs no boto3

        return sum(s3.download(f"{source}/{name}", inputs / name) for name in names)
    return sum(copy(within(Path(source).resolve(), name), inputs / name) for name in names)


def within(source: Path, name: str) -> Path:
    """The file `name` of the workset's folder, which no link may lead out of."""
    origin = (source / name).resolve()
    if not origin.is_relative_to(source):
        raise FileNotFoundError(errno.ENOENT, "leads out of the workset's folder", str(origin))
    return origin


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


def explained(work: str, error: Exception) -> int:
    """Print what went wrong with a file and return the exit code that says so."""
    if not isinstance(error, OSError):
        import s3

        if not isinstance(error, s3.Errors):
            raise error
        return int(s3.explained(work, error))
    print(f"{work}: {error.filename}: {error.strerror}", file=sys.stderr)
    if isinstance(error, FileNotFoundError):
        return EX_NOINPUT
    return EX_CANTCREAT if error.errno in (errno.ENOSPC, errno.EDQUOT) else EX_IOERR


def main() -> int:
    manifest = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        copied = stage(manifest, Path(sys.argv[2]))
    except Exception as error:
        return explained(f"workset {manifest['workset_id']} is not staged", error)
    print(f"workset {manifest['workset_id']}: {copied:,} bytes staged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
