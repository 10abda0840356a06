"""What a step's failure means, and what an operator does about it, by a table of data.

The table is `diagnosis.yaml` beside this file; an installation adds its own patterns in its
settings (`log_patterns`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import yaml
from pydantic import Field, field_validator

from worksets.errors import ErrorCategory
from worksets.events import Exhausted
from worksets.record import Frozen

LAST_LINES: Final = 60
"""Lines at the end of a log in which its reason is looked for."""
MAX_LINE: Final = 2000


class Meaning(Frozen):
    """A class of error, and what to do about it."""

    category: ErrorCategory
    remedy: str = Field(min_length=1, description="what an operator does, or what happens next")
    exhausted: Exhausted = Field("", description="what the next attempt asks for more of")


class LogPattern(Meaning):
    """A message that ends a program."""

    pattern: str = Field(min_length=1, description="Python regular expression, for one line")
    tool: str = Field("", description="the program whose message it is")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"no regular expression: {error}") from error
        return value


@dataclass(frozen=True)
class Diagnosis:
    """Why a step failed. `category` None: no table knows; `line`: where the log says so."""

    category: ErrorCategory | None
    remedy: str
    exhausted: Exhausted = ""
    line: str = ""


@cache
def known_patterns() -> tuple[LogPattern, ...]:
    """The patterns that come with this project, in their order."""
    return tuple(LogPattern.model_validate(entry) for entry in _table()["log_patterns"])


@cache
def known_exit_codes() -> dict[int, Meaning]:
    return {code: Meaning.model_validate(m) for code, m in _table()["exit_codes"].items()}


@cache
def _table() -> dict[str, dict[int, object]]:
    text = (files("worksets") / "diagnosis.yaml").read_text(encoding="utf-8")
    table: dict[str, dict[int, object]] = yaml.safe_load(text)
    return table


def diagnose(exit_code: int, log: str, own: Iterable[LogPattern] = ()) -> Diagnosis:
    """What the exit code (negative: a signal, as `subprocess` has it) and the log's end mean."""
    lines = [line[:MAX_LINE] for line in log.splitlines()[-LAST_LINES:]]
    for entry in (*own, *known_patterns()):
        search = re.compile(entry.pattern).search
        # the last line that says it: what came before may have been got over
        line = next((line for line in reversed(lines) if search(line)), None)
        if line is not None:
            tool = f"{entry.tool}: " if entry.tool else ""
            return Diagnosis(
                entry.category, tool + entry.remedy, entry.exhausted, line.strip()[:300]
            )
    code = 128 - exit_code if exit_code < 0 else exit_code
    meaning = known_exit_codes().get(code)
    if meaning is None:
        return Diagnosis(None, "no table knows this exit code; read the step's log")
    return Diagnosis(meaning.category, meaning.remedy, meaning.exhausted)
