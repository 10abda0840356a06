"""`make ui`: keep Prefect's server of a run up, to look around, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from local import server
from local.private import private_folder
from worksets.errors import WorksetError


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.ui", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=Path("run"))
    parser.add_argument("--stop", action="store_true", help="stop the server and return")
    options = parser.parse_args(argv)
    folder = options.run_dir / "server"
    if options.stop:
        server.stop(folder)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    running = None
    try:
        running = server.start(private_folder(options.run_dir) / "server")
        password_file = running.password_file
        running.wait()
        # one that `worksets serve` works with is left alone
        ends = (
            "Ctrl-C stops it" if running.is_new else "it ran already, and goes on; --stop ends it"
        )
        print(f"Prefect's UI: {running.ui_url}   ({ends})")
        print(f"Password:     {running.password}   (the UI asks for it once)")
        print(f"From Python:  export PREFECT_API_URL={running.api_url}")
        print(f"              export PREFECT_API_AUTH_STRING=$(cat {quote(str(password_file))})")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return 0
    except (WorksetError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if running is not None and running.is_new:
            server.stop(folder)


if __name__ == "__main__":
    sys.exit(main())
