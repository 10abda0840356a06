"""`python -m tests.mutation.joined`: which test files say whether a module does what it should.

Writes `tests_of.yaml`. Each quick test file runs by itself under coverage, in a fork; for each
module the files are taken that run most of its lines a second, until two of them, where there are
two, have run each line that any has run.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests.mutation import trial
from tests.services import prefect_for_many

FLOORS = ("worksets", "blocks", "host", "tasks", "flows", "local", "cli")
FILE = Path(__file__).with_name("tests_of.yaml")
AT_MOST = 8
"""Test files for one module."""


def main() -> int:
    trial.warm()
    with tempfile.TemporaryDirectory() as folder, prefect_for_many(Path(folder)):
        copy = trial.prepare(Path(folder) / "copy")
        ran = {}
        for test in quick_tests():
            began = time.monotonic()
            lines = Path(folder) / "lines.json"
            lines.unlink(missing_ok=True)
            code = trial.run(copy, [test], 300, lines)
            if code != trial.PASSED or not lines.exists():
                print(f"{test}: not used, it ends with {code}", file=sys.stderr)
                continue
            ran[test] = (time.monotonic() - began, json.loads(lines.read_text()))
            print(f"{test}: {ran[test][0]:.1f} s", flush=True)
    chosen = {module: found for module in modules() if (found := files_for(module, ran))} | REAL
    FILE.write_text(yaml.safe_dump(chosen, width=100))
    return 0


def modules() -> list[str]:
    """Every module of the product, by its path."""
    return sorted(
        str(path.relative_to(trial.ROOT))
        for floor in FLOORS
        for path in (trial.ROOT / floor).rglob("*.py")
    )


SEAMS = "tests/real/test_seams.py"
REAL = {
    "blocks/clusters/slurm/ssh.py": ["tests/real/test_ssh.py"],
    "blocks/folders/base.py": ["tests/blocks/folders/test_local.py"],
    "local/postgres.py": ["tests/real/test_neighbour.py", "tests/real/test_command_line.py"],
    "local/ui.py": ["tests/real/test_command_line.py"],
}
"""Of modules that no quick test runs."""


def quick_tests() -> list[str]:
    """Test files that need no machine of their own; of the seams each test, for each is a poll."""
    slow = ("tests/real/", "tests/simulation/", "tests/mutation/", "tests/benchmarks/")
    found = (str(p.relative_to(trial.ROOT)) for p in (trial.ROOT / "tests").rglob("test_*.py"))
    quick = [name for name in found if not name.startswith(slow)]
    tree = ast.parse((trial.ROOT / SEAMS).read_text())
    defined = (
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    seams = [f"{SEAMS}::{node.name}" for node in defined if node.name.startswith("test_")]
    return sorted([*quick, *seams, "tests/simulation/test_first_seeds.py"])


def files_for(module: str, ran: dict[str, tuple[float, dict[str, list[int]]]]) -> list[str]:
    """The test files for a module, the most telling first."""
    inner = in_functions((trial.ROOT / module).read_text())
    hits = {test: inner & set(lines.get(module, ())) for test, (_, lines) in ran.items()}
    mirrored = f"tests/{Path(module).with_name('test_' + Path(module).name)}"
    chosen = [test for test in (mirrored,) if test in ran]
    times_run: dict[int, int] = {}
    for test in chosen:
        for line in hits[test]:
            times_run[line] = times_run.get(line, 0) + 1

    def gain(test: str) -> float:
        new = sum(1 / (1 + 3 * times_run.get(n, 0)) for n in hits[test] if times_run.get(n, 0) < 2)
        return new / (1 + ran[test][0])

    while len(chosen) < AT_MOST:
        best = max((test for test in ran if test not in chosen), key=gain, default="")
        if not best or gain(best) <= 0:
            break
        chosen.append(best)
        for line in hits[best]:
            times_run[line] = times_run.get(line, 0) + 1
    return chosen


def in_functions(source: str) -> set[int]:
    """Lines of the bodies of functions; the others run at every import."""
    tree = ast.parse(source)
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for line in range(node.body[0].lineno, (node.end_lineno or 0) + 1)
    }


if __name__ == "__main__":
    sys.exit(main())
