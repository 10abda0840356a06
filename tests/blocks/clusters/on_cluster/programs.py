"""Running the programs, and what they are given."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = Path(__file__).parents[4] / "blocks/clusters/on_cluster"
PYTHON = os.environ.get("NODE_PYTHON", sys.executable)
"""What the nodes have; NODE_PYTHON=python3.9 tries the oldest that is promised."""

# as on a node: they lie side by side, and in no package
sys.path.insert(0, str(PROGRAMS))


def start(name, *args, env=None):
    return subprocess.Popen(
        [PYTHON, str(PROGRAMS / name), *map(os.fspath, args)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})},
    )  # fmt: skip


def run(name, *args, env=None, code=0, says=""):
    """Run a program to its end; what it printed. `says` must stand in what it printed."""
    process = start(name, *args, env=env)
    out, err = (text.decode("utf-8", "replace") for text in process.communicate(timeout=60))
    assert process.returncode == code, (process.returncode, out, err)
    assert "Traceback" not in err, err
    assert says in out + err, out + err
    return out + err


def killed(process, there):
    """Kill a program (kill -9) as soon as `there()` says so; it must not have ended by then."""
    deadline = time.monotonic() + 30
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def names(folder):
    """All paths below a folder, as bytes, sorted; links are not followed."""
    root = os.fsencode(folder)
    return sorted(
        os.path.relpath(os.path.join(at, name), root)
        for at, folders, files in os.walk(root)
        for name in folders + files
    )


class Case:
    """A workset's folders and its manifest."""

    def __init__(self, tmp_path):
        self.tmp = tmp_path
        self.source = tmp_path / "in/w1"
        self.inputs = tmp_path / "work/inputs"
        self.results = tmp_path / "work/results"
        self.root = tmp_path / "out"
        self.target = tmp_path / "out/acme/w1"
        for folder in (self.source, self.inputs, self.results):
            folder.mkdir(parents=True)
        self.path = tmp_path / "manifest.json"
        self.manifest = {
            "workset_id": "w1", "customer_id": "acme", "uid": "k3f9qa-7d2mxp", "lineage": 1,
            "attempt": 1, "reference_genome": "hg38", "pipeline": "p", "samples": [],
            "source": str(self.source), "source_root": str(tmp_path / "in"), "inputs": [],
            "quiet_s": 0.0, "export_to": str(self.target), "export_root": str(self.root),
        }  # fmt: skip
        self.write()

    def write(self, **changed):
        self.manifest.update(changed)
        self.path.write_text(json.dumps(self.manifest))

    def needs(self, *entries):
        """List inputs: names, or entries."""
        empty = {"uri": "", "root": "", "md5": "", "sha256": ""}
        self.write(
            inputs=[{**empty, **(e if isinstance(e, dict) else {"name": e})} for e in entries]
        )

    def deliver(self, name, content=b"reads", age_s=60):
        path = Path(os.fsdecode(os.fsencode(self.source) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (time.time() - age_s,) * 2)
        return path

    def stage(self, **expected):
        return run("stage.py", self.path, self.inputs, **expected)

    def result(self, name, content=b"result"):
        path = Path(os.fsdecode(os.fsencode(self.results) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def export(self, *options, **expected):
        if "--manifest" not in options:
            options = ("--manifest", self.path, *options)
        return run("export.py", self.results, self.manifest["export_to"], *options, **expected)

    def delivered(self):
        """The manifest in the export's place."""
        return json.loads((self.target / "worksets-manifest.json").read_text())
