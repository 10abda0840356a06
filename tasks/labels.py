"""Names and tags by which Prefect's UI and limits know a workset's runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from prefect import runtime
from prefect.client.orchestration import get_client
from prefect.context import TagsContext, tags
from prefect.tasks import Task

from host import host, process_tag
from worksets.record import UNFINISHED, WorksetRecord, scopes_of
from worksets.texts import line

P = ParamSpec("P")
R = TypeVar("R")

GLOBAL_TAG = "worksets"
MAX_NAME = 100
"""Characters of a workset's id in the name of a run."""


def tag_of(scope: str, installation: str) -> str:
    """The Prefect tag whose limit mirrors a scope of the state DB, such as `cluster:a@k3f9qa`.

    Two installations on one server have limits, and slots, of their own.
    """
    return f"{GLOBAL_TAG if scope == 'global' else scope}@{installation}"


def limited(
    step: Task[P, Coroutine[Any, Any, R]], record: WorksetRecord
) -> Callable[P, Coroutine[Any, Any, R]]:
    """The step with the tags that take a slot of each limit for as long as it runs."""
    scopes = scopes_of(record.cluster_name, record.customer_id)
    return step.with_options(
        tags=sorted(tag_of(scope, host().installation) for scope in scopes),
        task_run_name=f"{step.name} {record.workset_id} on {record.cluster_name}",
    )


@contextmanager
def labelled(record: WorksetRecord) -> Iterator[None]:
    """Tags of a flow run that is about to be created."""
    with tags(*flow_tags(record), process_tag(host().owner)):
        yield


def flow_tags(record: WorksetRecord) -> list[str]:
    return [f"workset:{record.workset_id}", f"customer:{record.customer_id or 'unknown'}"]


@contextmanager
def unlimited() -> Iterator[None]:
    """Keep the flow's tags from the tasks within: a task tagged customer:… would take a slot."""
    with TagsContext(current_tags=set()):
        yield


def flow_run_name() -> str:
    """`WORKSET · attempt N`, from the parameters of the run."""
    given = runtime.flow_run.parameters
    return name_of_run(str(given["workset_id"]), given.get("attempt"))


def name_of_run(workset_id: str, attempt: int | None) -> str:
    """The name of a flow run; whoever started it by hand may have written anything."""
    return line(workset_id, MAX_NAME) + (f" · attempt {attempt}" if attempt else "")


def _lasting() -> list[str]:
    """The run's tags, but for that of a process in which it may have run before."""
    return [tag for tag in runtime.flow_run.tags if not tag.startswith(process_tag(""))]


async def label_by_hand(record: WorksetRecord) -> None:
    """Give a run that a person started the name and tags that a poller would have given it."""
    at = f"attempt {record.current_attempt}" if record.state in UNFINISHED else record.state.value
    async with get_client() as client:
        await client.update_flow_run(
            flow_run_id=runtime.flow_run.id,
            name=f"{record.workset_id} · {at}",
            tags=sorted({*_lasting(), *flow_tags(record), process_tag(host().owner)}),
        )
