"""What is changed, and what is left alone; every mutant is a program."""

import ast
from pathlib import Path

import pytest
import yaml

from tests.mutation.__main__ import EQUIVALENT, drawn
from tests.mutation.joined import FILE, files_for, modules
from tests.mutation.mutants import mutants

ROOT = Path(__file__).parents[2]


def told(source):
    return {mutant.told for mutant in mutants(source)}


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("f(a, b=1)", {"dropped argument: b=1 → nothing", "one more: 1 → (1 + 1)",
                       "skipped call: f(a, b=1) → pass"}),
        ("async def g():\n    await f()\n", {"skipped call: await f() → pass"}),
        ("x = a if b else c", {"swapped branches: b → (not (b))"}),
        ("x = [n for n in y if n > k]",
         {"swapped filter: n > k → (not (n > k))", "other comparison: n > k → ((n) >= (k))"}),
        ("x = a or b", {"and for or: a or b → ((a) and (b))"}),
        ("def g():\n    return a\n", {"nothing returned: return a → return None"}),
        ("x = 'key'", {"other name: 'key' → 'keyx'"}),
        ("x = True", {"other truth: True → False"}),
    ],
)  # fmt: skip
def test_what_is_changed(source, changes):
    assert told(source) == changes


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""', "x = 'a message for people'", "raise E('name', key=1)",
        "x = f'{name:>3}'", "log.warning('x', extra=1)", "def g() -> 'Name':\n    return None\n",
        "x: int = y", "__all__ = ['name']", "x = F(description='word')", "x = cast('Name', y)",
    ],
)  # fmt: skip
def test_what_only_people_read_is_left_alone(source):
    assert told(source) == set()


def test_every_mutant_of_every_module_is_another_program():
    for module in modules():
        source = (ROOT / module).read_text()
        whole = ast.dump(ast.parse(source))
        for mutant in mutants(source)[::7]:
            assert ast.dump(ast.parse(mutant.of(source))) != whole, f"{module}:{mutant}"


def test_columns_count_characters_and_not_bytes():
    [mutant] = mutants("x = ['–', 'äöü'] == y")[:1]
    assert mutant.of("x = ['–', 'äöü'] == y") == "x = ((['–', 'äöü']) != (y))"


def test_a_sample_stays_the_same_and_spares_what_changes_nothing():
    first, again = drawn("the floor", 20, 1), drawn("the floor", 20, 1)
    assert first == again and len(first) == 20
    assert all(module.startswith("worksets/") for module, _ in first)
    assert drawn("the floor", 20, 2) != first
    assert not any(module.startswith("worksets/") for module, _ in drawn("the glue", 20, 1))


def test_the_tests_of_each_module_are_there_and_so_is_what_is_told_to_be_equivalent():
    chosen = yaml.safe_load(FILE.read_text())
    for module, tests in chosen.items():
        assert (ROOT / module).exists(), module
        for test in tests:
            file, _, name = test.partition("::")
            assert f"def {name}" in (ROOT / file).read_text(), test
    for entry in yaml.safe_load(EQUIVALENT.read_text()):
        found = {mutant.told for mutant in mutants((ROOT / entry["module"]).read_text())}
        assert entry["mutant"] in found and entry["reason"], entry


def test_files_are_chosen_that_say_most_of_a_module_in_the_least_time():
    module = "worksets/progress.py"
    inner = [n for n, line in enumerate((ROOT / module).read_text().splitlines(), 1) if line]
    ran = {"quick": (1.0, {module: inner}), "slow": (60.0, {module: inner}), "none": (0.1, {})}
    assert files_for(module, ran) == ["quick", "slow"]
