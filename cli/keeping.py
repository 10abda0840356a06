"""Commands that start, check and keep an installation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

from cyclopts import Parameter

from cli import checking, doctor, output, usage
from cli.options import COMMON, Common
from cli.site import VARIABLE, is_file
from tasks.cleaning import cleaned, closing_all
from worksets.errors import ConfigurationError

TITLE: Final = "Keep"
TEMPLATES: Final = Path(__file__).parent / "templates"
KINDS: Final = {"workset": "daylily_work.yaml", "settings": "settings.yaml"}

RunDir = Annotated[Path, Parameter(name="--run-dir")]


def _file(common: Common) -> str:
    """The settings file that is meant.

    Raises:
        ConfigurationError: a block is meant, or nothing.
    """
    name = common.settings or os.environ.get(VARIABLE, "")
    if not name or not is_file(name):
        raise ConfigurationError(f"name a settings file: --settings FILE.yaml, or set {VARIABLE}")
    return name


def _become(module: str, *arguments: str) -> NoReturn:
    """Go on as another program of ours: one that starts a server before it imports Prefect, which
    reads its settings but once."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def run(*, run_dir: RunDir = Path("run"), common: Common = COMMON) -> NoReturn:
    """Process all worksets of the settings' folders, and end when nothing is left.

    Starts Prefect's server in the run folder, unless PREFECT_API_URL names one.

    Parameters
    ----------
    run_dir:
        Where the server's files and the summary go.
    """
    _become("local.run", "--settings", _file(common), "--run-dir", str(run_dir))


def serve(*, run_dir: RunDir = Path("run"), common: Common = COMMON) -> NoReturn:
    """The same until Ctrl-C; Prefect's UI is the control room. Jobs go on; the next one attaches.

    Parameters
    ----------
    run_dir:
        Where the server's files and the summary go.
    """
    _become("local.run", "--serve", "--settings", _file(common), "--run-dir", str(run_dir))


def ui(
    *, run_dir: RunDir = Path("run"), stop: Annotated[bool, Parameter(negative="")] = False
) -> NoReturn:
    """Keep Prefect's server of a run up, to look around, until Ctrl-C.

    Parameters
    ----------
    run_dir:
        The folder of that run.
    stop:
        Stop the server instead.
    """
    _become("local.ui", "--run-dir", str(run_dir), *(["--stop"] if stop else []))


def apply(*, common: Common = COMMON) -> int:
    """Save a settings file as blocks on Prefect's server (PREFECT_API_URL); print what changed."""
    import asyncio

    from cli.applying import applied

    rows = asyncio.run(applied(Path(_file(common))))
    if common.json:
        output.as_json(rows)
        return 0
    for one in rows:
        output.note(f"{one['block']}: {one['told']}")
    return 0


def check(
    what: Path,
    *,
    files: bool = True,
    common: Common = COMMON,
) -> int:
    """Is a workset, its YAML file, or a settings file right? Exit code 0: it is.

    Needs no server, and changes nothing. With --settings, a workset is judged as a poll would.

    Parameters
    ----------
    what:
        A workset's folder, a daylily_work.yaml, or a settings file.
    files:
        Look at the FASTQ files too.
    """
    found = checking.check(what, common.settings, files)
    if common.json:
        output.as_json(found)
    else:
        for text in found["mistakes"]:
            output.trouble(text)
        for text in found["warnings"]:
            output.note("warning: ", text, style="yellow")
        if found["right"]:
            output.note(f"{what}: right: {found['told']}")
    return 0 if found["right"] else 1


def new(kind: str, path: Path | None = None, *, common: Common = COMMON) -> int:
    """Write an annotated file to begin with: `new workset [FOLDER]`, `new settings [FILE]`.

    Parameters
    ----------
    kind:
        workset or settings.
    path:
        Where; for a workset its folder.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"{kind!r} is nothing to write; write `workset` or `settings`")
    if kind == "workset":
        target = (path or Path()) / KINDS[kind]
    else:
        target = path or Path(KINDS[kind])
    text = (TEMPLATES / KINDS[kind]).read_text(encoding="utf-8")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{target} is there already; it is left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from None
    if common.json:
        output.as_json({"written": str(target)})
    else:
        output.note(f"written: {target}; edit it, then: worksets check {target}")
    return 0


def clean(
    *,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Delete on the clusters what the settings' `keep` lets go, and archive old records.

    Only of complete worksets, whose results an exporter's receipt says to be in their place. One
    of the pollers does the same once a day, and of a cluster as soon as its disk is full.

    Parameters
    ----------
    dry_run:
        Only say what would be done.
    """
    site = common.site()
    clusters = [site.cluster(cluster.cluster_name) for cluster in site.clusters]
    with closing_all(clusters):
        rows = list(cleaned(site.db, clusters, site.settings.keep, dry_run))
    if common.json:
        output.as_json(rows)
        return 0 if all(row["done"] for row in rows) else 1
    if rows:
        output.table(rows, ["cluster", "workset", "lineage", "part", "gb", "files", "told"])
    gb = sum(row.get("gb", 0.0) for row in rows if row["done"])
    if not site.settings.keep.anything_goes:
        output.note("nothing: the settings' `keep` says that all stays for ever")
    else:
        output.note(f"{gb:.3f} GB {'would be' if dry_run else 'were'} deleted")
    return 0 if all(row["done"] for row in rows) else 1


def forget(
    *,
    run_dir: RunDir = Path("run"),
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="")] = False,
) -> int:
    """Forget a run folder: server, state DB, clusters' files. Results stay; asks where it matters.

    Parameters
    ----------
    run_dir:
        The folder.
    yes:
        Do not ask.
    """
    from local.clean import main

    return main(["--run-dir", str(run_dir), *(["--yes"] if yes else [])])


def create_table(*, common: Common = COMMON) -> int:
    """Make the DynamoDB table of the settings' state DB, if it is not there. Needs no server.

    Nothing else makes it: a table's name that was mistyped would begin with nothing known, and
    would process all worksets again.
    """
    from local import settings_file

    _, db, _ = settings_file.read(Path(_file(common)), Path.cwd())
    create = getattr(db, "create_table_if_not_exists", None)
    made = create() if create else False
    told = "is made" if made else "is there" if create else "is a file: nothing is to be made"
    if common.json:
        output.as_json({"made": made, "told": told})
    else:
        output.note(f"the state DB {getattr(db, 'table_name', '')} {told}".replace("  ", " "))
    return 0


def move_state(
    source: Annotated[Path, Parameter(name="--from")],
    target: Annotated[Path, Parameter(name="--to")],
) -> int:
    """Copy all worksets to another state DB, such as from SQLite to DynamoDB; deletes nothing.

    Parameters
    ----------
    source:
        Settings file whose state DB has them now; no process may work with it.
    target:
        Settings file whose state DB they go to; an empty one.
    """
    from local.move_state import main

    return main(["--from", str(source), "--to", str(target)])


COMMANDS: Final[tuple[Callable[..., Any], ...]] = (
    run,
    serve,
    ui,
    check,
    apply,
    new,
    usage.usage,
    doctor.doctor,
    clean,
    forget,
    create_table,
    move_state,
)
