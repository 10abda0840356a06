"""`worksets doctor`: is all there that this installation needs? Each failure with its remedy."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from blocks.clusters import Cluster
from blocks.folders import LocalSource
from cli import output
from cli.options import COMMON, Common
from cli.site import Site, is_file, open_site
from local.server import running
from tasks.sync_limits import all_limits, limit_name
from worksets.errors import WorksetError
from worksets.leases import CLOCK_SKEW_S, is_over
from worksets.record import State
from worksets.texts import few, line

LOW_GB: Final = 5.0
"""GB of free disk below which it is said."""
BLOCKS: Final = ("s3-bucket/", "local-file-system/")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    well: bool
    told: str
    remedy: str = ""


def doctor(
    *, run_dir: Annotated[Path, Parameter(name="--run-dir")] = Path("run"), common: Common = COMMON
) -> int:
    """Look at all that an installation needs, and say what is not well and what to do.

    Parameters
    ----------
    run_dir:
        The folder of `make run` or `make serve`, for the server's log.
    """
    found = list(examine(common.settings, run_dir))
    if common.json:
        output.as_json([asdict(one) for one in found])
    else:
        for one in found:
            style = "green" if one.well else "red"
            output.note(f"{'well' if one.well else 'NOT WELL':9}", f"{one.what}: {one.told}",
                        style=style)  # fmt: skip
            if one.remedy and not one.well:
                output.note("", f"{'':9}→ {one.remedy}")
    return 0 if all(one.well for one in found) else 1


def examine(settings: str | None, run_dir: Path) -> Iterator[Finding]:
    """Everything that can be looked at, one after the other; one failure stops no other look."""
    try:
        site = open_site(settings)
    except WorksetError as error:
        yield Finding("settings", False, line(str(error)), "correct that; then run doctor again")
        yield from _server(run_dir)
        return
    kind = "file" if is_file(site.name) else "block"
    yield Finding("settings", True, f"the {kind} {site.name} is right")
    looks: tuple[Callable[[Site], Iterator[Finding]], ...] = (
        _state_db,
        _pollers,
        _places,
        _results,
        _clusters,
        _budgets,
    )
    for look in looks:
        try:
            yield from look(site)
        except WorksetError as error:
            name = look.__name__.strip("_").replace("_", " ")
            yield Finding(name, False, line(str(error)), "see the message")
    yield from _server(run_dir)
    try:
        yield from _tag_limits(site, run_dir)
    except WorksetError as error:
        yield Finding("tag limits", False, line(str(error)), "see the message")


def _state_db(site: Site) -> Iterator[Finding]:
    installation = site.db.installation()
    depth = site.db.get_queue_depth()
    counts = ", ".join(f"{count} {state}" for state, count in depth.items() if count)
    yield Finding("state DB", True, f"answers; installation {installation}; {counts or 'empty'}")
    off = site.db.clock_off_s()
    yield Finding(
        "clock",
        abs(off) <= CLOCK_SKEW_S,
        f"off by {off:+.1f} s",
        "set this machine's clock by NTP: with a wrong one it judges nobody",
    )
    site.db.list_worksets((*_WAITING, State.FAILED))
    aside = site.db.set_aside
    if aside:
        yield Finding(
            "records", False, f"{len(aside)} cannot be read: {few(sorted(aside), 5)}",
            "they are left as they are; were they written by a newer release? Upgrade this one",
        )  # fmt: skip
    letters = depth.get(State.FAILED.value, 0)
    yield Finding(
        "dead letters", not letters, f"{letters}", "worksets redrive --dry-run lists them"
    )


_WAITING: Final = (State.READY, State.RETRYING, State.LOCKED, State.IN_PROGRESS)


def _pollers(site: Site) -> Iterator[Finding]:
    leases, now = site.db.leases(), site.db.now()
    alive = sorted(owner for owner, end in leases.items() if not is_over(end, now))
    held = site.db.held()
    if alive:
        yield Finding("pollers", True, f"{len(alive)} alive: {few(alive, 5)}")
        return
    waits = f"; {len(held)} worksets are held by nobody alive" if held else ""
    yield Finding(
        "pollers", False, f"none is alive{waits}",
        "worksets serve, or the schedule of the deployment poll-worksets",
    )  # fmt: skip


def _places(site: Site) -> Iterator[Finding]:
    for entry in site.settings.worksets:
        if entry.startswith(BLOCKS):
            yield Finding(f"place {entry}", True, "a block; it is looked at by a poller")
            continue
        try:
            found, _ = LocalSource(entry).find("")
        except WorksetError as error:
            yield Finding(
                f"place {entry}", False, line(str(error)), "mount it, or correct the path"
            )
            continue
        refused = [one.location for one in found if one.refused]
        told = f"{len(found)} folders"
        yield Finding(
            f"place {entry}",
            not refused,
            told + (f", {len(refused)} are passed over: {few(refused, 3)}" if refused else ""),
            next((one.refused for one in found if one.refused), ""),
        )


def _results(site: Site) -> Iterator[Finding]:
    for target in dict.fromkeys([site.settings.results, *site.settings.export_roots]):
        if target.startswith("s3://"):
            yield Finding(f"results {target}", True, "on S3; written by the nodes' own role")
            continue
        yield _writable(f"results {target}", Path(target.removeprefix("file://")))


def _budgets(site: Site) -> Iterator[Finding]:
    for name, budget in site.budgets(site.views()).items():
        remedy = "its worksets wait: raise its budget_usd_per_month, or wait for next month"
        yield Finding(f"budget of {name}", budget.left_usd > 0, str(budget), remedy)


def _clusters(site: Site) -> Iterator[Finding]:
    drained = site.db.drained(cluster.cluster_name for cluster in site.clusters)
    unsaid = any(not (one.vcpus and one.memory_gb) for one in site.settings.least_needs)
    for cluster in site.clusters:
        name = f"cluster {cluster.cluster_name}"
        try:
            asked = site.cluster(cluster.cluster_name)
            room = asked.capacity(site.settings.least_needs)
            remarks = asked.remarks()
        except WorksetError as error:
            yield Finding(name, False, line(str(error)), "see docs/life-cycle.md")
            continue
        view = asked.view()
        gives = f"{view.vcpus_per_workset} vCPUs and {view.memory_gb_per_workset:g} GB a workset"
        if view.never:
            yield Finding(name, False, f"nothing can run there: {view.never}", "correct its block")
        elif why := drained.get(cluster.cluster_name):
            remedy = f"worksets drain {cluster.cluster_name} --resume"
            yield Finding(name, False, f"takes nothing new: {why}", remedy)
        elif view.unavailable:
            yield Finding(name, False, f"takes nothing new: {view.unavailable}", "see its settings")
        elif unsaid and not view.holds_unsaid:
            told = f"no node of it has {gives}: of pipelines that say nothing it takes no workset"
            remedy = "lower vcpus_per_workset or memory_gb_per_workset"
            yield Finding(name, False, told, remedy)
        else:
            told = "no bound of its own" if room is None else f"room for {room}"
            yield Finding(
                name, room != 0, f"answers; {told}; {gives}", "are its nodes up and idle?"
            )
        for remark in remarks:
            yield Finding(name, False, remark, "correct its block")
        folder = getattr(cluster, "work_folder", "")
        if getattr(cluster, "_block_type_slug", "") == "local-cluster" and folder:
            yield _writable(f"work folder of {cluster.cluster_name}", Path(folder))


def _writable(what: str, path: Path) -> Finding:
    """Whether a folder that is there, or is made when it is needed, can be written, with room."""
    there = path.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return Finding(what, False, f"{there} cannot be written", "give this user the right to")
    free = shutil.disk_usage(there).free / 1e9
    return Finding(
        what, free >= LOW_GB, f"can be written; {free:.1f} GB free", "make room on that disk"
    )


def _server(run_dir: Path) -> Iterator[Finding]:
    """Prefect's server, and what its log says, where it is one of ours."""
    from prefect.settings import get_current_settings

    url = get_current_settings().api.url
    note = run_dir / "server" / "server.json"
    if not url and note.exists():
        try:
            url = f"http://127.0.0.1:{json.loads(note.read_text(encoding='utf-8'))['port']}/api"
        except (OSError, ValueError, KeyError, TypeError):
            url = None
    if not url:
        yield Finding("Prefect's server", True, "none is named here (PREFECT_API_URL); not asked")
        return
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            well = answer.status == 200
        yield Finding("Prefect's server", well, f"{url} answers")
    except urllib.error.HTTPError as error:
        # it wants a password for this, too; that is an answer
        yield Finding("Prefect's server", error.code == 401, f"{url} answers {error.code}")
    except (OSError, ValueError) as error:
        yield Finding(
            "Prefect's server", False, f"{url} does not answer: {line(str(error), 200)}",
            "worksets serve (or ui) starts one; or correct PREFECT_API_URL",
        )  # fmt: skip
    log = run_dir / "server" / "server.log"
    if log.exists():
        bad = [text for text in log.read_text(errors="replace").splitlines() if "| ERROR" in text]
        told = f"{len(bad)} errors" + (f"; the last: {line(bad[-1], 200)}" if bad else "")
        yield Finding("the server's log", not bad, told, f"read {log}")


def _tag_limits(site: Site, run_dir: Path) -> Iterator[Finding]:
    """Whether Prefect's limits, by which its UI holds tasks back, are those of the settings."""
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        get_current_settings,
        temporary_settings,
    )

    own = None if get_current_settings().api.url else running(run_dir / "server")
    if own is None and not get_current_settings().api.url:
        return
    server = {PREFECT_API_URL: own.api_url, PREFECT_API_AUTH_STRING: own.password} if own else {}
    try:
        with temporary_settings(updates=server):
            there = asyncio.run(_limits_there())
    except Exception as error:  # whatever the server says: the other checks go on
        yield Finding("tag limits", False, line(str(error), 200), "see Prefect's server")
        return
    installation, held = site.db.installation(), site.held_counts()
    wrong = []
    roomy = {
        f"cluster:{cluster.cluster_name}"
        for cluster in site.clusters
        if type(cluster).capacity is not Cluster.capacity
    }
    for scope, most in site.limits(site.views()).by_scope().items():
        found = there.get(limit_name(scope, installation))
        # of a cluster it is what it has room for now, where that is less
        less = scope in roomy and found is not None and 1 <= found <= most
        if most > 0 and not less and found not in (most, max(most, held.get(scope, 0))):
            wrong.append(f"{scope}: {'none' if found is None else found}, not {most}")
    told = few(wrong, 5) if wrong else "are those of the settings"
    yield Finding("tag limits", not wrong, told, "a poller puts them right: does one run?")


async def _limits_there() -> dict[str, int]:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return {limit.name: limit.limit for limit in await all_limits(client)}
