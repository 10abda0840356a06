"""Commands by which an operator changes what happens; each does what the deployment does."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from cyclopts import Parameter

from cli import output
from cli.options import COMMON, Common
from cli.site import Site
from tasks.operating import Done, registered, retry_by_hand
from worksets.dead_letters import chosen, missing, require_a_choice, row
from worksets.errors import ErrorCategory, Refused, WorksetError
from worksets.record import AffinityReason, Priority, WorksetRecord
from worksets.texts import line

TITLE: Final = "Act"
HERE: Final = "by hand, on the command line"

Reason = Annotated[str, Parameter(name=["--reason", "-m"])]


def _each(common: Common, ids: tuple[str, ...], act: Any) -> int:
    """Do the same to each workset; one that cannot be changed holds up no other."""
    if not ids:
        raise Refused("name at least one workset; `worksets status` lists them")
    site, rows = common.site(), []
    for id_ in ids:
        try:
            text, record = act(site, id_)
            rows.append({"workset": id_, "done": True, "state": record.state.value, "told": text})
        except WorksetError as error:
            rows.append({"workset": id_, "done": False, "state": "", "told": line(str(error))})
    if common.json:
        output.as_json(rows)
    else:
        for one in rows:
            if one["done"]:
                output.note(f"{one['workset']}: {one['told']}")
            else:
                output.trouble(one["told"])
    return 0 if all(one["done"] for one in rows) else 1


def cancel(*workset_ids: str, reason: Reason = HERE, common: Common = COMMON) -> int:
    """Stop worksets for good; a job that runs is stopped first, by a poller.

    Parameters
    ----------
    workset_ids:
        The worksets.
    reason:
        Kept in the history.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        after = site.db.cancel(id_, reason)
        if after.cancel_requested:
            return f"is cancelled when its job on {after.cluster_name} has ended", after
        return "is cancelled", after

    return _each(common, workset_ids, act)


def retry(
    *workset_ids: str,
    from_start: Annotated[bool, Parameter(negative="")] = False,
    reason: Reason = HERE,
    common: Common = COMMON,
) -> int:
    """The same as Retry in Prefect's UI: what failed or was cancelled goes on; what waits is now.

    Parameters
    ----------
    workset_ids:
        The worksets.
    from_start:
        Run finished steps again; also one that is complete, as a new workset of the same name.
    reason:
        Kept in the history.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        done: Done = retry_by_hand(site.db, id_, reason, from_start=from_start)
        if done.refused:
            raise Refused(done.text)
        return done.text or "is ready", done.record

    return _each(common, workset_ids, act)


def affinity(
    cluster: str,
    *workset_ids: str,
    required: Annotated[bool, Parameter(negative="")] = False,
    reason: Annotated[AffinityReason, Parameter(name=["--because", "-b"])] = AffinityReason.MANUAL,
    common: Common = COMMON,
) -> int:
    """Have worksets run on a cluster if it can be, or there and nowhere else.

    Parameters
    ----------
    cluster:
        Its name in the settings.
    workset_ids:
        The worksets.
    required:
        Wait for that cluster, however long it takes nothing.
    reason:
        manual, data_locality, cost or resources.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        site.cluster(cluster)
        after = site.db.set_cluster_affinity(id_, cluster, reason, required=required)
        return f"{'must' if required else 'should'} run on {cluster}", after

    return _each(common, workset_ids, act)


def ignore(*workset_ids: str, reason: Reason = HERE, common: Common = COMMON) -> int:
    """Have worksets never processed; `worksets restore` takes them back.

    Parameters
    ----------
    workset_ids:
        The worksets: those that wait or have failed.
    reason:
        Kept in the history.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        return "is ignored", site.db.ignore(id_, reason)

    return _each(common, workset_ids, act)


def restore(*workset_ids: str, reason: Reason = HERE, common: Common = COMMON) -> int:
    """Take back worksets that are ignored, have failed or were cancelled, with all their retries.

    Parameters
    ----------
    workset_ids:
        The worksets.
    reason:
        Kept in the history.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        return "is ready", site.db.restore(id_, reason)

    return _each(common, workset_ids, act)


def priority(
    priority: Priority, *workset_ids: str, reason: Reason = HERE, common: Common = COMMON
) -> int:
    """Say how urgent worksets are; their files say it no more.

    Parameters
    ----------
    priority:
        urgent, normal or low.
    workset_ids:
        The worksets; unfinished ones, or dead letters.
    reason:
        Kept in the history.
    """

    def act(site: Site, id_: str) -> tuple[str, WorksetRecord]:
        return f"is {priority.value} now", site.db.set_priority(id_, priority, reason)

    return _each(common, workset_ids, act)


def redrive(
    *workset_ids: str,
    customer: str | None = None,
    error_class: Annotated[ErrorCategory | None, Parameter(name="--class")] = None,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    from_start: bool | None = None,
    reason: Reason = HERE,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Bring dead letters back, with all their retries: these, a customer's, a class's, or all.

    Parameters
    ----------
    workset_ids:
        These dead letters.
    customer:
        Only this customer's.
    error_class:
        Only those with an error of this class.
    everything:
        All dead letters, if nothing else is chosen.
    from_start:
        Run finished steps again; else only where the data were at fault.
    reason:
        Kept in the history.
    dry_run:
        Only list them.
    """
    ids = list(workset_ids) or None
    if not dry_run:
        require_a_choice(ids, customer, error_class, everything)
    site = common.site()
    letters = chosen(site.db.dead_letters(), ids, customer, error_class)
    unknown = missing(letters, ids)
    rows: list[dict[str, Any]] = [row(record) for record in letters]
    if not dry_run:
        for one in rows:
            try:
                site.db.restore(one["workset"], reason, from_start=from_start)
                one["redriven"] = True
            except Refused as error:
                one["redriven"] = False
                output.trouble(str(error))
    if common.json:
        output.as_json({"dead_letters": rows, "no_dead_letters": unknown})
    else:
        if rows:
            output.table(
                rows, ["workset", "customer", "failed", "step", "class", "cause and remedy"]
            )
        done = sum(one.get("redriven", False) for one in rows)
        output.note(f"{len(rows)} dead letters" + ("" if dry_run else f", {done} ready again"))
        for id_ in unknown:
            output.trouble(f"workset {id_} is no dead letter")
    whole = all(one.get("redriven", True) for one in rows)
    return 0 if whole and not unknown else 1


def drain(
    cluster: str,
    *,
    reason: Reason = "",
    resume: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Place nothing new on a cluster, from the next cycle on; what runs there goes on.

    Parameters
    ----------
    cluster:
        Its name in the settings.
    reason:
        Why; shown with whatever waits for it.
    resume:
        Take it back.
    """
    site = common.site()
    site.cluster(cluster)
    if resume:
        site.db.undrain(cluster)
    else:
        site.db.drain(cluster, reason or HERE)
    if common.json:
        output.as_json({"cluster": cluster, "drained": not resume, "reason": reason})
    else:
        output.note(f"{cluster} is {'placed on again' if resume else 'drained'}")
    return 0


def lost(
    workset_id: str | None = None,
    *,
    cluster: str | None = None,
    reason: Reason = "",
    common: Common = COMMON,
) -> int:
    """Your word that a job, or a whole cluster with all on it, is gone for good.

    Never of what may still run: its worksets begin anew elsewhere at once.

    Parameters
    ----------
    workset_id:
        The workset whose job is gone.
    cluster:
        Or: the cluster that never comes back.
    reason:
        Why; it must be given.
    """
    if (workset_id is None) == (cluster is None):
        raise Refused("name one workset, or a cluster with --cluster NAME")
    if not reason:
        raise Refused("say why, with --reason: it is kept in the history")
    site = common.site()
    if cluster is not None:
        site.cluster(cluster)
        after = site.db.cluster_lost(cluster, reason)
    else:
        assert workset_id is not None
        after = [site.db.lost(workset_id, reason)]
    rows = [{"workset": r.workset_id, "state": r.state.value} for r in after]
    if common.json:
        output.as_json(rows)
    else:
        for one in rows:
            output.note(f"{one['workset']}: its job is lost; it is {one['state']}")
        if not rows:
            output.note(f"nothing unfinished is on {cluster}")
    return 0


def register(*folders: str, common: Common = COMMON) -> int:
    """Take folders for worksets now, and not when the next poll finds them.

    Parameters
    ----------
    folders:
        Folders (or s3:// URIs) directly below a watched place.
    """
    if not folders:
        raise Refused("name at least one folder")
    site = common.site(may_be_new=True)
    rows = asyncio.run(registered(site.settings, site.db, folders))
    if common.json:
        output.as_json(rows)
    else:
        for one in rows:
            if one["done"]:
                output.note(f"{one['folder']}: {one['told']}")
            else:
                output.trouble(f"{one['folder']}: {one['told']}")
    return 0 if all(one["done"] for one in rows) else 1


COMMANDS: Final = (
    register, cancel, retry, redrive, priority, affinity, ignore, restore, drain, lost,
)  # fmt: skip
