"""`python -m tests.mutation --sample N --seed S`: would any test notice, were this broken?

Mutants of the pure floor (`worksets/`) and of the glue (all else) are tried, as many of each. Which
ones is settled by the seed and by each mutant's own text, so that a change elsewhere changes
nothing. Exit code 1 if too few are noticed; those of `equivalent.yaml` change nothing that anybody
could see, and do not count.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import yaml

from tests.mutation import trial
from tests.mutation.joined import FILE, modules
from tests.mutation.mutants import Mutant, mutants
from tests.services import prefect_for_many

EQUIVALENT = Path(__file__).with_name("equivalent.yaml")
LEAST = {"the floor": 0.90, "the glue": 0.85}
"""What share of the mutants must be noticed."""


def part_of(module: str) -> str:
    return "the floor" if module.startswith("worksets/") else "the glue"


def drawn(part: str, number: int, seed: int, only: str = "") -> list[tuple[str, Mutant]]:
    """So many mutants of a part, those with the smallest hash of seed, module and change."""
    equivalent = {(e["module"], e["mutant"]) for e in yaml.safe_load(EQUIVALENT.read_text())}
    found = [
        (module, mutant)
        for module in modules()
        if part_of(module) == part and module.startswith(only)
        for mutant in mutants((trial.ROOT / module).read_text())
        if (module, mutant.told) not in equivalent
    ]
    return sorted(found, key=lambda one: _hash(seed, *one))[:number]


def _hash(seed: int, module: str, mutant: Mutant) -> str:
    return hashlib.sha256(f"{seed} {module} {mutant.told} {mutant.nth}".encode()).hexdigest()


def tried(folder: Path, chosen: list[tuple[str, Mutant]], jobs: int) -> Iterator[trial.Verdict]:
    """Their verdicts, `jobs` at once, each job in a copy of its own.

    Processes and no threads: each trial is a fork, and a fork keeps what other threads have locked.
    """
    tests_of = yaml.safe_load(FILE.read_text())
    trials = [
        (folder, m, mutant, list(dict.fromkeys(_own(m) + tests_of.get(m, []))))
        for m, mutant in chosen
    ]
    with get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(_one, trials)


def _own(module: str) -> list[str]:
    """The test file of a module's own name: it may be newer than `tests_of.yaml`."""
    own = Path("tests") / Path(module).with_name(f"test_{Path(module).name}")
    return [str(own)] if (trial.ROOT / own).exists() else []


def _one(of: tuple[Path, str, Mutant, list[str]]) -> trial.Verdict:
    folder, module, mutant, tests = of
    copy = folder / f"copy-{os.getpid()}"
    if not copy.exists():
        trial.prepare(copy)
    return trial.tried(copy, module, mutant, tests)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=60, help="mutants in all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="modules whose path begins so")
    asked = parser.parse_args()
    began = time.monotonic()
    trial.warm()
    enough = True
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder, prefect_for_many(Path(folder)):
        for number, part in enumerate(LEAST):
            chosen = drawn(part, asked.sample // 2, asked.seed, asked.only)
            survivors = 0
            for verdict in tried(Path(folder) / str(number), chosen, asked.jobs):
                if not verdict.noticed_by:
                    survivors += 1
                    print(f"not noticed: {verdict.module}:{verdict.mutant}", flush=True)
            if chosen:
                share = 1 - survivors / len(chosen)
                enough &= share >= LEAST[part]
                print(
                    f"{part}: {len(chosen) - survivors} of {len(chosen)} noticed ({share:.0%}); "
                    f"at least {LEAST[part]:.0%} are asked for",
                    flush=True,
                )
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
