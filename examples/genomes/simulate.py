"""Genomes with planted variants, and reads of them: what the pipeline must find is known.

``python -m examples.genomes.simulate [DIR]`` writes the reference genomes and the FASTQ files that
the worksets in DIR (the folder beside this file) name. All of it follows from names: every run
writes the same, and `verify` knows the planted variants without a file of them.
"""

from __future__ import annotations

import argparse
import gzip
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from examples.simulate import HERE as EXAMPLES
from examples.simulate import (
    OTHER_BASES,
    WORK_FILE,
    read_genome,
    reverse_complement,
    seeded,
    write_atomically,
)

HERE: Final = Path(__file__).resolve().parent
SYNTHETIC_BP: Final = 600_000
"""As large as the smallest genomes of bacteria (Mycoplasma genitalium has 580,076 bp)."""
GC: Final = 0.4
VARIANT_EVERY_BP: Final = 700
APART_BP: Final = 60
"""Least distance of two variants, so that no read mistakes one for another."""
EDGE_BP: Final = 400
"""Nothing is planted so near an end: the ends of a linear genome are hardly covered."""
INDELS: Final = 0.2
LONGEST_INDEL_BP: Final = 10
READ_BP, FRAGMENT_BP, FRAGMENT_SD_BP = 150, 400, 50
ERRORS: Final = 0.002
"""Share of bases that are read wrongly."""
RIGHT, WRONG = "F", "/"
"""Phred+33: 37, and 14."""


class Variant(NamedTuple):
    """A planted variant as a VCF has it: `pos` counts from 1, and indels are left-aligned."""

    pos: int
    ref: str
    alt: str


@cache
def genome(name: str) -> str:
    """A reference genome by its name: phix174, or a synthetic one."""
    if name == "phix174":
        return read_genome(EXAMPLES / "phix174.fasta")
    weights = [(1 - GC) / 2, GC / 2, GC / 2, (1 - GC) / 2]
    return "".join(seeded(name, "genome").choices("ACGT", weights, k=SYNTHETIC_BP))


@cache
def planted(reference: str, workset: str, sample: str) -> tuple[Variant, ...]:
    """The variants of one sample, in order."""
    bases, draw = genome(reference), seeded(workset, sample, "variants")
    count = (len(bases) - 2 * EDGE_BP) // VARIANT_EVERY_BP
    found: list[Variant] = []
    for place in sorted(draw.sample(range(EDGE_BP, len(bases) - EDGE_BP), count)):
        ref = bases[place]
        alt = draw.choice(OTHER_BASES[ref])
        if draw.random() < INDELS:
            size = draw.randint(1, LONGEST_INDEL_BP)
            alt = ref + "".join(draw.choices("ACGT", k=size))
            if draw.random() < 0.5:
                ref, alt = bases[place : place + size + 1], ref
        variant = left_aligned(bases, Variant(place + 1, ref, alt))
        if not found or variant.pos - (found[-1].pos + len(found[-1].ref)) >= APART_BP:
            found.append(variant)
    return tuple(found)


def left_aligned(bases: str, variant: Variant) -> Variant:
    """The variant as far to the left as it can stand, and no longer than it must be.

    Tan, Abecasis & Kang, Bioinformatics 31 (2015) 2202.
    """
    pos, ref, alt = variant
    while ref[-1] == alt[-1] and (pos > 1 or min(len(ref), len(alt)) > 1):
        ref, alt = ref[:-1], alt[:-1]
        if not ref or not alt:
            pos -= 1
            ref, alt = bases[pos - 1] + ref, bases[pos - 1] + alt
    while len(ref) > 1 and len(alt) > 1 and ref[0] == alt[0]:
        pos, ref, alt = pos + 1, ref[1:], alt[1:]
    return Variant(pos, ref, alt)


def with_variants(bases: str, variants: tuple[Variant, ...]) -> str:
    """The genome of a sample."""
    parts, at = [], 0
    for pos, ref, alt in variants:
        assert bases[pos - 1 : pos - 1 + len(ref)] == ref
        parts += [bases[at : pos - 1], alt]
        at = pos - 1 + len(ref)
    return "".join([*parts, bases[at:]])


def pairs(bases: str, coverage: float, draw: random.Random) -> Iterator[tuple[str, str]]:
    """Pairs of reads of a genome, from both strands, without errors."""
    for _ in range(round(len(bases) * coverage / (2 * READ_BP))):
        size = max(READ_BP, min(len(bases), round(draw.gauss(FRAGMENT_BP, FRAGMENT_SD_BP))))
        start = draw.randrange(len(bases) - size + 1)
        fragment = bases[start : start + size]
        mate = reverse_complement(fragment)
        pair = (fragment[:READ_BP], mate[:READ_BP])
        yield pair if draw.random() < 0.5 else (pair[1], pair[0])


def misread(read: str, draw: random.Random) -> tuple[str, str]:
    """What a sequencer makes of a read: bases and qualities."""
    wrong = [n for n in range(len(read)) if draw.random() < ERRORS]
    if not wrong:
        return read, RIGHT * len(read)
    bases, quality = list(read), [RIGHT] * len(read)
    for n in wrong:
        bases[n], quality[n] = draw.choice(OTHER_BASES[bases[n]]), WRONG
    return "".join(bases), "".join(quality)


def simulate(worksets: Path) -> list[Path]:
    """Write the reference genomes, and the FASTQ files of each workset that are missing."""
    written = []
    for work_file in sorted(worksets.glob(f"*/{WORK_FILE}")):
        work: dict[str, Any] = yaml.safe_load(work_file.read_text(encoding="utf-8"))
        name = work["reference_genome"]
        reference = worksets.parent / "reference" / f"{name}.fa"
        if not reference.exists():
            bases = genome(name)
            lines = [bases[at : at + 70] for at in range(0, len(bases), 70)]
            write_atomically(reference, "\n".join([f">{name}", *lines, ""]).encode())
            written.append(reference)
        for sample in work["samples"]:
            files = [work_file.parent / sample[f"fastq_r{mate}"] for mate in (1, 2)]
            if all(file.exists() for file in files):
                continue
            texts = fastqs(name, work_file.parent.name, sample["sample_id"], sample["coverage"])
            for file, text in zip(files, texts, strict=True):
                # the same bytes in every run: no name and no time in the header
                write_atomically(file, gzip.compress(text.encode(), 3, mtime=0))
            written += files
    return written


def fastqs(reference: str, workset: str, sample: str, coverage: float) -> tuple[str, str]:
    """The two FASTQ files of a sample, as text."""
    bases = with_variants(genome(reference), planted(reference, workset, sample))
    draw = seeded(workset, sample, "reads")
    ends: tuple[list[str], list[str]] = ([], [])
    for number, pair in enumerate(pairs(bases, coverage, draw), 1):
        for mate, (end, read) in enumerate(zip(ends, pair, strict=True), 1):
            called, quality = misread(read, draw)
            end.append(f"@{sample}:{number}/{mate}\n{called}\n+\n{quality}\n")
    return "".join(ends[0]), "".join(ends[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worksets", nargs="?", type=Path, default=HERE / "worksets")
    for path in simulate(parser.parse_args().worksets.resolve()):
        print(path)


if __name__ == "__main__":
    main()
