"""What a step's failure means, and what an operator does about it, by a table of data.

The table is `diagnosis.yaml` beside this file; an installation adds its own patterns in its
settings (`log_patterns`).

Exit code and log decide together: of the messages that the table knows the one nearest the end of
the log, but

- never one that is only a warning, or that says that it is tried again;
- after a kill from outside only one that explains a kill, for the program had no fault of its own;
- against an exit code with a meaning of its own only the last words, for what came before was got
  over;
- what is never tried again only near the end: a mistake would make a dead letter;
- what may only follow from another message (the end of a pipe) yields to that one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
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
NEAR: Final = 10
"""Messages at the end of a log that can make a dead letter."""
LAST_WORDS: Final = 3
"""Messages at the end of a log that outweigh an exit code with a meaning of its own."""
MAX_LINE: Final = 2000

KILLED: Final = frozenset({129, 130, 137, 143})
"""Exit codes of what was killed from outside: signals 1 (hang-up), 2 (Ctrl-C), 9 and 15."""

_LEVEL: Final = re.compile(
    r"\[(?P<htslib>[A-Z])::"
    r"|(?:^|[\s\[<(|:])(?i:(?P<word>\w*warn(?:ing)?|note|info|debug|trace"
    r"|\w*error|\w*exception|fatal|severe|critical))(?=\s*[]:>)|])"
    r"|(?:^|[\s\[<(|])(?P<level>WARN(?:ING)?|INFO|DEBUG|TRACE|ERROR|FATAL|SEVERE|CRITICAL)(?=\s)"
)
"""How programs say how serious a line is: `[W::bam_hdr_read]`, `cp: warning:`, `12:00 WARN  `."""
_MILD: Final = re.compile(r"(?i)[wimdt]|\w*warn(ing)?|note|info|debug|trace")
_AGAIN: Final = re.compile(
    r"(?i)(?P<of_the_line_above>^\W*(\w+:\s+)?)?(?<!not )"
    r"\b(retrying|will (be )?(retry|retried)|(will try|trying) again|reconnecting)\b"
)
"""How programs say that they go on: behind the message, or on a line of its own below it."""


class Meaning(Frozen):
    """A class of error, and what to do about it."""

    category: ErrorCategory
    remedy: str = Field(min_length=1, description="what an operator does, or what happens next")
    exhausted: Exhausted = Field("", description="what the next attempt asks for more of")


class LogPattern(Meaning):
    """A message that ends a program."""

    pattern: str = Field(min_length=1, description="Python regular expression, for one line")
    tool: str = Field("", description="the program whose message it is")
    follows: bool = Field(
        False, description="it may only follow from another message, and yields to that one"
    )
    explains_a_kill: bool = Field(
        False, description="it says why a program was killed, and counts after a kill as well"
    )

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
    code = 128 - exit_code if exit_code < 0 else exit_code
    meaning = known_exit_codes().get(code)
    entries = (*own, *known_patterns())
    found: list[tuple[LogPattern, str]] = []
    for after, line in _messages(log):
        decides = (entry for entry in entries if _may_decide(entry, after, code, meaning))
        if entry := next((e for e in decides if re.search(e.pattern, line)), None):
            found.append((entry, line))
    if found:
        entry, line = next((pair for pair in found if not pair[0].follows), found[0])
        tool = f"{entry.tool}: " if entry.tool else ""
        return Diagnosis(entry.category, tool + entry.remedy, entry.exhausted, line.strip()[:300])
    if meaning is None:
        return Diagnosis(None, "no table knows this exit code; read the step's log")
    return Diagnosis(meaning.category, meaning.remedy, meaning.exhausted)


def _may_decide(entry: LogPattern, after: int, code: int, meaning: Meaning | None) -> bool:
    """Whether an entry counts for a line with so many messages after it."""
    if code in KILLED:
        return entry.explains_a_kill
    if meaning is not None:
        return after < LAST_WORDS
    return entry.category.retryable or after < NEAR


def _messages(log: str) -> Iterator[tuple[int, str]]:
    """Lines that may say why a program ended, the last first, with the number of messages after.

    An indented line belongs to the message above it: the trace of a Java program is one message.
    """
    after, over = 0, False
    for line in reversed([line[:MAX_LINE] for line in log.splitlines()[-LAST_LINES:]]):
        begins = bool(line.strip()) and not line[0].isspace()
        again = _AGAIN.search(line)
        if not (again or over or _is_mild(line)):
            yield after, line
        if begins:
            after, over = after + 1, bool(again and again["of_the_line_above"] is not None)


def _is_mild(line: str) -> bool:
    """Whether a line says of itself that it is a warning or less."""
    level = _LEVEL.search(line)
    return level is not None and bool(_MILD.fullmatch(level[level.lastgroup or 0]))
