"""`make run` on a real Prefect server on PostgreSQL: the examples reach the ends they should."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.real
@pytest.mark.slow
def test_every_example_reaches_its_expected_end(tmp_path):
    settings = (ROOT / "examples/settings.yaml").read_text().replace("run/", f"{tmp_path}/run/")
    (tmp_path / "settings.yaml").write_text(settings)
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command = [
        sys.executable, "-m", "local.run", "--settings", str(tmp_path / "settings.yaml"),
        "--run-dir", str(tmp_path / "run"), "--expected", str(ROOT / "examples/expected.yaml"),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    worksets = {w["workset_id"]: w for w in summary["worksets"]}
    expected = yaml.safe_load((ROOT / "examples/expected.yaml").read_text())
    assert set(worksets) == set(expected) and len(worksets) == 16
    assert all(w["state"] == w["expected_state"] for w in worksets.values())
    assert summary["peak_running"] >= 10
    for w in worksets.values():
        # no step that ended well was run again
        names = [run.split("#")[0] for run in w["steps_run"]]
        assert names.count("stage") <= 1 and names.count("export") <= 1
    flaky = next(w for w in worksets.values() if "flaky" in w["workset_id"])
    assert flaky["steps_run"] == ["stage#1", "run#1", "run#2", "export#2"]
