"""Brings a workset's results to their place: `python export.py RESULTS TARGET_FOLDER`.

Every file appears whole or not at all; running it again changes nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from stage import EX_NOINPUT, copy, explained


def export(results: Path, target: Path) -> int:
    """Copy all files below `results` to the same places below `target`; how many there are."""
    files = sorted(path for path in results.rglob("*") if path.is_file())
    for path in files:
        copy(path, target / path.relative_to(results))
    return len(files)


def main() -> int:
    results, target = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        count = export(results, target)
    except OSError as error:
        code: int = explained(f"the results in {results} are not exported", error)
        return code
    if not count:
        print(f"no results in {results}; did the pipeline write to it?", file=sys.stderr)
        return int(EX_NOINPUT)
    print(f"{count} files exported to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
