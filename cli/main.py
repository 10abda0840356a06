"""The program `worksets`: its commands, and how it ends.

Exit codes: 0 done; 1 it was looked at, and something is not well (a file that is not lawful, a
check of `doctor` that failed, a workset that nothing was done with); 2 wrong use, or refused; 3
something did not answer: try again; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from cyclopts import App, CycloptsError

from cli import acting, keeping, looking, output
from worksets.errors import ErrorCategory, WorksetError

DONE: Final = 0
NOT_WELL: Final = 1
REFUSED: Final = 2
NO_ANSWER: Final = 3
STOPPED: Final = 130

app = App(
    name="worksets",
    help="Worksets on several clusters: what runs, what waits and why, and what to do.",
    help_epilogue="Settings: --settings FILE.yaml or NAME of a block; else $WORKSETS_SETTINGS, "
    "else the block `default`. Exit codes: 0 done, 1 something is not well, 2 refused, 3 no "
    "answer (try again), 130 stopped.",
    version_flags=[],
    help_format="plaintext",
)


def name_of(command: Callable[..., object]) -> str:
    """What a command is called on the command line."""
    return command.__name__.strip("_").replace("_", "-")


for group in (looking, acting, keeping):
    for command in group.COMMANDS:
        app.command(command, name=name_of(command), group=group.TITLE)
app.register_install_completion_command()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    try:
        result = app(
            list(sys.argv[1:] if argv is None else argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        output.trouble(str(error).strip())
        return REFUSED
    except WorksetError as error:
        output.trouble(str(error))
        return NO_ANSWER if error.category is ErrorCategory.TRANSIENT else REFUSED
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        return DONE  # whoever read has seen enough
    return result if isinstance(result, int) else DONE


def entry() -> None:
    """The console script."""
    sys.exit(main())


if __name__ == "__main__":
    entry()
