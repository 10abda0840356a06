"""Write the FASTQ files that the example worksets name, simulated from phiX174.

``python -m examples.simulate [DIR]`` fills the ``worksets`` folder beside this file, or DIR. The
seed follows from the names of workset and sample, so every run writes the same reads.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
WORK_FILE = "daylily_work.yaml"
COMPLEMENT = str.maketrans("ACGT", "TGCA")
OTHER_BASES = {"A": "CGT", "C": "AGT", "G": "ACT", "T": "ACG"}

READ_LENGTHS = (100, 125, 150)  # bp
FRAGMENT_MEAN, FRAGMENT_SD = 300, 60  # bp; a usual short-read library
N_PER_READ = 0.01  # share of reads with one base that was not called
LOWEST_PHRED, HIGHEST_PHRED = 2, 41  # the range Illumina writes
PHRED_DROP = {1: 9.0, 2: 14.0}  # fall of quality along a read; the second mate fades faster
# Probability that a base is wrong, by Phred score: P = 10^(-Q/10) (Ewing & Green 1998).
ERROR_RATE = [10 ** (-phred / 10) for phred in range(HIGHEST_PHRED + 1)]


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a workset: FASTQ paths relative to its folder, coverage as a multiple."""

    sample_id: str
    fastq_r1: str
    fastq_r2: str | None
    coverage: float


def simulate(worksets: Path) -> list[Path]:
    """Write the missing FASTQ files of each workset in the folder ``worksets``.

    Returns the files written; a file that exists is left alone. A folder whose YAML cannot be
    read or does not describe samples is skipped: it may be bad on purpose. The faults that
    ``expected.yaml`` lists are made here. Raises OSError when a file cannot be written.
    """
    genome = read_genome(HERE / "phix174.fasta")
    expected = yaml.safe_load((HERE / "expected.yaml").read_text(encoding="utf-8"))
    written = []
    for work_file in sorted(worksets.glob(f"*/{WORK_FILE}")):
        folder = work_file.parent
        fault = expected.get(folder.name, {}).get("fault")
        samples = read_samples(work_file)
        for sample in samples:
            is_last = sample is samples[-1]
            for mate, name in ((1, sample.fastq_r1), (2, sample.fastq_r2)):
                if name is None or (is_last and fault == "missing_fastq" and mate == 2):
                    continue
                target = folder / name
                # A workset may only fill its own folder.
                if target.exists() or not target.resolve().is_relative_to(folder.resolve()):
                    continue
                data = simulate_fastq(genome, folder.name, sample, mate)
                if is_last and fault == "truncated_fastq" and mate == 1:
                    data = data[: len(data) * 60 // 100]
                write_atomically(target, data)
                written.append(target)
    return written


def read_genome(fasta: Path) -> str:
    """Return the only sequence of a FASTA file, in upper case."""
    lines = fasta.read_text(encoding="ascii").splitlines()
    return "".join(line for line in lines if not line.startswith(">")).upper()


def read_samples(work_file: Path) -> list[Sample]:
    """Return a workset's samples, none at all when the YAML does not describe them."""
    try:
        work: Any = yaml.safe_load(work_file.read_text(encoding="utf-8"))
        return [
            Sample(
                sample_id=str(entry["sample_id"]),
                fastq_r1=str(entry["fastq_r1"]),
                fastq_r2=str(entry["fastq_r2"]) if entry.get("fastq_r2") else None,
                coverage=float(entry["coverage"]),
            )
            for entry in work["samples"]
        ]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return []


def simulate_fastq(genome: str, workset: str, sample: Sample, mate: int) -> bytes:
    """Return one gzipped FASTQ file; ``mate`` is 1 or 2.

    The number of reads is genome length (bp) * coverage / (mates * read length), after Lander &
    Waterman (1988).
    """
    # Both mates draw their fragments from the same stream, so that they are true pairs.
    fragments = seeded(workset, sample.sample_id, "fragments")
    noise = seeded(workset, sample.sample_id, f"R{mate}")
    length = seeded(workset, "read length").choice(READ_LENGTHS)  # one run, one length
    mates = 2 if sample.fastq_r2 else 1
    count = max(1, round(len(genome) * sample.coverage / (mates * length)))

    phreds = draw_phreds(noise, count, length, PHRED_DROP[mate])
    records = []
    for number, row in enumerate(phreds, start=1):
        fragment = draw_fragment(fragments, genome)
        if mate == 2:
            fragment = reverse_complement(fragment)
        bases = list(fragment[:length])  # a fragment shorter than a read ends it
        quality = list(row[: len(bases)])
        spoil(noise, bases, quality)
        text = "".join([chr(33 + phred) for phred in quality])  # Sanger FASTQ: Phred+33
        name = f"{workset}:{sample.sample_id}:{number}"
        records.append(f"@{name} {mate}:N:0:1\n{''.join(bases)}\n+\n{text}\n")
    # No time stamp, or the same reads would give other bytes each time.
    return gzip.compress("".join(records).encode("ascii"), compresslevel=6, mtime=0)


def seeded(*names: str) -> random.Random:
    """Return a generator whose seed depends on ``names`` alone, in any process."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return random.Random(int.from_bytes(digest))


def draw_phreds(
    rng: random.Random, count: int, length: int, drop: float
) -> Iterator[tuple[int, ...]]:
    """Yield ``count`` rows of ``length`` Phred scores that fall by about ``drop`` on average."""
    scores = range(LOWEST_PHRED, HIGHEST_PHRED + 1)
    columns = []
    for position in range(length):
        along = position / (length - 1)
        # The first cycles of a run are a little worse than the next; the tail fades fastest.
        mean = 37 - 3 * 0.6**position - drop * along**2
        spread = 2.5 + 4 * along
        weights = [2 ** -(((score - mean) / spread) ** 2) for score in scores]
        columns.append(rng.choices(scores, cum_weights=list(accumulate(weights)), k=count))
    yield from zip(*columns, strict=True)


def draw_fragment(rng: random.Random, genome: str) -> str:
    """Return a fragment of either strand of a circular genome."""
    size = round(rng.gauss(FRAGMENT_MEAN, FRAGMENT_SD))
    size = min(max(size, READ_LENGTHS[0]), len(genome))
    start = rng.randrange(len(genome))
    fragment = genome[start : start + size]
    fragment += genome[: size - len(fragment)]  # round the circle
    return reverse_complement(fragment) if rng.random() < 0.5 else fragment


def reverse_complement(sequence: str) -> str:
    """Return the other strand of ``sequence`` (A, C, G, T), read from its own 5' end."""
    return sequence.translate(COMPLEMENT)[::-1]


def spoil(rng: random.Random, bases: list[str], quality: list[int]) -> None:
    """Put errors into a read, in place: substitutions as its Phred scores say, rarely an N."""
    for position, phred in enumerate(quality):
        if rng.random() < ERROR_RATE[phred]:
            bases[position] = rng.choice(OTHER_BASES[bases[position]])
    if rng.random() < N_PER_READ:
        position = rng.randrange(len(bases))
        bases[position], quality[position] = "N", LOWEST_PHRED


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` so that a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")  # matches .gitignore as well
    temporary.write_bytes(data)
    temporary.replace(path)


def main() -> None:
    """Run the command line and print the files written."""
    parser = argparse.ArgumentParser(description="Write the example worksets' FASTQ files.")
    parser.add_argument(
        "worksets",
        type=Path,
        nargs="?",
        default=HERE / "worksets",
        metavar="DIR",
        help="folder of worksets (default: the one beside this script)",
    )
    for path in simulate(parser.parse_args().worksets):
        print(path)


if __name__ == "__main__":
    main()
