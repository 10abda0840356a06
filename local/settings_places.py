"""The paths and URIs of a settings file: whole, absolute, and nobody's root.

A path on this machine may begin with `~` and counts from the base folder. A path on another machine
stands as it is: it must be absolute, for nobody here knows that machine's homes and folders.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Any, Final

from local.settings_shape import BAD, Shapes
from local.settings_shape import Path as Key
from worksets.uris import ENCODED, FILE, file_path, file_uri, is_lawful, once_encoded

BLOCKS: Final = ("s3-bucket", "local-file-system")
"""Kinds of blocks that are watched places."""
BLOCK_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]*")
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
LIKE_A_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
ALL: Final = "that is the root of everything"


class Places:
    """Reads places, and tells what is wrong with them to `shapes`."""

    def __init__(self, shapes: Shapes, base: Path) -> None:
        self._told = shapes.told
        # not resolved: the folder is called what its user calls it
        self.base = Path(os.path.normpath(Path.cwd() / base))

    def here(self, text: Any, key: Key, what: str = "folder") -> Any:
        """A path on this machine, absolute."""
        if text is BAD or self._odd(text, key, what):
            return BAD
        if LIKE_A_URI.match(text):
            return self._told(
                key, "a URI where a path is asked for", f"write the {what}'s path", text
            )
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            return self._told(key, "there is no such home", f"write the {what}'s whole path", text)
        whole = os.path.normpath(self.base / path)
        # POSIX lets a path begin with two slashes
        return self._below_root("/" + whole.lstrip("/"), key, text)

    def there(self, text: Any, key: Key) -> Any:
        """A folder on another machine: absolute already."""
        if text is BAD or self._odd(text, key, "folder"):
            return BAD
        if not text.startswith("/"):
            why = (
                "'~' would be a home on this machine"
                if text.startswith("~")
                else "a path on another machine is not counted from here"
            )
            return self._told(key, why, "write the absolute path there: /shared/worksets", text)
        return self._below_root("/" + os.path.normpath(text).lstrip("/"), key, text)

    def watched(self, text: Any, key: Key) -> Any:
        """A folder on this machine, or a block's `s3-bucket/NAME` or `local-file-system/NAME`."""
        if text is BAD:
            return BAD
        slug, _, name = str(text).partition("/")
        if slug in BLOCKS:
            if BLOCK_NAME.fullmatch(name):
                return text
            return self._told(
                key, "no name of a block", f"write {slug}/NAME (small letters, digits, '-')", text
            )
        if text.startswith("s3:"):
            remedy = "save an S3Bucket block with this bucket and folder, and write s3-bucket/NAME"
            return self._told(key, "S3 is watched through a block", remedy, text)
        if text.startswith(FILE):
            text = file_path(text)
        near = difflib.get_close_matches(slug, BLOCKS, n=1, cutoff=0.8)
        if near and name and not os.path.lexists(self.base / text):
            return self._told(
                key, "neither a folder nor a block", f"did you mean {near[0]}/{name}?", text
            )
        return self.here(text, key)

    def results(self, text: Any, key: Key, remote: str) -> Any:
        """Where results go: a folder, or an S3 URI; `remote` names a cluster elsewhere, if any."""
        if text is BAD:
            return BAD
        if text.startswith(FILE):
            text = file_path(text)
        elif LIKE_A_URI.match(text):
            return self.uri(text, key)
        if remote and text.startswith("~"):
            return self._told(
                key,
                f"'~' is a home on this machine, and the cluster {remote} is on another",
                "write the absolute path there, or s3://bucket/prefix",
                text,
            )
        return self.here(text, key)

    def root(self, text: Any, key: Key) -> Any:
        """A URI, or a folder on this machine, as a URI below which things may lie."""
        if text is BAD or LIKE_A_URI.match(text):
            return self.uri(text, key)
        found = self.here(text, key)
        return found if found is BAD else self.uri(file_uri(found), key)

    def uri(self, text: Any, key: Key) -> Any:
        """A lawful URI; a path is told with its URI."""
        if text is BAD:
            return BAD
        if not is_lawful(text) and not LIKE_A_URI.match(text):
            path = self.here(text, key)
            form = "file:///folder" if path is BAD else file_uri(path)
            if path is BAD:
                return BAD
            return self._told(key, "a path where a URI is asked for", f"write {form}", text)
        if text.rstrip("/") in ("file:", "s3:"):
            return self._told(key, ALL, "write the place that is meant, and no more", text)
        if not is_lawful(text):
            return self._told(
                key,
                "no URI that is understood in one way only",
                "write s3://bucket/prefix or file:///folder, plainly: no '..', no '//', no '%' in "
                "S3, a space as a space",
                text,
            )
        meant = once_encoded(text) if text.startswith(FILE) and ENCODED.search(text) else ""
        if meant and os.path.lexists(meant) and not os.path.lexists(file_path(text)):
            return self._told(
                key, "nothing is encoded in a file URI", f"write {file_uri(meant)}", text
            )
        return text.rstrip("/")

    def _below_root(self, path: str, key: Key, text: str) -> Any:
        if path == "/":
            return self._told(key, ALL, "write the folder that is meant, and no more", text)
        return path

    def _odd(self, text: str, key: Key, what: str) -> bool:
        if not text.strip():
            self._told(key, f"no {what} is named", f"write the {what}'s path", text)
        elif CONTROL.search(text):
            self._told(key, "a control character in a path", "write it without, or rename it", text)
        elif text.startswith("$"):
            self._told(key, "variables are not filled in", f"write the {what}'s path itself", text)
        elif text != text.strip():
            self._told(key, "a space at the end of a path", "write it without", text)
        elif not text.isprintable() and any("\ud800" <= c <= "\udfff" for c in text):
            self._told(key, "not a text", "rename it", None)
        elif len(os.fsencode(text)) > 4000:
            self._told(key, "longer than a path can be", "write a shorter one")
        else:
            return False
        return True
