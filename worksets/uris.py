"""Whether one place lies below another: the only question that guards a customer's data."""

from __future__ import annotations

import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator

_LAWFUL: Final = re.compile(r"(s3://[a-z0-9][a-z0-9.-]+|file://)(/[^/%?#\\\x00-\x1f\x7f]+)*/?")


def is_lawful(uri: str) -> bool:
    """Whether a URI is `s3://bucket/…` or `file:///…` with no `.` or `..` part, no empty part, no
    `%`-encoding, query, fragment, backslash or control character: nothing that two programs could
    read differently."""
    return bool(_LAWFUL.fullmatch(uri)) and not {".", ".."} & set(urlsplit(uri).path.split("/"))


def lies_below(uri: str, root: str) -> bool:
    """Whether `uri` is `root` or lies below it, part by part and letter by letter.

    False for anything that `is_lawful` refuses, whatever it might mean.
    """
    if not (is_lawful(uri) and is_lawful(root)):
        return False
    return (uri.rstrip("/") + "/").startswith(root.rstrip("/") + "/")


def _plain(text: str) -> str:
    if not is_lawful(text):
        raise ValueError("write s3://bucket/prefix or file:///folder, plainly: no '..', no '%'")
    return text.rstrip("/")


Uri = Annotated[str, AfterValidator(_plain)]
"""A lawful URI without a slash at its end, in settings."""
