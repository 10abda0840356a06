"""What the nodes promise: Python 3.9 and no package, and a way that is not too narrow."""

import ast
import base64
import gzip
import subprocess
import sys

import pytest

from blocks.clusters.slurm import programs, ssm
from tests.blocks.clusters.on_cluster.programs import PROGRAMS, run

SENT = [PROGRAMS / name for name in programs.PROGRAMS]


def test_all_that_the_programs_import_is_sent_to_the_nodes():
    ours = {path.stem for path in PROGRAMS.glob("*.py")} - {"__init__", "runner"}
    assert ours == {path.stem for path in SENT}


@pytest.mark.parametrize("path", SENT, ids=lambda path: path.name)
def test_they_are_written_for_python_3_9_and_need_no_package_without_s3(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
        )
    }
    others = imported - set(sys.stdlib_module_names) - {path.stem for path in SENT} - {"blocks"}
    assert others <= ({"boto3", "botocore", "urllib3"} if path.stem in ("s3", "bucket") else set())


def test_they_fit_through_ssm():
    """As `_prepare` sends them; what a command of SSM may hold is little."""
    sent = programs.send_shell("/fsx/worksets/.programs/0123456789ab")
    packed = base64.b64encode(gzip.compress(sent.encode(), mtime=0))
    assert len(packed) < ssm.MAX_SCRIPT - 2000


def test_they_arrive_as_they_are(tmp_path):
    folder = tmp_path / "a folder's" / "programs"
    for _ in range(2):  # whoever comes second finds them there
        subprocess.run(["sh", "-c", programs.send_shell(str(folder))], check=True, timeout=30)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in SENT
    }
    assert list(folder.parent.iterdir()) == [folder]


def test_folders_need_no_boto3(case):
    without = case.tmp / "without"
    for name in ("boto3", "botocore"):
        (without / name).mkdir(parents=True)
        (without / name / "__init__.py").write_text("raise ImportError('not on this node')")
    env = {"PYTHONPATH": str(without)}
    case.deliver("a.fq")
    case.needs("a.fq")
    case.stage(env=env)
    case.result("a")
    case.export(env=env)


def test_how_they_are_called_is_said(case):
    run("stage.py", code=64, says="usage: stage.py MANIFEST INPUTS")
    run("export.py", code=64, says="usage: export.py")
