"""Our kinds of block by their slugs, so that what is loaded is all that is imported.

To look a slug up Prefect imports every collection there is, AWS's packages among them: a second at
the start of each poller and of each command.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from prefect.blocks.core import Block

OURS: Final = {
    "dynamodb-workset-state-db": ("blocks.state_db", "DynamoDBStateDB"),
    "linear-team": ("blocks.notify", "LinearTeam"),
    "local-cluster": ("blocks.clusters", "LocalCluster"),
    "slurm-cluster": ("blocks.clusters", "SlurmCluster"),
    "sns-topic": ("blocks.notify", "SnsTopic"),
    "sqlite-workset-state-db": ("blocks.state_db", "SQLiteStateDB"),
    "sqs-queue": ("blocks.notify", "SqsQueue"),
    "workset-settings": ("blocks.settings", "WorksetSettings"),
}
"""Where each is to be had."""


def kind_of(slug: str) -> type[Any]:
    """The kind of a slug.

    Raises:
        KeyError: it is not one of ours.
    """
    place, name = OURS[slug]
    found: type[Any] = getattr(import_module(place), name)
    return found


async def load(reference: str) -> Block:
    """The block of a reference `TYPE/NAME`, of our kinds or of any other.

    Raises:
        ValueError: there is none.
    """
    slug, _, name = reference.partition("/")
    if slug not in OURS:
        return await Block.aload(reference)
    found: Block = await kind_of(slug).aload(name)
    return found
