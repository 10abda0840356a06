"""docs/reference.md is what the code says now, and nothing is left out of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocks.clusters.local import LocalCluster
from blocks.clusters.slurm.cluster import SlurmCluster
from blocks.clusters.slurm.ssh import SshTransport
from blocks.clusters.slurm.ssm import SsmTransport
from blocks.settings import WorksetSettings
from blocks.state_db.dynamodb import DynamoDBStateDB
from blocks.state_db.sqlite import SQLiteStateDB
from cli import acting, keeping, looking, reference
from cli.main import app, name_of
from flows.poll_worksets import SERVED
from worksets.announcements import Kind
from worksets.config import Customer, Pipeline, ProcessorConfig
from worksets.costs import PlacementPolicy
from worksets.spec import Sample, WorksetSpec

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference.md"
MODELS = (
    WorksetSettings, ProcessorConfig, Customer, Pipeline, PlacementPolicy, SQLiteStateDB,
    DynamoDBStateDB, LocalCluster, SlurmCluster, SshTransport, SsmTransport, WorksetSpec, Sample,
)  # fmt: skip


def test_the_page_is_what_the_code_says():
    assert PAGE.read_text(encoding="utf-8") == reference.page(), (
        "docs/reference.md is not what the code says any more; run "
        "`python -m cli.reference > docs/reference.md`"
    )


def test_it_is_the_same_in_every_terminal(tmp_path):
    printed = subprocess.run(
        [sys.executable, "-m", "cli.reference"],
        env=os.environ | {"COLUMNS": "40", "TZ": "Asia/Tokyo", "PYTHONIOENCODING": "utf-8",
                          "HOME": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        check=True,
    )  # fmt: skip
    assert printed.stdout == PAGE.read_bytes()


def test_every_command_is_told_with_each_of_its_parameters():
    text = PAGE.read_text(encoding="utf-8")
    for command in (*looking.COMMANDS, *acting.COMMANDS, *keeping.COMMANDS):
        name = name_of(command)
        assert f"\n#### `worksets {name}" in text, name
        for one in app[name].assemble_argument_collection(parse_docstring=True):
            assert not one.show or one.parameter.help, f"{name} {one.names} says nothing"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_told(model):
    text = PAGE.read_text(encoding="utf-8")
    for key in model.model_fields.keys() - {"kind"}:
        (line, *_) = [line for line in text.splitlines() if line.startswith(f"- `{key}` (")]
        assert line.rstrip("):").strip() != f"- `{key}` (", key


def test_every_deployment_and_every_event_is_told():
    text = PAGE.read_text(encoding="utf-8")
    for name, flow in SERVED.items():
        part = text.partition(f"### `{name}`\n")[2].partition("\n### ")[0]
        for parameter in flow.parameters.properties:
            assert f"- `{parameter}` (" in part, (name, parameter)
    for kind in Kind:
        assert f"| `{reference.event_name(kind)}` | `{kind.value}` |" in text
