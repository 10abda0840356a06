"""Rooms whose door is light: what a door names is imported when somebody asks for it.

AWS's packages take half a second, and what starts Prefect's server may import nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def opened_when_asked(room: str, **names: str) -> Callable[[str], Any]:
    """The `__getattr__` of a room (see PEP 562): for each module of it, the names it gives."""
    modules = {name: module for module, given in names.items() for name in given.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(f"{room}.{modules[name]}"), name)

    return get
