"""The lock file is part of the product: an unlocked Prefect does not start (docs/decisions.md)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
SERVE = """
import base64, sys, urllib.request
from pathlib import Path
from local import server
folder = Path(sys.argv[1])
running = server.start(folder)
try:
    running.wait()
    token = base64.b64encode(running.password.encode()).decode()
    asked = urllib.request.Request(running.api_url + "/admin/version")
    asked.add_header("Authorization", f"Basic {token}")
    print(urllib.request.urlopen(asked).read().decode())
finally:
    server.stop(folder)
"""


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_names_no_index_and_every_package_has_a_hash(name):
    text = (ROOT / name).read_text()
    assert "://" not in text and "--index" not in text and "--find-links" not in text
    packages = [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    assert len(packages) > 80
    assert all("==" in line and line.rstrip().endswith("\\") for line in packages)


@pytest.mark.real
@pytest.mark.slow
def test_an_empty_environment_made_from_the_lock_starts_the_server(tmp_path):
    python = tmp_path / "venv/bin/python"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PYTHON"))}

    def call(*command):
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return done.stdout

    call(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    call(str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK))
    version = call(str(python), "-c", SERVE, str(tmp_path / "server"))
    assert f"prefect=={version.strip().strip(chr(34))} " in LOCK.read_text()
