"""What the parts of a settings file must be to one another: names, places, references."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from blocks.clusters.slurm.ssh import LINES_OF_KEYS
from local.settings_places import Places
from local.settings_shape import BAD, COMMANDS, Shapes
from worksets.errors import ConfigurationError
from worksets.jobs import PLACEHOLDERS, render
from worksets.texts import few

REFERENCE: Final = re.compile(r"[a-z0-9][a-z0-9-]*/[a-z0-9][a-z0-9-]*")
"""A block, as TYPE-SLUG/NAME."""


class Rules:
    """Applies the rules to the parts, in place; what is wrong is told to `shapes` and taken out."""

    def __init__(self, shapes: Shapes, base: Path, block_name: Callable[[str], str]) -> None:
        self.told = shapes.told
        self.places = Places(shapes, base)
        self.block_name = block_name

    def state_db(self, part: dict[str, Any]) -> None:
        if "path" in part:
            key = ("state_db", "path")
            found = self.places.here(part["path"], key, "file")
            if found is not BAD and Path(found).is_dir():
                found = self.told(key, "this is a folder", f"write a file: {found}/state.db")
            part["path"] = found
        _without_bad(part)

    def cluster(self, part: dict[str, Any], index: int, kind: str) -> None:
        at = ("clusters", index)
        way = part.get("transport") or {}
        if "work_folder" in part:
            read = self.places.there if _machine(kind, way) else self.places.here
            part["work_folder"] = read(part["work_folder"], (*at, "work_folder"))
        for host, key in ((way, (*at, "transport")), (way.get("jump"), (*at, "transport", "jump"))):
            if isinstance(host, dict):
                self._files_of(host, key)
        _without_bad(part)

    def _files_of(self, host: dict[str, Any], at: tuple[str | int, ...]) -> None:
        """The files of a login: on this machine."""
        if host.get("key_file"):
            host["key_file"] = self.places.here(host["key_file"], (*at, "key_file"), "file")
        known = host.get("known_hosts", "")
        if known and not LINES_OF_KEYS.search(known):
            host["known_hosts"] = self.places.here(known, (*at, "known_hosts"), "file")
        _without_bad(host)

    def names_and_folders(self, parts: list[tuple[int, str, dict[str, Any]]]) -> None:
        """No two clusters of one name, or of names that Prefect cannot tell apart, and no folder
        of two: a workset that moves would find the other's markers, and take them for its own."""
        names: dict[str, tuple[str, int]] = {}
        folders: dict[tuple[str, str], str] = {}
        for index, kind, part in parts:
            name = part.get("cluster_name")
            if isinstance(name, str):
                first, where = names.setdefault(self.block_name(name), (name, index))
                if where != index:
                    self.told(
                        ("clusters", index, "cluster_name"),
                        f"{name!r} and {first!r} (clusters[{where}]) are one name to Prefect"
                        if name != first
                        else f"clusters[{where}] is called so too",
                        "give one of the two another name",
                        name,
                    )
            if isinstance(folder := part.get("work_folder"), str):
                place = (_machine(kind, part.get("transport") or {}), folder)
                other = folders.setdefault(place, f"clusters[{index}]")
                if other != f"clusters[{index}]":
                    self.told(
                        ("clusters", index, "work_folder"),
                        f"{other} has this folder too, and each would take the other's files for "
                        f"its own",
                        f"write another, such as {folder}-{name or index}",
                        folder,
                    )

    def settings(self, part: dict[str, Any], remote: str) -> None:
        """The keys at the top; `remote` is the name of a cluster on another machine, or empty."""
        places = self.places
        part["worksets"] = self._each(part.get("worksets", []), ("worksets",), places.watched)
        part["results"] = places.results(part.get("results", "results"), ("results",), remote)
        roots = part.get("export_roots", [])
        part["export_roots"] = self._each(roots, ("export_roots",), places.root)
        customers = part.get("customers", {})
        for name, customer in customers.items():
            for key in ("inputs", "exports"):
                if key in customer:
                    at = ("customers", name, key)
                    customer[key] = self._each(customer[key], at, places.uri)
            _without_bad(customer)
        default = part.get("default_customer")
        if default and "customers" in part and default not in customers:
            near = difflib.get_close_matches(default, customers, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]!r}?" if near else _one_of(customers)
            part["default_customer"] = self.told(
                ("default_customer",), "there is no such customer", hint, default
            )
        for index, reference in enumerate(part.get("notifiers", [])):
            if not REFERENCE.fullmatch(reference):
                self.told(
                    ("notifiers", index),
                    "no block's name",
                    "write TYPE-SLUG/NAME, such as sns-topic/ops",
                    reference,
                )
        flow, _, deployment = part.get("deployment", "x/y").partition("/")
        if not flow or not deployment or "/" in deployment:
            part["deployment"] = self.told(
                ("deployment",), "no deployment's name", "write FLOW/DEPLOYMENT", part["deployment"]
            )
        for name, pipeline in part.get("pipelines", {}).items():
            self._pipeline(pipeline, ("pipelines", name))
        _without_bad(part)

    def _pipeline(self, pipeline: dict[str, Any], at: tuple[str | int, ...]) -> None:
        for step in sorted(COMMANDS & set(pipeline)):
            argv, key = pipeline[step], (*at, step)
            if not argv or not argv[0].strip():
                pipeline[step] = self.told(key, "no program", "write a list: the program first")
                continue
            try:
                render(argv, dict.fromkeys(PLACEHOLDERS, ""))
            except ConfigurationError as error:
                what, _, remedy = str(error).partition("; ")
                pipeline[step] = self.told(key, what, remedy)
                continue
            # a job runs in its own folder: a program named by a relative path is found from here
            pipeline[step] = [
                str(self.places.base / argument)
                if argument.endswith(".py") and (self.places.base / argument).exists()
                else argument
                for argument in argv
            ]
        _without_bad(pipeline)

    def _each(self, values: list[Any], at: tuple[str | int, ...], read: Callable[..., Any]) -> Any:
        found = [read(value, (*at, index)) for index, value in enumerate(values)]
        return BAD if any(item is BAD for item in found) else found


def remote_of(parts: list[tuple[int, str, dict[str, Any]]]) -> str:
    """The name of the first cluster that is on another machine; empty if there is none."""
    for _, kind, part in parts:
        if _machine(kind, part.get("transport") or {}):
            return str(part.get("cluster_name", "?"))
    return ""


def _machine(kind: str, way: dict[str, Any]) -> str:
    """Where a cluster's folders are; empty: on this machine."""
    if kind != "slurm-cluster" or way.get("kind", "local") == "local":
        return ""
    return f"{way.get('host', way.get('instance_id', '?'))}".lower()


def _one_of(names: Any) -> str:
    return f"write one of {few(sorted(names)) or '(there are none)'}"


def _without_bad(part: dict[str, Any]) -> None:
    for key in [key for key, value in part.items() if value is BAD]:
        del part[key]
