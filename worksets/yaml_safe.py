"""Read a mapping from YAML that a stranger wrote.

Plain YAML only: one document, a mapping, no tags, no duplicate keys, bounded in size, depth and
expansion. What is refused is refused with the file, the line and what to write instead.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from worksets.errors import ConfigurationError

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
"""Values after aliases are written out: a laughing-bomb of nested aliases passes it at once."""
MAX_DIGITS: Final = 1000
"""Characters of a whole number; Python writes out none of more than 4300 digits."""

_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp", "merge")
)

_READ_OTHERWISE: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "bool", "timestamp")
)

# libyaml reads events ten times faster, and reading events never recurses
_EVENTS: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlRefused(ConfigurationError):
    """The file is not the plain YAML mapping that it should be."""


Path = tuple[str | int, ...]
"""Of a value: the keys and indexes that lead to it, such as `("samples", 0, "sample_id")`."""


class Lines(dict[Path, int]):
    """Path of a key to its line, counted from 1."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[Path, str] = {}
        """What stands in the file where YAML reads a number, a truth value or a time."""


def load_mapping(
    data: bytes, name: str, what: str = "workset", first: str = "samples"
) -> tuple[dict[str, Any], Lines]:
    """The mapping in `data` (at most 1 MiB of UTF-8 YAML) and the line of every key.

    `what` the file describes and the `first` of its keys are for messages.

    Raises:
        YamlRefused: anything else; the message names the file, the line and the remedy.
    """
    if len(data) > MAX_BYTES:
        raise YamlRefused(
            f"{name}: {len(data):,} bytes; at most {MAX_BYTES:,} (1 MiB) are read. "
            f"Keep data out of this file and name files instead"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlRefused(
            f"{name}: byte {error.start} is not UTF-8; save the file with UTF-8 encoding"
        ) from None
    try:
        _check_events(text, name, what)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise YamlRefused(f"{name}: the file is empty; write at least `{first}:`")
        lines = Lines()
        _check_nodes(root, name, (), lines, {}, set())
        if not isinstance(root, yaml.MappingNode):
            kind = "list" if isinstance(root, yaml.SequenceNode) else "single value"
            raise YamlRefused(
                f"{name} (line {_line(root)}): a mapping of keys is needed at the top "
                f"(`{first}: …`), not a {kind}"
            )
        loader = yaml.SafeLoader("")
        value = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise YamlRefused(f"{name}{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        reason = str(error).splitlines()[0][:200]
        raise YamlRefused(f"{name}: not valid YAML: {reason}") from None
    if not all(isinstance(key, str) for key in value):
        odd = next(key for key in value if not isinstance(key, str))
        raise YamlRefused(f"{name}: the key {odd!r} is not text; put it in quotes")
    return value, lines


def _check_events(text: str, name: str, what: str) -> None:
    """Bound depth, number of values and documents before anything recursive touches the text."""
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=_EVENTS):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise YamlRefused(
                    f"{name} (line {_line(event)}): a second document (`---`); "
                    f"one file describes one {what}"
                )
        elif isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        values += isinstance(event, yaml.NodeEvent)
        if depth > MAX_DEPTH:
            raise YamlRefused(
                f"{name} (line {_line(event)}): nested deeper than {MAX_DEPTH} levels"
            )
        if values > MAX_NODES:
            raise YamlRefused(f"{name}: more than {MAX_NODES:,} values")


def _line(part: yaml.Node | yaml.Event) -> int:
    mark = part.start_mark
    return mark.line + 1 if mark else 1


def _check_value(node: yaml.Node, name: str, line: int) -> None:
    """Refuse what looks like a time or a number and is none, such as 2026-13-01 or 0x_."""
    try:
        yaml.SafeLoader("").construct_object(node)
    except (ValueError, OverflowError) as error:
        kind = node.tag.rpartition(":")[2].replace("timestamp", "time")
        raise YamlRefused(
            f"{name} (line {line}): {node.value} is no {kind}: {error}; put it in quotes if it is "
            f"a text"
        ) from None


def _check_nodes(
    node: yaml.Node,
    name: str,
    path: Path,
    lines: Lines,
    sizes: dict[int, int],
    open_nodes: set[int],
) -> int:
    """Number of values below `node` with every alias written out; refuses tags and duplicates."""
    line = _line(node)
    lines[path] = line
    if node.tag in _READ_OTHERWISE:
        lines.written[path] = str(node.value)
    if id(node) in open_nodes:
        raise YamlRefused(f"{name} (line {line}): an alias that contains itself; write it out")
    if id(node) in sizes:
        return sizes[id(node)]
    if node.tag not in _PLAIN_TAGS:
        raise YamlRefused(
            f"{name} (line {line}): the tag {node.tag} is not allowed; write plain values only"
        )
    if node.tag.endswith(":int") and len(node.value) > MAX_DIGITS:
        raise YamlRefused(
            f"{name} (line {line}): a number of {len(node.value):,} digits; put it in quotes if it "
            f"is a text"
        )
    if node.tag in _READ_OTHERWISE:
        _check_value(node, name, line)
    open_nodes.add(id(node))
    size = 1
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            size += _check_nodes(item, name, (*path, index), lines, sizes, open_nodes)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, item in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlRefused(f"{name} (line {line}): a key must be plain text")
            if key.value in seen:
                raise YamlRefused(
                    f"{name} (line {_line(key)}): the key {key.value!r} stands twice; "
                    f"keep one of the two"
                )
            seen.add(key.value)
            size += _check_nodes(key, name, (*path, key.value), lines, sizes, open_nodes)
            size += _check_nodes(item, name, (*path, key.value), lines, sizes, open_nodes)
            lines[(*path, key.value)] = _line(key)
    open_nodes.discard(id(node))
    if size > MAX_NODES:
        raise YamlRefused(
            f"{name} (line {line}): its aliases write out to more than {MAX_NODES:,} values; "
            f"write the values themselves"
        )
    sizes[id(node)] = size
    return size
