"""`make run` on a real Prefect server on PostgreSQL: the examples reach the ends they should."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.services import dynamodb_state_db

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
    # more than any cluster holds; a busy machine starts them as slowly as the shortest end
    assert summary["peak_running"] >= 6
    for w in worksets.values():
        # no step that ended well was run again
        names = [run.split("#")[0] for run in w["steps_run"]]
        assert names.count("stage") <= 1 and names.count("export") <= 1
    flaky = next(w for w in worksets.values() if "flaky" in w["workset_id"])
    assert flaky["steps_run"] == ["stage#1", "run#1", "run#2", "export#2"]


SLOW = """
state_db: {{type: sqlite, path: run/state.db}}
worksets: ["Proben März #1? 50% [x]"]
results: run/results
customers: {{acme: {{inputs: ["file://{base}/Proben März #1? 50% [x]"]}}}}
processor: {{poll_interval_seconds: 30}}
clusters: [{{type: local-cluster, cluster_name: a, work_folder: run/clusters/a}}]
pipelines: {{germline: {{run: [sh, -c, 'sleep 20; cp "$0"/* "$1"', "{{inputs}}", "{{results}}"]}}}}
"""
WORK = "samples: [{sample_id: s1, fastq_r1: a.fq}]\nreference_genome: hg38\ncustomer_id: acme\n"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_in_the_middle_it_says_so_and_goes_on_next_time(tmp_path, sign, code):
    base = tmp_path / "Müller Labor"
    folder = base / "Proben März #1? 50% [x]" / "ws1"
    folder.mkdir(parents=True)
    (folder / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    (folder / "daylily_work.yaml").write_text(WORK)
    (base / "s.yaml").write_text(SLOW.format(base=base))
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "local.run", "--settings", "s.yaml"]
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    with open(base / "log", "wb") as log:
        first = subprocess.Popen(
            [sys.executable, "-c", f"{restore}; from local.run import main; raise SystemExit("
             f"main({command[3:]!r}))"], cwd=base, env=env, stdout=log, stderr=log,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not any((base / "run/clusters/a").glob("ws1.*/jobs/a1/run.start")):
            assert time.monotonic() < deadline and first.poll() is None, (base / "log").read_text()
            time.sleep(0.2)
        time.sleep(2)  # the cycle that has started it is over
        first.send_signal(sign)
        assert first.wait(60) == code
    printed = (base / "log").read_text()
    assert "Stopped. Jobs that run go on" in printed and "Traceback" not in printed, printed
    again = subprocess.run(
        command, cwd=base, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert (base / "run/results/acme/ws1/a.fq").exists()


@pytest.mark.real
@pytest.mark.slow
def test_the_state_may_lie_in_dynamodb(tmp_path, dynamodb_url):
    """D12: worksets complete, then `no index of worksets that are complete`, exit 2."""
    db = dynamodb_state_db(dynamodb_url)
    folder = tmp_path / "in" / "ws1"
    folder.mkdir(parents=True)
    (folder / "a.fq").write_text("@a\nACGT\n+\nIIII\n")
    (folder / "daylily_work.yaml").write_text(WORK)
    settings = yaml.safe_load(SLOW.format(base=tmp_path).replace("sleep 20; ", ""))
    settings |= {
        "state_db": {
            "type": "dynamodb", "table_name": db.table_name, "region_name": "us-west-2",
            "endpoint_url": dynamodb_url,
        },
        "worksets": ["in"],
        "customers": {"acme": {}},
        "processor": {"poll_interval_seconds": 2, "delivery_quiet_seconds": 1},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(settings))
    env = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    env |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "local.run", "--settings", "s.yaml"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert [w["state"] for w in summary["worksets"]] == ["complete"]
