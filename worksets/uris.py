"""Whether one place lies below another: the only question that guards a customer's data.

A place is a plain text. A file URI is `file://` and the path, letter by letter: a space is a space
and `%` is a percent sign, for folders are called so. Nothing is encoded, so nothing is decoded.
"""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import quote, unquote

from pydantic import AfterValidator

_LAWFUL: Final = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]+(/[^/%?#\\\x00-\x1f\x7f]+)*/?"
    r"|file://(/[^/\\\x00-\x1f\x7f\ud800-\udfff]+)*/?"
)
FILE: Final = "file://"
ENCODED: Final = re.compile("%[0-9A-Fa-f]{2}")


def is_lawful(uri: str) -> bool:
    """Whether a URI is `s3://bucket/…` or `file:///…` with no `.` or `..` part, no empty part, no
    backslash and no control character; in S3 also no `%`, `?` and `#`: nothing that two programs
    could read differently."""
    return bool(_LAWFUL.fullmatch(uri)) and not {".", ".."} & set(uri.split("/")[2:])


def lies_below(uri: str, root: str) -> bool:
    """Whether `uri` is `root` or lies below it, part by part and letter by letter.

    False for anything that `is_lawful` refuses, whatever it might mean.
    """
    if not (is_lawful(uri) and is_lawful(root)):
        return False
    return (uri.rstrip("/") + "/").startswith(root.rstrip("/") + "/")


def file_uri(path: str) -> str:
    """The URI of an absolute path: `file://` and the path itself.

    What cannot be shown or saved as text (control characters, bytes that are not UTF-8) is written
    as `\\x…`; such a URI is not lawful, so nothing lies below it.
    """
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return FILE + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def file_path(uri: str) -> str:
    """The path of a file URI."""
    return uri.removeprefix(FILE)


def once_encoded(uri: str) -> str:
    """The path that a file URI of an older release meant; empty if it is none of those.

    They were percent-encoded, in one way only: another spelling of the same path is not believed.
    """
    path = unquote(file_path(uri))
    return path if path != file_path(uri) and quote(path) == file_path(uri) else ""


def _plain(text: str) -> str:
    if not is_lawful(text) or text.rstrip("/") == FILE.rstrip("/"):
        raise ValueError(
            "write s3://bucket/prefix or file:///folder, plainly (a space is a space): no '..', "
            "no '%' in S3, and not the root of a file system"
        )
    return text.rstrip("/")


Uri = Annotated[str, AfterValidator(_plain)]
"""A lawful URI without a slash at its end, in settings."""
