"""How mistakes of a settings file are told: one line each, with the file's line and the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from local.settings_shape import Mistake
from local.settings_shape import Path as Key
from worksets.texts import listed
from worksets.yaml_safe import Lines

MAX_TOLD: Final = 100
MAX_SHOWN: Final = 80
"""Characters of a value that are shown."""
TAGS: Final = frozenset({"local", "ssh", "ssm"})
"""What pydantic puts into a place to say which transport it has tried."""
BOUNDS: Final = {
    "greater_than": ("too small", "write more than {gt:g}"),
    "greater_than_equal": ("too small", "write at least {ge:g}"),
    "less_than": ("too large", "write less than {lt:g}"),
    "less_than_equal": ("too large", "write at most {le:g}"),
    "missing": ("missing", "write it"),
    "string_too_short": ("empty", "write it"),
    "string_pattern_mismatch": ("not in the form that it must have", "write it as {pattern}"),
}


def told(file: str, lines: Lines, mistakes: Sequence[Mistake]) -> str:
    """A line for every mistake, in the order of the file."""
    found = [(_line_of(lines, mistake.path), mistake) for mistake in mistakes]
    found.sort(key=lambda item: item[0])
    tell = partial(_told, file)
    return "\n".join(listed(found, lambda at: tell(*at), MAX_TOLD, f"{file}: "))


def _told(file: str, line: int, mistake: Mistake) -> str:
    key = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in mistake.path
    ).removeprefix(".")
    given = mistake.given
    scalar = given is not None and not isinstance(given, list | dict)
    shown = f" (it says {_short(given)})" if scalar else ""
    text = f"{file} (line {line}): {key or 'the file'}: {mistake.what}; {mistake.remedy}{shown}"
    return " ".join(text.split())


def _line_of(lines: Lines, path: Key) -> int:
    """The line of a key, or of the nearest that is there."""
    return next((lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in lines), 1)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 3]}..."


def bounds_of(model: type[BaseModel], error: ValidationError, at: Key) -> Iterator[Mistake]:
    """What pydantic refuses, as mistakes; `at` is where the model stands in the file."""
    for problem in error.errors(include_url=False):
        loc = tuple(
            part
            for before, part in zip(("", *problem["loc"]), problem["loc"], strict=False)
            if part != "[key]" and not (before == "transport" and part in TAGS)
        )
        field = _field(model, loc)
        about = field.description if field is not None and field.description else ""
        secret = field is not None and field.annotation is SecretStr
        context = problem.get("ctx", {})
        kind = problem["type"]
        if kind in BOUNDS:
            what, remedy = (text.format(**context) for text in BOUNDS[kind])
        elif kind == "extra_forbidden":
            what, remedy = "there is no such key", "delete it"
        else:
            text = str(problem["msg"]).removeprefix("Value error, ")
            what, _, remedy = text.partition("; ")
            if not remedy and what.startswith("write "):
                what, remedy = "not what it must be", what
        given = None if kind == "missing" or secret else problem.get("input")
        if isinstance(given, BaseModel):
            given = None
        remedy = "; ".join(part for part in (remedy, about) if part) or "correct it"
        yield Mistake((*at, *loc), what, remedy, given)


def _field(model: type[BaseModel], loc: Key) -> FieldInfo | None:
    """The field at a place below a model."""
    found: FieldInfo | None = None
    here: Any = model
    for part in loc:
        here = _model_in(here, part)
        if here is None:
            return found
        if isinstance(part, str) and part in here.model_fields:
            found = here.model_fields[part]
            here = found.annotation
    return found


def _model_in(annotation: Any, key: Any) -> Any:
    """The model in a type that has such a key; a mapping's or list's entries are looked into."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(part, key) for part in get_args(annotation))
    models = [model for model in found if model is not None]
    return next((m for m in models if key in m.model_fields), models[0] if models else None)
