"""Doors of rooms: they give what they name, and import little before they are asked for it."""

import subprocess
import sys
from importlib import import_module
from pkgutil import walk_packages

import pytest

import blocks
from blocks import collection
from blocks.strict import StrictBlock


@pytest.mark.parametrize("room", ["state_db", "clusters", "folders", "notify"])
def test_a_door_gives_all_that_it_names_and_nothing_else(room):
    door = import_module(f"blocks.{room}")
    for name in door.__all__:
        assert getattr(door, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nobody'"):
        _ = door.nobody


@pytest.mark.parametrize(
    ("asked_for", "heavy"),
    [
        # Prefect's server starts while its caller still imports Prefect
        ("local.server", ("prefect", "pydantic")),
        ("flows.process_workset", ("boto3", "prefect_aws", "asyncssh")),
    ],
)
def test_doors_import_nothing_heavy(asked_for, heavy):
    code = f"import sys, {asked_for}; sys.exit(', '.join(sys.modules.keys() & set({heavy!r})) or 0)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_prefect_finds_our_block_types_by_itself():
    """`Block.load("slurm-cluster/main")` in a process that has imported nothing of ours."""
    code = (
        "from prefect.blocks.core import Block; "
        "print(*(Block.get_block_class_from_key(slug).__name__ for slug in "
        "['slurm-cluster', 'sqlite-workset-state-db', 'workset-settings', 'sns-topic']))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.stdout.split() == ["SlurmCluster", "SQLiteStateDB", "WorksetSettings", "SnsTopic"]


def test_every_block_type_is_in_the_collection_and_says_what_it_is_for():
    def below(kind):
        return {kind, *(one for sub in kind.__subclasses__() for one in below(sub))}

    for module in walk_packages(blocks.__path__, "blocks."):
        if "on_cluster" not in module.name:  # programs of their own
            import_module(module.name)
    ours = (one for one in below(StrictBlock) if one.__module__.startswith("blocks."))
    assert {one.__name__ for one in ours if "_block_type_slug" in vars(one)} == set(
        collection.__all__
    )
    for name in collection.__all__:
        kind = getattr(collection, name)
        assert len(kind.get_description()) > 20 and kind.__name__ in kind.get_code_example()
