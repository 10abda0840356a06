"""The commands that start something, as programs of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.real.conftest import ROOT
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]
PROGRAM = Path(sys.executable).with_name("worksets")


def worksets(site, *argv, timeout=240):
    """Run the program in the site's folder; what it printed on both streams."""
    return subprocess.run(
        [PROGRAM, *argv], cwd=site.folder, env=site.environment, capture_output=True, text=True,
        timeout=timeout, check=False,
    )  # fmt: skip


def test_run_starts_a_server_of_its_own_and_ui_stops_it(site):
    site.configure(clusters=1, delivery_minutes=0)
    site.add("w1", 1)
    site.environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = worksets(site, "run", "--settings", "settings.yaml", "--run-dir", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.states() == {State.COMPLETE: 1}
    told = done.stdout + done.stderr
    # what has imported Prefect before there is a server uses one that nobody sees
    assert "temporary server" not in told and "Prefect's UI: http://127.0.0.1:" in told
    summary = json.loads((site.folder / "run" / "summary.json").read_text())
    assert summary["worksets"][0]["state"] == "complete"
    assert worksets(site, "ui", "--run-dir", "run", "--stop").returncode == 0
    (row,) = json.loads(worksets(site, "usage", "-s", "settings.yaml", "--json").stdout)[:1]
    assert row["customer"] == "acme" and row["worksets"] == 1
    assert row["told_by"] == "markers" and 0.001 < row["peak_gb"] < 1, "of its own processes"
    assert row["cpu_hours"] is not None


def test_doctor_compares_the_tag_limits_of_the_server_with_the_settings(site):
    site.configure(clusters=1)
    site.add("w1", 1)
    site.finish(site.poller())

    def limits():
        done = worksets(site, "doctor", "-s", "settings.yaml", "--json")
        (found,) = [one for one in json.loads(done.stdout) if one["what"] == "tag limits"]
        return found

    assert limits()["well"], limits()
    settings = yaml.safe_load((site.folder / "settings.yaml").read_text())
    settings["clusters"][0]["max_concurrent_worksets"] = 7
    (site.folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    found = limits()
    assert not found["well"] and found["told"] == f"cluster:{site.name}-c0: 3, not 7"


def test_apply_says_what_changed(site):
    site.configure(clusters=1)
    first = worksets(site, "apply", "--settings", "settings.yaml", "--json")
    assert first.returncode == 0, first.stderr
    settings = yaml.safe_load((site.folder / "settings.yaml").read_text())
    settings["clusters"][0]["max_concurrent_worksets"] = 7
    settings["customers"]["other"] = {}
    (site.folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    rows = json.loads(worksets(site, "apply", "--settings", "settings.yaml", "--json").stdout)
    changed = {row["block"].partition("/")[0]: row["changed"] for row in rows}
    assert changed == {
        "sqlite-workset-state-db": [],
        "local-cluster": ["max_concurrent_worksets"],
        "workset-settings": ["customers"],
    }
    named = worksets(site, "clusters", "--settings", rows[-1]["block"].partition("/")[2], "--json")
    assert named.returncode == 0, named.stderr
    (shown,) = json.loads(named.stdout)
    assert shown["limit"] == 7, "the block's name does as well as the file"


def test_a_flow_without_a_server_says_in_one_line_what_is_missing(tmp_path):
    """F10: Prefect asks a temporary server then, which knows no settings."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    # on a busy machine that server takes longer than the 20 s which Prefect gives it
    env["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "100"
    flow = "import asyncio, flows.poll_worksets as f; asyncio.run(f.poll_worksets(cycles=1))"
    done = subprocess.run(
        [sys.executable, "-c", flow], cwd=ROOT, env=env | {"HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("worksets.errors")]
    assert "PREFECT_API_URL is not set" in said[-1] and "worksets ui --settings" in said[-1]
    assert "ValueError: Unable" not in done.stderr, "the block that is missing is no second trouble"
