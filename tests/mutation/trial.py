"""One mutant on trial: the quickest tests of its module run in a fork that imports it mutated."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
COPIED = ("blocks", "cli", "docs", "examples", "flows", "host", "local", "tasks", "tests",
          "worksets", "benchmarks", "Makefile", "README.md", "pyproject.toml", "prefect.yaml",
          "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "requirements.lock")  # fmt: skip
LONGEST_S = 90.0
"""Seconds after which a mutant that goes on for ever counts as noticed."""
PASSED, FAILED = 0, 1


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: noticed by which test file, or by none of them."""

    module: str
    mutant: Mutant
    noticed_by: str
    seconds: float


def prepare(folder: Path) -> Path:
    """A copy of the project in which mutants are put; the imports that all tests share."""
    folder.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    for name in (".real", ".venv"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def warm() -> None:
    """Import what most tests need and nothing of ours, so that a fork has it already."""
    import boto3  # noqa: F401
    import hypothesis  # noqa: F401
    import prefect_aws  # noqa: F401
    import pytest  # noqa: F401


def tried(copy: Path, module: str, mutant: Mutant, tests: list[str]) -> Verdict:
    """Run these tests, one file after the other, on the mutant, until one fails."""
    began = time.monotonic()
    path = copy / module
    source = path.read_text()
    path.write_text(mutant.of(source))
    try:
        for test in tests:
            if run(copy, [test], LONGEST_S) != PASSED:
                return Verdict(module, mutant, test, time.monotonic() - began)
    finally:
        path.write_text(source)
    return Verdict(module, mutant, "", time.monotonic() - began)


def run(copy: Path, tests: list[str], longest_s: float, lines: Path | None = None) -> int:
    """The exit code of pytest on these, in a process of its own; FAILED if it is too slow.

    With `lines`, a JSON file: the lines of each module that were run are left there.
    """
    pid = os.fork()
    if pid == 0:
        _in_the_fork(copy, tests, lines)
    deadline = time.monotonic() + longest_s
    try:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
    finally:
        # it ends without goodbyes: what it has started, such as a server, ends with it
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return FAILED


def _in_the_fork(copy: Path, tests: list[str], lines: Path | None) -> None:
    code = 3
    try:
        os.setsid()
        os.chdir(copy)
        for name in [name for name in sys.modules if name.partition(".")[0] in COPIED]:
            del sys.modules[name]
        sys.path[:] = [str(copy), *(p for p in sys.path if Path(p or ".").resolve() != ROOT)]
        sys.dont_write_bytecode = True
        os.environ.update(PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=str(copy))
        log = os.open(copy / "log", os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if lines is None:
            code = _pytest(tests)
        else:
            code = _covered(copy, tests, lines)
    finally:
        os._exit(code)


def _pytest(tests: list[str]) -> int:
    import pytest

    return int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def _covered(copy: Path, tests: list[str], lines: Path) -> int:
    import coverage

    cover = coverage.Coverage(
        data_file=None, source=[str(copy)], concurrency=["thread", "greenlet"]
    )
    cover.start()
    code = _pytest(tests)
    cover.stop()
    data = cover.get_data()
    ran = {str(Path(f).relative_to(copy)): data.lines(f) for f in data.measured_files()}
    lines.write_text(json.dumps(ran))
    return code
