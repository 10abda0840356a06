"""Which reference genomes a site has, and what a workset's word for one means there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

COMMON: Final = ("hg38", "hg19", "grch38", "grch37", "b37")
"""Taken for known where the settings name none: a typing error is found before a job begins."""
SAME: Final = (frozenset({"hg38", "grch38"}),)
"""Names of one assembly. hg19 and GRCh37 are not: their mitochondria differ, and b37's names."""


def genome_at(
    asked: str, named: Collection[str], on_clusters: Collection[str], any_name: bool = False
) -> str:
    """The site's name for the genome that a workset asks for; empty if there is none.

    `named` are those of the settings, `on_clusters` those that clusters list; `any_name`: some
    cluster lists none, and takes each that is known. Two names of one assembly are told apart only
    where the site lists both.
    """
    listed = sorted({*named, *on_clusters})
    if asked in listed:
        return asked
    if any_name and not named and asked.lower() in COMMON:
        return asked.lower()  # there it is called so
    here = {name.lower(): name for name in reversed(listed)}
    others = (same - {asked.lower()} for same in SAME if asked.lower() in same)
    for name in (asked.lower(), *(name for same in others for name in sorted(same))):
        if name in here:
            return here[name]
    return asked.lower() if not named and asked.lower() in COMMON else ""


def known_genomes(named: Collection[str], on_clusters: Collection[str]) -> list[str]:
    """All that a workset may ask for, for people."""
    return sorted({*named, *on_clusters, *(() if named else COMMON)})
