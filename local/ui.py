"""`make ui`: keep Prefect's server of a run up, to look around, until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from local import server


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.ui", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("run"))
    parser.add_argument("--stop", action="store_true", help="stop the server and return")
    options = parser.parse_args()
    folder = options.run_dir / "server"
    if options.stop:
        server.stop(folder)
        return 0
    running = server.start(folder)
    try:
        running.wait()
        print(f"Prefect's UI: {running.ui_url}   (Ctrl-C stops it)")
        print(f"From Python:  export PREFECT_API_URL={running.api_url}")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop(folder)


if __name__ == "__main__":
    sys.exit(main())
