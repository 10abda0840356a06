"""Whether values have the shape that a model's fields ask for: nothing is bent to fit.

pydantic would take the letters of a text for a list, and the text '5' for a number. Here every
value is looked at first; what has another shape is told with the right form, and is left out of
what goes on, so that all mistakes of a file can be told at once.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

Path = tuple[str | int, ...]
"""Where a value stands: `("clusters", 0, "work_folder")`."""

BAD: Final = object()
"""Stands for a value that was told to be wrong."""
COMMANDS: Final = frozenset({"stage", "run", "export"})
"""Keys whose lists are argument lists."""


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: what, what to write instead, and what stands there (or None)."""

    path: Path
    what: str
    remedy: str
    given: Any = None
    meant: str = ""
    """The key that an unknown key was meant to be, where that can be guessed."""


@dataclass
class Shapes:
    """Looks at values and collects what is wrong with them."""

    mistakes: list[Mistake] = field(default_factory=list)

    def told(self, path: Path, what: str, remedy: str, given: Any = None, meant: str = "") -> Any:
        self.mistakes.append(Mistake(path, what, remedy, given, meant))
        return BAD

    def model(self, value: Any, model: type[BaseModel], path: Path) -> Any:
        """A mapping with the keys of `model`; without those whose values are wrong."""
        return self.keys(value, model.model_fields, path)

    def keys(self, value: Any, fields: Mapping[str, FieldInfo], path: Path) -> Any:
        """A mapping with these keys and no others."""
        if not isinstance(value, dict):
            return self.told(path, f"{kind(value)} where keys are asked for", _keys(fields), value)
        good: dict[str, Any] = {}
        for key, item in value.items():
            if key not in fields:
                self.unknown(key, fields, path)
                continue
            found = self.value(item, fields[key].annotation, (*path, key))
            if found is not BAD:
                good[key] = found
        return good

    def unknown(self, key: Any, fields: Mapping[str, Any], path: Path) -> None:
        near = difflib.get_close_matches(str(key).lower(), fields, n=1, cutoff=0.6)
        remedy = f"did you mean {near[0]!r}?" if near else _keys(fields)
        self.told((*path, _key(key)), "there is no such key", remedy, meant=near[0] if near else "")

    def value(self, value: Any, annotation: Any, path: Path) -> Any:
        """The value, if it has the shape of this type; else BAD, and why is told."""
        annotation, optional, among = _plain(annotation)
        if value is None and optional:
            return None
        if value is None:
            return self.told(
                path, "nothing is written here (null)", f"write {_wanted(annotation)}, or no key"
            )
        if among:
            return self.one_of(value, among, path)
        origin = get_origin(annotation)
        if annotation in (str, SecretStr):
            return self.text(value, path, secret=annotation is SecretStr)
        if annotation in (int, float):
            return self.number(value, annotation, path)
        if annotation is bool:
            if isinstance(value, bool):
                return value
            return self.told(path, f"{kind(value)} where true or false is asked for",
                             "write true or false, without quotes", value)  # fmt: skip
        if origin in (list, tuple, Sequence):
            return self.items(value, get_args(annotation)[0], path)
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
            return self.entries(value, get_args(annotation)[1], path)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return self.model(value, annotation, path)
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            return self.choice(value, [item.value for item in annotation], path)
        if origin is Literal:
            return self.choice(value, list(get_args(annotation)), path)
        return self.plain(value, path)  # a type that only pydantic knows

    def text(self, value: Any, path: Path, secret: bool = False) -> Any:
        if isinstance(value, str):
            if "\0" in value:
                return self.told(path, "a NUL character in a text", "write it without")
            return value
        shown = None if secret else value
        if isinstance(value, list | dict):
            return self.told(path, f"{kind(value)} where a text is asked for", "write one text")
        form = f": {_yaml(str(value))}" if isinstance(value, int) and shown is not None else ""
        return self.told(
            path,
            f"YAML reads this as {kind(value)}, not as a text",
            f"put it in quotes{form}",
            shown,
        )

    def number(self, value: Any, wanted: type, path: Path) -> Any:
        whole = "a whole number" if wanted is int else "a number"
        if isinstance(value, str):
            return self.told(
                path, f"a text where {whole} is asked for", _number(value, whole), value
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            return self.told(
                path, f"{kind(value)} where {whole} is asked for", f"write {whole}", value
            )
        if wanted is int and isinstance(value, float):
            remedy = f"write {value:.0f}" if math.isfinite(value) else "write a whole number"
            return self.told(path, "not a whole number", remedy, value)
        try:
            finite = math.isfinite(value)
        except OverflowError:
            finite = False
        if not finite:
            return self.told(path, "not a number that can be counted with", f"write {whole}", value)
        return value

    def items(self, value: Any, wanted: Any, path: Path) -> Any:
        """A list, whole: one wrong item would move the numbers of those behind it."""
        if not isinstance(value, list):
            return self.told(path, f"{kind(value)} where a list is asked for",
                             _as_list(value, wanted, path), value)  # fmt: skip
        found = [self.value(item, wanted, (*path, index)) for index, item in enumerate(value)]
        return BAD if any(item is BAD for item in found) else found

    def entries(self, value: Any, wanted: Any, path: Path) -> Any:
        """A mapping from names to values of one type."""
        if not isinstance(value, dict):
            form = "write a mapping: each name with a ':' after it"
            if isinstance(value, list) and value and all(isinstance(v, str) for v in value):
                empty: dict[str, Any] = {str(item): {} for item in value}
                form = f"write a mapping: {path[-1]}: {_yaml(empty)}"
            return self.told(path, f"{kind(value)} where a mapping is asked for", form, value)
        good: dict[Any, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self.told((*path, _key(key)), f"YAML reads this name as {kind(key)}",
                          f"put it in quotes: '{key}'")  # fmt: skip
                continue
            found = self.value(item, wanted, (*path, key))
            if found is not BAD:
                good[key] = found
        return good

    def one_of(self, value: Any, models: tuple[type[BaseModel], ...], path: Path) -> Any:
        """A mapping whose `kind` says which of these models it is; without one, the first."""
        if not isinstance(value, dict):
            form = f"write {{kind: {' or '.join(map(_kind, models))}, …}}"
            return self.told(path, f"{kind(value)} where keys are asked for", form, value)
        named = value.get("kind", _kind(models[0]))
        if "kind" in value and self.choice(named, [*map(_kind, models)], (*path, "kind")) is BAD:
            return BAD
        return self.model(value, next(m for m in models if _kind(m) == named), path)

    def choice(self, value: Any, choices: list[Any], path: Path) -> Any:
        if value in choices and type(value) in map(type, choices):
            return value
        near = difflib.get_close_matches(str(value).lower(), map(str, choices), n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join(str(item) or "'' (empty)" for item in choices)
        return self.told(
            path, "none of the values it may have", f"write one of {listed}{hint}", value
        )

    def plain(self, value: Any, path: Path) -> Any:
        if isinstance(value, list):
            return self.items(value, Any, path)
        if isinstance(value, float) and not math.isfinite(value):
            return self.number(value, float, path)
        return value


def kind(value: Any) -> str:
    """What a value is, in words: `a list`, `a number`."""
    for types_, name in (
        (bool, "a truth value"),
        (int | float, "a number"),
        (str, "a text"),
        (list, "a list"),
        (dict, "a mapping"),
        (type(None), "nothing (null)"),
    ):
        if isinstance(value, types_):
            return name
    return "a date"


def _plain(annotation: Any) -> tuple[Any, bool, tuple[type[BaseModel], ...]]:
    """The bare type, whether null is lawful, and the models among which a `kind` chooses."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, types.UnionType):
        return annotation, annotation in (Any, type(None)), ()
    parts = [part for part in get_args(annotation) if part is not type(None)]
    optional = len(parts) < len(get_args(annotation))
    if len(parts) == 1:
        bare, deeper, among = _plain(parts[0])
        return bare, optional or deeper, among
    models = tuple(p for p in parts if isinstance(p, type) and issubclass(p, BaseModel))
    return Any, optional, models if len(models) == len(parts) else ()


def _kind(model: type[BaseModel]) -> str:
    return str(model.model_fields["kind"].default)


def _wanted(annotation: Any) -> str:
    bare, _, among = _plain(annotation)
    origin = get_origin(bare)
    if origin in (list, tuple, Sequence):
        return "a list"
    if among or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a mapping ({} for an empty one)"
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "its keys ({} for none)"
    words = {int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(bare, "a text")


def _as_list(value: Any, wanted: Any, path: Path) -> str:
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    if path and name in COMMANDS and isinstance(value, str):
        try:
            words = shlex.split(value)
        except ValueError:
            words = value.split()
        return f"write an argument list: {name}: {_yaml(words)}"
    bare, _, _ = _plain(wanted)
    if isinstance(value, dict) or (isinstance(bare, type) and issubclass(bare, BaseModel)):
        return f"write a list: each entry of {name} on lines of its own that begin with '- '"
    item = str(value) if bare is str else value
    return f"write a list: {name}: {_yaml([item])}"


def _number(text: str, whole: str) -> str:
    try:
        number = float(text)
    except ValueError:
        return f"write {whole}"
    if not math.isfinite(number):
        return f"write {whole}"
    return f"write {whole} without quotes: {int(number) if number.is_integer() else number!r}"


def _keys(fields: Mapping[str, Any]) -> str:
    return f"there are {', '.join(sorted(fields))}"


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key)


def _yaml(value: Any) -> str:
    """As one writes it in YAML, on one line."""
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**9
    )
    return re.sub(r"\n(\.\.\.\n)?$", "", text)
