"""Settings in one YAML file, saved as the Prefect blocks that everything else reads."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import yaml
from prefect.blocks.core import Block
from pydantic import ValidationError

from blocks.clusters import Cluster
from blocks.host import MODULES
from blocks.settings import WorksetSettings
from blocks.state_db import WorksetStateDB
from worksets.errors import ConfigurationError

CLUSTERS = {"local-cluster": "local-cluster", "slurm-cluster": "slurm-cluster"}
STATE_DBS = {"sqlite": "sqlite-workset-state-db", "dynamodb": "dynamodb-workset-state-db"}
B = TypeVar("B", bound=Block)
FOLDERS = ("path", "work_folder")


def read(file: Path, base: Path) -> tuple[WorksetSettings, WorksetStateDB, list[Cluster]]:
    """The settings in `file`; relative paths in it count from `base`.

    Raises:
        ConfigurationError: the file is not right; names the part and the key.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"the settings {file} cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"the settings {file} must be a mapping")

    db = _make(file, "state_db", raw.pop("state_db", None), STATE_DBS, base, WorksetStateDB)  # type: ignore[type-abstract]
    parts = raw.pop("clusters", None) or []
    clusters = [
        _make(file, f"clusters[{index}]", part, CLUSTERS, base, Cluster)  # type: ignore[type-abstract]
        for index, part in enumerate(parts)
    ]
    raw["worksets"] = [
        place if place.startswith(("s3-bucket/", "local-file-system/")) else str(base / place)
        for place in raw.get("worksets", [])
    ]
    results = raw.get("results", "results")
    raw["results"] = results if "://" in results else str(base / results)
    raw["export_roots"] = [
        root if "://" in root else (base / root).as_uri() for root in raw.get("export_roots", [])
    ]
    for pipeline in (raw.get("pipelines") or {}).values():
        # a job runs in its own folder: a program named by a relative path is found from here
        for step in {"stage", "run", "export"} & set(pipeline):
            pipeline[step] = [
                str(base / part) if part.endswith(".py") and (base / part).exists() else part
                for part in pipeline[step]
            ]
    try:
        settings = WorksetSettings(state_db="(saved below)", clusters=[], **raw)
    except ValidationError as error:
        raise _told(file, "", error) from None
    return settings, db, clusters


async def save(
    settings: WorksetSettings, db: WorksetStateDB, clusters: list[Cluster], name: str = "default"
) -> WorksetSettings:
    """Save all the blocks and return the settings block that names the others."""
    await db.save(name, overwrite=True)
    for cluster in clusters:
        await cluster.save(_block_name(cluster.cluster_name), overwrite=True)
    saved = settings.model_copy(
        update={
            "state_db": f"{db.get_block_type_slug()}/{name}",
            "clusters": [
                f"{cluster.get_block_type_slug()}/{_block_name(cluster.cluster_name)}"
                for cluster in clusters
            ],
        }
    )
    await saved.save(name, overwrite=True)
    return saved


def _block_name(text: str) -> str:
    # names of block documents have no dots and no capitals
    return text.lower().replace(".", "-").replace("_", "-")


def _make(file: Path, part: str, raw: Any, kinds: dict[str, str], base: Path, of: type[B]) -> B:
    if not isinstance(raw, dict) or raw.get("type") not in kinds:
        raise ConfigurationError(f"{file}: {part}: needs `type:`, one of {', '.join(kinds)}")
    values = {key: value for key, value in raw.items() if key != "type"}
    slug = kinds[raw["type"]]
    module = import_module(MODULES[slug])
    kind: type[B] = next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, of) and found.get_block_type_slug() == slug
    )
    if unknown := set(values) - set(kind.model_fields):
        raise ConfigurationError(f"{file}: {part}: unknown keys {', '.join(sorted(unknown))}")
    for key in FOLDERS:
        if key in values:
            values[key] = str(base / values[key])
    try:
        return kind(**values)
    except ValidationError as error:
        raise _told(file, f"{part}.", error) from None


def _told(file: Path, part: str, error: ValidationError) -> ConfigurationError:
    lines = [
        f"{file}: {part}{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
        for problem in error.errors(include_url=False)
    ]
    return ConfigurationError("\n".join(lines))
