"""`make check`: is a settings file right? Touches nothing and needs no server.

Exit code 0: right; 2: all mistakes are on the error stream, a line each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from local import settings_file
from worksets.errors import ConfigurationError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.check", description=__doc__)
    parser.add_argument("settings", type=Path, help="settings file (YAML)")
    options = parser.parse_args(argv)
    try:
        settings, _, clusters = settings_file.read(options.settings, Path.cwd())
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    counts = (
        (len(clusters), "cluster"),
        (len(settings.customers), "customer"),
        (len(settings.pipelines), "pipeline"),
    )
    listed = ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in counts)
    print(f"{options.settings}: right: {listed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
