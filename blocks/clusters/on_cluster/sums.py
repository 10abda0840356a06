"""Files of checksums, as md5sum, sha256sum, openssl and the BSDs write them. Text only, no I/O."""

from __future__ import annotations

import re

MOST_BYTES = 1024 * 1024
"""A file of checksums that is longer is refused."""
BESIDE = (".md5", ".sha256", ".md5sum", ".sha256sum")
"""Endings of a file of checksums for the one file whose name comes before; any case."""
LISTS = (
    "md5sum.txt",
    "md5sums.txt",
    "md5sum",
    "md5sums",
    "md5.txt",
    "checksums.md5",
    "md5sums.md5",
    "sha256sum.txt",
    "sha256sums.txt",
    "sha256sum",
    "sha256sums",
    "sha256.txt",
    "checksums.sha256",
    "sha256sums.sha256",
    "checksums.txt",
)
"""Names of files of checksums for the files of their folder and below; any case."""
ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
"""What a digest is, by the number of its hexadecimal digits."""

_HEX = r"[0-9A-Fa-f]+"
_GNU = re.compile(rf"(\\?)({_HEX}) [ *](.+)")
_LOOSE = re.compile(rf"(\\?)({_HEX})[ \t]+\*?(.+)")
_BSD = re.compile(rf"(\\?)([A-Za-z0-9-]+) ?\((.+)\) ?= ?({_HEX})")


class Garbage(Exception):
    """It is no file of checksums, or it contradicts itself; the text says where."""


def digest(text: str) -> tuple[str, str]:
    """Algorithm and digest in small letters of a hexadecimal text.

    Raises:
        Garbage: it is no digest.
    """
    text = text.strip().lower()
    if not re.fullmatch(_HEX, text) or len(text) not in ALGORITHMS:
        raise Garbage("holds no MD5 or SHA-256 digest")
    return ALGORITHMS[len(text)], text


def is_for(sums: bytes, name: bytes) -> bool:
    """Whether a file of this name, by its name, holds the checksum of that one beside it."""
    return any(sums.lower() == name.lower() + end.encode() for end in BESIDE) and (
        sums[: len(name)] == name
    )


def is_list(name: bytes) -> bool:
    """Whether a file of this name, by its name, lists checksums of its folder."""
    return name.lower() in {text.encode() for text in LISTS}


def parse(content: bytes) -> list[tuple[str, str, str]]:
    """(path, algorithm, digest) for each line; the path is "" where a digest stands alone.

    Paths are as they stand there, without `./` before them. Bytes that are no UTF-8 become lone
    surrogates, as Python's surrogateescape has it.

    Raises:
        Garbage: a line is in none of the formats, or there is none.
    """
    text = content.decode("utf-8", "surrogateescape")
    found = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith(("#", ";")):
            continue
        try:
            found.append(_line(line))
        except Garbage:
            raise Garbage(f"line {number} is no checksum: {line[:60]!r}") from None
    if not found:
        raise Garbage("is empty")
    return found


def _line(line: str) -> tuple[str, str, str]:
    if bsd := _BSD.fullmatch(line):
        escaped, _, path, hexadecimal = bsd.groups()
    elif gnu := _GNU.fullmatch(line) or _LOOSE.fullmatch(line):
        escaped, hexadecimal, path = gnu.groups()
    else:
        escaped, hexadecimal, path = "", line, ""
    if escaped:  # GNU: a name with a backslash or a line break
        path = re.sub(r"\\(.)", lambda match: {"n": "\n", "r": "\r"}.get(match[1], match[1]), path)
    while path.startswith("./"):
        path = path[2:]
    return (path, *digest(hexadecimal))


def about(content: bytes, path: str, beside: bool) -> dict[str, str]:
    """The digests that a file of checksums gives for the file `path` (below its own folder).

    A line speaks of it that names this path, or an absolute path that ends with it (as the sender
    had it). With `beside` (NAME.md5 beside NAME) also a digest that stands alone, or a line whose
    last component is the name.

    Returns:
        Digests in small hexadecimal letters, by algorithm; none where it does not speak of it.

    Raises:
        Garbage: it cannot be read, says two things of the file, or is beside and names others only.
    """
    said: dict[str, str] = {}
    lines = parse(content)
    for named, algorithm, value in lines:
        if not named and not beside:
            raise Garbage(f"has a digest that names no file: {value}")
        if not _speaks(named, path, beside):
            continue
        if said.setdefault(algorithm, value) != value:
            raise Garbage(f"says two different things of {path!r}")
    if beside and not said:
        raise Garbage(f"speaks of {lines[0][0]!r}, not of the file that it is named after")
    return said


def _speaks(named: str, path: str, beside: bool) -> bool:
    if beside:
        return named == "" or named.rpartition("/")[2] == path
    return named == path or (named.startswith("/") and named.endswith("/" + path))
