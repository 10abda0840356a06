"""Texts of strangers, made fit to be stored, shown and read.

A log, a YAML file, a folder's name, another program's words: none of them is trusted. Where such a
text leaves for Prefect, a terminal, the state DB or a person, it goes through `plain` or `line`,
once; PostgreSQL cannot store a NUL, and a terminal obeys an escape sequence. Text that is shown is
never markup either: who shows it sees to that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

MAX_TEXT: Final = 32_000
"""Characters of a text of many lines."""
MAX_LINE: Final = 2000
"""Characters of a line."""
NOTHING: Final = "–"
"""Where there is no value to show."""
MAX_LISTED: Final = 20
"""Mistakes, warnings or names that are told one by one; of the others, how many."""

_HARMLESS: Final = re.compile(r"[\n\t -~]*")
_ESCAPES: Final = re.compile(
    # colours, the cursor
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    # titles, links
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
"""What a terminal obeys and does not show (ECMA-48)."""
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
"""Letters and marks that are shown as nothing."""


class _Shown(dict[int, str]):
    """What stands for a character: itself, or another that is seen."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        if char.isspace():
            return "\n" if char in "\u2028\u2029" else " "
        return char if char.isprintable() and char not in _UNSEEN else "\ufffd"


_SHOWN: Final = _Shown(
    {code: chr(code) for code in range(0x20, 0x7F)}
    # Unicode has a picture of each control character: ␀
    | {code: chr(0x2400 + code) for code in range(0x20)}
    | {ord("\n"): "\n", ord("\t"): "\t", 0x7F: "\u2421"}
    | dict.fromkeys(range(0x80, 0xA0), "\ufffd")
)
_ONE_LINE: Final = str.maketrans("\n\t", "  ")


def plain(text: str, longest: int = MAX_TEXT) -> str:
    """The text as it can be stored, shown and read; at most `longest` characters.

    Escape sequences vanish. Control characters but line breaks and tabs, invisible and
    bidirectional ones and lone surrogates become one that is seen. Of a line or a text that is too
    long the middle is left out, and it says how much. What is fit already is left as it is.
    """
    text = _fit(text)
    if len(text) > MAX_LINE:
        text = "\n".join(_both_ends(part, MAX_LINE, " ") for part in text.split("\n"))
    return _both_ends(text, longest, "\n" if "\n" in text else " ")


def line(text: str, longest: int = MAX_LINE) -> str:
    """The same on one line, without line breaks and tabs."""
    return _both_ends(_fit(text).translate(_ONE_LINE), longest, " ")


def listed(
    items: Sequence[T], tell: Callable[[T], str] = str, most: int = MAX_LISTED, about: str = ""
) -> list[str]:
    """A line for each of the first, by `tell`, and how many there are beside, after `about`."""
    left = len(items) - most
    return [*map(tell, items[:most]), *([f"{about}and {left} more"] if left > 0 else [])]


def few(items: Iterable[str], most: int = MAX_LISTED) -> str:
    """The same on one line: `a, b and 3 more`."""
    known = list(items)
    left = len(known) - most
    return ", ".join(known[:most]) + (f" and {left} more" if left > 0 else "")


def length(seconds: float | None) -> str:
    """A length of time for people: `42 s`, `7 min`, `3.5 h`, `2 d`."""
    if seconds is None:
        return NOTHING
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def _fit(text: str) -> str:
    if _HARMLESS.fullmatch(text):
        return text
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ESCAPES.sub("", text).translate(_SHOWN)


def _both_ends(text: str, longest: int, joint: str) -> str:
    """Its beginning and its end, and between them how much is left out."""
    if len(text) <= longest:
        return text
    room = longest - len(_gap(len(text), joint))
    if room < 2:
        return text[:longest]
    end = room // 2
    return text[: room - end] + _gap(len(text) - room, joint) + text[-end:]


def _gap(count: int, joint: str) -> str:
    return f"{joint}[… {count} characters left out …]{joint}"
