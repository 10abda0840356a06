"""`worksets apply`: a settings file saved as blocks, and what that changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect.blocks.core import Block
from prefect.settings import get_current_settings

from blocks import kinds
from blocks.settings import WorksetSettings
from local import settings_file
from worksets.errors import ConfigurationError


async def applied(file: Path) -> list[dict[str, Any]]:
    """Save the blocks of a settings file; a row for each, with the keys that have changed.

    Raises:
        ConfigurationError: the file is not right, or no server is named.
    """
    settings, db, clusters = settings_file.read(file, Path.cwd())
    if not get_current_settings().api.url:
        raise ConfigurationError("no server is named: set PREFECT_API_URL to that of Prefect's")
    before = await _known(settings, db, clusters)
    saved = await settings_file.save(settings, db, clusters)
    rows = []
    references = [saved.state_db, *saved.clusters, f"workset-settings/{saved._block_document_name}"]
    for reference in references:
        now = _keys(await kinds.load(reference))
        if reference not in before:
            rows.append({"block": reference, "changed": [], "told": "saved, new"})
            continue
        old = before[reference]
        keys = sorted(key for key in {*old, *now} if old.get(key) != now.get(key))
        told = f"changed: {', '.join(keys)}" if keys else "as it was"
        rows.append({"block": reference, "changed": keys, "told": told})
    gone = set(before) - set(references)
    rows += [
        {"block": name, "changed": [], "told": "not of these settings any more; it is left there"}
        for name in sorted(gone)
    ]
    return rows


async def _known(settings: WorksetSettings, db: Any, clusters: Any) -> dict[str, dict[str, Any]]:
    """The blocks of this installation as they were before."""
    found: dict[str, dict[str, Any]] = {}
    installation = db.installation()
    for name in ("default", f"default-{installation}"):
        try:
            old: Any = await WorksetSettings.aload(name)
        except ValueError:
            continue
        if old.installation != installation:
            continue
        found[f"workset-settings/{name}"] = _keys(old)
        for reference in (old.state_db, *old.clusters):
            try:
                found[reference] = _keys(await kinds.load(reference))
            except ValueError:
                continue
    return found


def _keys(block: Block) -> dict[str, Any]:
    return block.model_dump(mode="json", exclude={"block_type_slug"})
