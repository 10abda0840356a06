"""Settings in one YAML file, saved as the Prefect blocks that everything else reads."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from typing import Any, Final, TypeVar

from prefect.blocks.core import Block
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from blocks.clusters import Cluster
from blocks.kinds import kind_of
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from local.settings_rules import Rules, remote_of
from local.settings_shape import BAD, Mistake, Shapes, kind
from local.settings_shape import Path as Key
from local.settings_told import bounds_of, told
from worksets.errors import ConfigurationError
from worksets.yaml_safe import MAX_BYTES, load_mapping

Kinds = dict[str, str]
"""Words of `type:`, each with the kind of block that it means."""
CLUSTERS: Final[Kinds] = {"local-cluster": "local-cluster", "slurm-cluster": "slurm-cluster"}
STATE_DBS: Final[Kinds] = {
    "sqlite": "sqlite-workset-state-db",
    "dynamodb": "dynamodb-workset-state-db",
}
B = TypeVar("B", bound=Block)


def read(file: Path, base: Path) -> tuple[WorksetSettings, WorksetStateDB, list[Cluster]]:
    """The settings in `file`; relative paths in it count from `base`.

    Nothing is made or changed, and nothing outside the file is asked.

    Raises:
        ConfigurationError: the file is not right; a line for every mistake, with the file's line,
            the key, what is wrong and what to write instead.
    """
    raw, lines = load_mapping(_bytes(file), str(file), "installation", "state_db")
    shapes = Shapes()
    reading = _Reading(shapes, Rules(shapes, base, _block_name))
    db = reading.state_db(raw.pop("state_db", None) if "state_db" in raw else BAD)
    clusters = reading.clusters(raw.pop("clusters", []))
    settings = reading.settings(raw)
    if shapes.mistakes or settings is None or db is None:
        raise ConfigurationError(told(str(file), lines, shapes.mistakes))
    return settings, db, clusters


class _Reading:
    """One file on its way from text to blocks."""

    def __init__(self, shapes: Shapes, rules: Rules) -> None:
        self.shapes = shapes
        self.rules = rules
        self.remote = ""

    def state_db(self, raw: Any) -> WorksetStateDB | None:
        if raw is BAD:
            self.shapes.told(("state_db",), "missing", f"write {_typed(STATE_DBS)}")
            return None
        found = self._part(raw, STATE_DBS, WorksetStateDB, ("state_db",))  # type: ignore[type-abstract]
        if found is None:
            return None
        kind_, part = found
        self.rules.state_db(part)
        return self._make(kind_, part, ("state_db",))

    def clusters(self, raw: Any) -> list[Cluster]:
        if not isinstance(raw, list):
            self.shapes.told(
                ("clusters",),
                f"{kind(raw)} where a list is asked for",
                "write a list: each cluster on lines of its own that begin with '- '",
            )
            return []
        found = [
            (index, *made_of)
            for index, entry in enumerate(raw)
            if (made_of := self._part(entry, CLUSTERS, Cluster, ("clusters", index)))  # type: ignore[type-abstract]
        ]
        named = [(index, kind_.get_block_type_slug(), part) for index, kind_, part in found]
        for index, slug, part in named:
            self.rules.cluster(part, index, slug)
        self.rules.names_and_folders(named)
        self.remote = remote_of(named)
        made = [self._make(kind_, part, ("clusters", index)) for index, kind_, part in found]
        return [cluster for cluster in made if cluster is not None]

    def settings(self, raw: dict[str, Any]) -> WorksetSettings | None:
        fields = dict(WorksetSettings.model_fields)
        known = fields | {"clusters": FieldInfo(annotation=list[Any])}
        part = self.shapes.keys(raw, known, ())
        self.rules.settings(part, self.remote)
        return self._make(WorksetSettings, part | {"state_db": "(saved below)", "clusters": []}, ())

    def _part(
        self, raw: Any, kinds: Kinds, of: type[B], at: Key
    ) -> tuple[type[B], dict[str, Any]] | None:
        """The class that `type:` names, and the other keys as far as they have the right shape."""
        if not isinstance(raw, dict):
            self.shapes.told(at, f"{kind(raw)} where keys are asked for", f"write {_typed(kinds)}")
            return None
        if "type" not in raw:
            self.shapes.told(at, "no `type:`", f"write {_typed(kinds)}")
            return None
        if self.shapes.choice(raw["type"], list(kinds), (*at, "type")) is BAD:
            return None
        class_ = kind_of(kinds[raw["type"]])
        keys = {key: value for key, value in raw.items() if key != "type"}
        part: dict[str, Any] = self.shapes.keys(keys, class_.model_fields, at)
        return class_, part

    def _make(self, class_: type[B], part: dict[str, Any], at: Key) -> B | None:
        """The block; what its own rules refuse is told, unless that was told already."""
        try:
            return class_(**part)
        except ValidationError as error:
            for mistake in bounds_of(class_, error, at):
                if not any(_same(mistake, other) for other in self.shapes.mistakes):
                    self.shapes.mistakes.append(mistake)
        except ConfigurationError as error:
            self.shapes.told(at, str(error), "correct it")
        return None


def _same(mistake: Mistake, other: Mistake) -> bool:
    """Whether one tells of what the other has told: its key, one below or above, or its name."""
    places = [other.path, *([(*other.path[:-1], other.meant)] if other.meant else [])]
    return any(
        mistake.path[:shared] == place[:shared]
        for place in places
        if (shared := min(len(mistake.path), len(place)))
    )


def _typed(kinds: Kinds) -> str:
    return f"{{type: {' or '.join(kinds)}, …}}"


def _bytes(file: Path) -> bytes:
    """The file's bytes, at most one more than are read.

    Raises:
        ConfigurationError: it is no file that can be read.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            what = "a folder" if file.is_dir() else "no regular file"
            raise ConfigurationError(f"{file}: this is {what}; name a settings file (YAML)")
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
            size = max(len(data), file.stat().st_size)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{file}: there is no such file; copy examples/settings.yaml and edit it"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"{file}: cannot be read ({reason}); make it readable for this user"
        ) from None
    if size > MAX_BYTES:
        raise ConfigurationError(
            f"{file}: {size:,} bytes; at most {MAX_BYTES:,} (1 MiB) are read. Is it the right file?"
        )
    return data


async def save(
    settings: WorksetSettings, db: WorksetStateDB, clusters: list[Cluster], name: str = "default"
) -> WorksetSettings:
    """Save all the blocks and return the settings block that names the others.

    The names of blocks carry the installation, for several may use one server. The settings block
    is called `name`, or, where that is another installation's already, `name-INSTALLATION`.
    """
    installation = await asyncio.to_thread(db.installation)
    if await _owner_of(name) not in ("", installation):
        name = f"{name}-{installation}"
    its_own = f"{name.removesuffix(f'-{installation}')}-{installation}"
    await db.save(its_own, overwrite=True)
    for cluster in clusters:
        at = f"{_block_name(cluster.cluster_name)}-{installation}"
        await cluster.save(at, overwrite=True)
    saved = settings.model_copy(
        update={
            "installation": installation,
            "state_db": f"{db.get_block_type_slug()}/{its_own}",
            "clusters": [
                f"{cluster.get_block_type_slug()}/"
                f"{_block_name(cluster.cluster_name)}-{installation}"
                for cluster in clusters
            ],
        }
    )
    await saved.save(name, overwrite=True)
    return saved


async def _owner_of(name: str) -> str:
    """The installation whose settings block has this name on the server; empty: nobody's yet."""
    try:
        found: Any = await WorksetSettings.aload(name)
    except ValueError:  # there is none
        return ""
    return str(found.installation)


def _block_name(text: str) -> str:
    # names of block documents have no dots and no capitals
    return text.lower().replace(".", "-").replace("_", "-")
