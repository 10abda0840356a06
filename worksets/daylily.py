"""A `daylily_work.yaml` as portals, forms and older documents write it, understood.

Only what can mean nothing else: other names of the same key, an empty text for "not given", 0 for
"coverage unknown", a number in quotes, a name that YAML reads as a number. What is written as we
write it ourselves is left as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from worksets.errors import ConfigurationError
from worksets.texts import few, plain
from worksets.yaml_safe import Lines, Path

KEYS: Final = {"cluster_name": "preferred_cluster"}
"""Other names of keys at the first level."""
SAMPLE_KEYS: Final = {
    "id": "sample_id",
    "sample": "sample_id",
    "name": "sample_id",
    "r1": "fastq_r1",
    "r1_file": "fastq_r1",
    "fq1": "fastq_r1",
    "r2": "fastq_r2",
    "r2_file": "fastq_r2",
    "fq2": "fastq_r2",
}
"""Other names of a sample's keys."""
OTHERS: Final = frozenset({"day-clone", "dy-r", "budget", "notes", "workdir_name", "submitted_at"})
"""Keys of Daylily's own files that are none of ours: kept, and nothing is said of them."""
NAMES: Final = ("pipeline", "customer_id", "preferred_cluster", "reference_genome")
PRIORITIES: Final = {"high": "urgent"}
"""Words of older documents for a priority."""
MAX_WORDS: Final = 200
"""In a dy-r; the longest that was met has 12."""
MAX_TEXT: Final = 4000
"""Characters of one of those keys that a manifest carries."""
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")


def understood(mapping: Mapping[str, Any], lines: Lines) -> dict[str, Any]:
    """The mapping with its keys and values as we write them; `lines` knows what the file says."""
    given = _renamed(mapping, KEYS)
    for key in (
        "customer_id", "due", "export_uri", "max_retries", "pipeline", "priority",
        "reference_genome",
    ):  # fmt: skip
        _forget_if_empty(given, key)
    _forget_if_empty(given, "preferred_cluster")
    _coverage(given, "estimated_coverage")
    _number(given, "max_retries", int)
    for key in NAMES:
        _as_written(given, key, mapping, (), lines)
    if isinstance(priority := given.get("priority"), str):
        given["priority"] = PRIORITIES.get(priority.lower(), priority)
    samples = given.get("samples")
    if isinstance(samples, list):
        given["samples"] = [_sample(one, ("samples", n), lines) for n, one in enumerate(samples)]
    return given


def _sample(entry: Any, path: Path, lines: Lines) -> Any:
    if not isinstance(entry, dict):
        return entry
    given = _renamed(entry, SAMPLE_KEYS)
    for key in ("fastq_r1", "fastq_r2", "bam", "cram", "alignment_index", "md5", "sha256"):
        _forget_if_empty(given, key)
    _coverage(given, "coverage")
    _as_written(given, "sample_id", entry, path, lines)
    return given


def _renamed(mapping: Mapping[str, Any], others: Mapping[str, str]) -> dict[str, Any]:
    """With our names, where ours do not stand there and only one other does."""
    given = dict(mapping)
    for ours in dict.fromkeys(others.values()):
        known = [key for key, name in others.items() if name == ours and key in mapping]
        if ours not in mapping and len(known) == 1:
            given[ours] = given.pop(known[0])
    return given


def _forget_if_empty(given: dict[str, Any], key: str) -> None:
    """An empty text, or none: it is not given."""
    if key in given and given[key] in ("", None):
        del given[key]


def _coverage(given: dict[str, Any], key: str) -> None:
    """0 and an empty text mean that it is not known."""
    _number(given, key, float)
    value = given.get(key, 1)
    if value in ("", None) or (value == 0 and not isinstance(value, bool)):
        given.pop(key, None)


def _number(given: dict[str, Any], key: str, kind: type[int] | type[float]) -> None:
    """A number in quotes."""
    text = given.get(key)
    if isinstance(text, str) and len(text) < 20 and _NUMBER.fullmatch(text.strip()):
        if kind is int and "." in text:
            return
        given[key] = kind(text)


def _as_written(
    given: dict[str, Any], key: str, mapping: Mapping[str, Any], path: Path, lines: Lines
) -> None:
    """A name that YAML reads as a number or a truth value: as it stands in the file."""
    for name in mapping:
        ours = KEYS.get(name, name) if not path else SAMPLE_KEYS.get(name, name)
        if ours == key and given.get(key) is mapping[name] and (*path, name) in lines.written:
            given[key] = lines.written[*path, name]


def words(dy_r: Any, allowed: Sequence[str]) -> tuple[str, ...]:
    """The words of a `dy-r`, as a shell would part them, and each one of those that are allowed.

    No shell reads them: `$`, `;` and the like are letters as others.

    Raises:
        ConfigurationError: it is no text, or holds a word that is not allowed.
    """
    if dy_r in (None, ""):
        return ()
    if not isinstance(dy_r, str):
        raise ConfigurationError("daylily_work.yaml: dy-r: write a text")
    try:
        found = shlex.split(dy_r, comments=False)
    except ValueError as error:
        raise ConfigurationError(f"daylily_work.yaml: dy-r: {str(error).lower()}") from None
    if len(found) > MAX_WORDS:
        raise ConfigurationError(f"daylily_work.yaml: dy-r: at most {MAX_WORDS} words")
    for word in found:
        known = word in allowed or any(fnmatchcase(word, pattern) for pattern in allowed)
        lawful = word.isprintable() and known
        if not lawful:
            raise ConfigurationError(
                f"daylily_work.yaml: dy-r: {plain(word, 80)!r} is none of the words that its "
                f"pipeline takes ({few(allowed, 20)}); the settings name them as dy_r"
            )
    return tuple(found)


def as_texts(others: Mapping[str, Any]) -> dict[str, str]:
    """Daylily's own keys for a manifest, each as a text of one line."""
    return {key: plain(str(value).strip(), MAX_TEXT) for key, value in others.items() if value}
