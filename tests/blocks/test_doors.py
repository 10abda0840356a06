"""Doors of rooms: they give what they name, and import little before they are asked for it."""

import subprocess
import sys
from importlib import import_module

import pytest


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
