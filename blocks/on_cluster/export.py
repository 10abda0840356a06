"""Brings a workset's results to their place: `python export.py RESULTS TARGET` (a folder or s3://).

Every file appears whole or not at all; running it again changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stage import EX_NOINPUT, copy, explained


def export(results: Path, target: str) -> int:
    """Copy all files below `results` to the same places below `target`; how many there are."""
    files = sorted(path for path in results.rglob("*") if path.is_file())
    for path in files:
        place = path.relative_to(results)
        if target.startswith("s3://"):
            import s3  # only here: a cluster without S3 needs no boto3

            s3.upload(path, f"{target}/{place.as_posix()}")
        else:
            copy(path, Path(target) / place)
    return len(files)


def main() -> int:
    results, target = Path(sys.argv[1]), sys.argv[2]
    try:
        count = export(results, target)
    except Exception as error:
        code: int = explained(f"the results in {results} are not exported", error)
        return code
    if not count:
        print(f"no results in {results}; did the pipeline write to it?", file=sys.stderr)
        return int(EX_NOINPUT)
    print(f"{count} files exported to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
