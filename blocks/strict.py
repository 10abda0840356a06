"""Blocks that know their keys: a typing mistake is refused, not kept in silence."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, ClassVar, Final, Self
from weakref import WeakKeyDictionary

from prefect.blocks.core import Block
from prefect.logging import get_logger
from pydantic import ConfigDict, model_validator

OF_PREFECT: Final = frozenset({"_block_document_id", "_block_document_name", "_is_anonymous"})
SLUG: Final = "block_type_slug"
"""This and those above are what Prefect adds to a block's fields when it writes them out."""
_SCHEMAS: Final[WeakKeyDictionary[type, dict[str, dict[str, Any]]]] = WeakKeyDictionary()


class StrictBlock(Block):
    """A block that refuses keys it does not have, and numbers that are none (nan, inf).

    A stored block of an older release may have keys that are gone since: they are named in the log
    and left out, and everything else of it counts.

    Where a class has several bases, this one stands last among the blocks: pydantic takes the
    configuration of the last.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_keys_of_prefect(cls, values: Any) -> Any:
        if isinstance(values, dict):
            gone = {*OF_PREFECT, SLUG} if cls._is_called(values.get(SLUG)) else OF_PREFECT
            return {key: value for key, value in values.items() if key not in gone}
        return values

    @classmethod
    def _is_called(cls, slug: Any) -> bool:
        return not slug or slug == cls.get_block_type_slug()

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The block of a stored document, which is what Prefect calls this with."""
        if isinstance(obj, dict):
            known = cls.model_fields.keys() | OF_PREFECT | {SLUG}
            if gone := sorted(set(obj) - known):
                get_logger("blocks").warning(
                    "a stored %s has keys that this release does not know; they are left out: %s",
                    cls.get_block_type_name(),
                    ", ".join(gone),
                )
                obj = {key: value for key, value in obj.items() if key in known}
        return super().model_validate(obj, **options)

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The schema of the class, made once: Prefect asks for it anew for each field of a block
        that it saves, which took more than half of the time."""
        if not vars(cls).get("__pydantic_complete__"):  # asked while the class is being made
            return super().model_json_schema(*args, **options)
        made = _SCHEMAS.setdefault(cls, {})
        asked = repr((args, sorted(options.items())))
        if asked not in made:
            made[asked] = super().model_json_schema(*args, **options)
        return deepcopy(made[asked])
