"""Report the quality of a workset's FASTQ files: a small, real pipeline.

Run as a plain script::

    python fastq_report.py --manifest workset.json --inputs DIR --results DIR

It writes ``<sample_id>.json`` and ``<sample_id>.svg`` for each sample, then ``summary.json``.
Exit codes follow sysexits.h, so that a scheduler can tell what is worth another try:

* 0: every report is written;
* 65 (EX_DATAERR): the manifest or a FASTQ file is bad; the same run would fail again;
* 75 (EX_TEMPFAIL): a passing fault of the machine; the same run may succeed later.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import sys
import textwrap
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, BinaryIO, cast

import dnaio

GENOME_NAME = "phiX174 (NC_001422.1)"
GENOME_LENGTH = 5386  # bp
PHRED_OFFSET = 33  # Sanger FASTQ: character code = Phred score + 33 (Cock et al. 2010)


class BadData(Exception):
    """An input that no retry can mend; the message says what is wrong and what to do."""


# --- Measuring ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FastqStats:
    """What one FASTQ file holds.

    Lengths are in bp and qualities in Phred units, Q = -10 log10(P of a wrong base)
    (Ewing & Green 1998). ``mean_phred`` is the arithmetic mean of Q over all bases, as FastQC
    reports it. ``error_phred`` is the Q of the mean error probability (Edgar & Flyvbjerg 2015);
    it is never higher, as it gives a bad base its full weight. ``gc_fraction`` is (G+C)/(A+C+G+T),
    None when every base is an N; ``n_fraction`` is N over all bases.
    ``mean_phred_by_position`` has one value per position, the first base of a read first; each
    is the arithmetic mean over the reads that reach the position.
    """

    reads: int
    bases: int
    gc_fraction: float | None
    n_fraction: float
    mean_phred: float
    error_phred: float
    min_read_length: int
    mean_read_length: float
    max_read_length: int
    mean_phred_by_position: tuple[float, ...]


def measure_fastq(path: Path) -> FastqStats:
    """Read one FASTQ file, gzipped if its name ends in ``.gz``, and return its statistics.

    Raises BadData when the file is missing, truncated, malformed or without bases, and OSError
    when the disk fails.
    """
    lengths: Counter[int] = Counter()
    bases: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    code_sums: list[int] = []  # by position

    try:
        with _open_binary(path) as stream, dnaio.open(stream, fileformat="fastq") as reads:
            for read in reads:
                quality = cast(str, read.qualities).encode("ascii")
                bases.update(read.sequence.upper())
                codes.update(quality)
                lengths[len(quality)] += 1
                if len(quality) > len(code_sums):
                    code_sums.extend([0] * (len(quality) - len(code_sums)))
                for position, code in enumerate(quality):
                    code_sums[position] += code
    except FileNotFoundError:
        raise BadData("no such file; upload it or correct its name in the workset") from None
    except EOFError:
        raise BadData("the gzip data ends too early; upload the whole file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadData(f"damaged gzip data ({error}); upload the file again") from None
    except dnaio.FileFormatError as error:
        reason = textwrap.shorten(str(error), 120)  # it may quote a read, of any length
        raise BadData(f"{reason}; export or upload the FASTQ again") from None

    total = sum(codes.values())
    if total == 0:
        raise BadData("the file holds no bases; upload it again or drop the sample")
    if min(codes) < PHRED_OFFSET:
        raise BadData("a quality character lies below '!'; export it as Sanger FASTQ (Phred+33)")

    acgt = sum(bases[base] for base in "ACGT")
    mean_error = sum(n * 10 ** ((PHRED_OFFSET - code) / 10) for code, n in codes.items()) / total
    return FastqStats(
        reads=lengths.total(),
        bases=total,
        gc_fraction=round((bases["G"] + bases["C"]) / acgt, 6) if acgt else None,
        n_fraction=round(bases["N"] / total, 6),
        mean_phred=round(sum(code * n for code, n in codes.items()) / total - PHRED_OFFSET, 3),
        error_phred=round(-10 * math.log10(mean_error), 3),
        min_read_length=min(lengths),
        mean_read_length=round(total / lengths.total(), 3),
        max_read_length=max(lengths),
        mean_phred_by_position=_means_by_position(code_sums, lengths),
    )


def _open_binary(path: Path) -> BinaryIO:
    # The standard gzip raises the same exceptions whichever fast decompressors are installed.
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _means_by_position(code_sums: Sequence[int], lengths: Counter[int]) -> tuple[float, ...]:
    means = []
    reaching = lengths.total() - lengths[0]
    for position, code_sum in enumerate(code_sums):
        means.append(round(code_sum / reaching - PHRED_OFFSET, 3))
        reaching -= lengths[position + 1]  # reads of this length end here
    return tuple(means)


def measure_sample(sample: dict[str, Any], inputs: Path) -> dict[str, FastqStats]:
    """Measure a sample's one or two FASTQ files; the keys are ``R1`` and ``R2``.

    Paths in ``sample`` are relative to ``inputs``. Raises BadData, naming the sample and file.
    """
    mates: dict[str, FastqStats] = {}
    for mate in ("R1", "R2"):
        if name := sample.get(f"fastq_{mate.lower()}"):
            try:
                mates[mate] = measure_fastq(inputs / name)
            except BadData as error:
                raise BadData(f"sample {sample['sample_id']}: {name}: {error}") from None
    counts = [stats.reads for stats in mates.values()]
    if len(set(counts)) > 1:
        # A file cut between two records is valid FASTQ; only its mate gives it away.
        raise BadData(
            f"sample {sample['sample_id']}: {sample['fastq_r1']} holds {counts[0]} reads but "
            f"{sample['fastq_r2']} holds {counts[1]}; upload both files again"
        )
    return mates


def sample_report(sample: dict[str, Any], mates: dict[str, FastqStats]) -> dict[str, Any]:
    """Return a sample's report, ready for JSON.

    ``estimated_coverage`` is bases over genome length (Lander & Waterman 1988), without unit.
    """
    bases = sum(stats.bases for stats in mates.values())
    return {
        "sample_id": sample["sample_id"],
        "genome": GENOME_NAME,
        "genome_length_bp": GENOME_LENGTH,
        "reads": sum(stats.reads for stats in mates.values()),
        "bases": bases,
        "requested_coverage": sample.get("coverage"),
        "estimated_coverage": round(bases / GENOME_LENGTH, 2),
        "mates": {mate: asdict(stats) for mate, stats in mates.items()},
    }


# --- Drawing -----------------------------------------------------------------------------------

WIDTH, HEIGHT = 760, 420  # px
LEFT, RIGHT, TOP, BOTTOM = 64, 656, 74, 362  # the plot's edges, px
# Lower edge, upper edge (Phred), fill and name; FastQC draws the same limits.
BANDS = (
    (0, 20, "#f7dcd9", "poor, below 20"),
    (20, 28, "#fbefd0", "fair, 20 to 28"),
    (28, math.inf, "#dcefdc", "good, above 28"),
)
# Blue and vermilion of Okabe & Ito (2008) stay apart for colour-blind eyes; dashes help in print.
LINE_STYLES = {
    "R1": 'fill="none" stroke="#0072b2" stroke-width="2"',
    "R2": 'fill="none" stroke="#b8420f" stroke-width="2" stroke-dasharray="7 3"',
}


def quality_svg(title: str, subtitle: str, mates: dict[str, FastqStats]) -> str:
    """Draw mean Phred quality against position in the read (bp), one line per mate."""
    last = max(stats.max_read_length for stats in mates.values())
    best = max(max(stats.mean_phred_by_position) for stats in mates.values())
    top = max(42, math.ceil(best))  # qualities of other machines may exceed Illumina's 41

    def x(position: float) -> float:
        return LEFT + (RIGHT - LEFT) * (position - 1) / max(last - 1, 1)

    def y(quality: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * quality / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#333">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="30" font-size="{fitting(title, 17):.1f}" font-weight="bold" '
        f'fill="#111">{escape(title)}</text>',
        f'<text x="{LEFT}" y="51" font-size="{fitting(subtitle, 12):.1f}" fill="#555">'
        f"{escape(subtitle)}</text>",
    ]
    for low, high, fill, name in BANDS:
        lower, upper = y(low), y(min(high, top))
        parts.append(
            f'<rect x="{LEFT}" y="{upper:.1f}" width="{RIGHT - LEFT}" '
            f'height="{lower - upper:.1f}" fill="{fill}"/>'
            f'<text x="{RIGHT + 8}" y="{(lower + upper) / 2 + 4:.1f}" font-size="10" '
            f'fill="#555">{name}</text>'
        )
    for quality in sorted({*range(0, top + 1, 10), 28}):
        parts.append(
            f'<path d="M{LEFT - 5} {y(quality):.1f}h5" stroke="#333"/>'
            f'<path d="M{LEFT} {y(quality):.1f}H{RIGHT}" stroke="#fff" stroke-width="0.8"/>'
            f'<text x="{LEFT - 9}" y="{y(quality) + 4:.1f}" text-anchor="end">{quality}</text>'
        )
    for position in position_ticks(last):
        parts.append(
            f'<path d="M{x(position):.1f} {BOTTOM}v5" stroke="#333"/>'
            f'<text x="{x(position):.1f}" y="{BOTTOM + 19}" text-anchor="middle">{position}</text>'
        )
    parts.append(
        f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#333"/>'
        f'<text x="{(LEFT + RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle" font-size="13">'
        "Position in read (bp)</text>"
        f'<text transform="translate(22 {(TOP + BOTTOM) / 2}) rotate(-90)" text-anchor="middle" '
        'font-size="13">Mean Phred quality</text>'
    )
    for row, (mate, stats) in enumerate(mates.items()):
        points = " ".join(
            f"{x(position):.1f},{y(quality):.1f}"
            for position, quality in enumerate(stats.mean_phred_by_position, start=1)
        )
        # The lower left is free: the first bases of a read are hardly ever its worst.
        legend_y = BOTTOM - 20 * (len(mates) - row)
        parts.append(
            f'<polyline points="{points}" stroke-linejoin="round" {LINE_STYLES[mate]}/>'
            f'<path d="M{LEFT + 16} {legend_y}h30" {LINE_STYLES[mate]}/>'
            f'<text x="{LEFT + 54}" y="{legend_y + 4}">{mate}: {stats.reads:,} reads, '
            f"mean Q{stats.mean_phred:.1f}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def fitting(text: str, size: float) -> float:
    """Return ``size`` (px), or less where ``text`` would run over the picture's edge."""
    return min(size, (WIDTH - LEFT) / (0.65 * len(text)))  # a wide letter takes 0.65 em


def position_ticks(last: int) -> list[int]:
    """Return the first position, round numbers, and the last position (bp, 1-based)."""
    step = next((s for s in (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000) if last <= 10 * s), last)
    # A round number too close to the last position would print over it.
    rounds = [p for p in range(step, last, step) if p > 1 and last - p >= step / 2]
    return sorted({1, *rounds, last})


# --- Running -----------------------------------------------------------------------------------


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a workset's manifest. Raises BadData when what the report needs is not there."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        str(manifest["workset_id"])
        ids = [str(sample["sample_id"]) for sample in manifest["samples"]]
        paths = [str(sample["fastq_r1"]) for sample in manifest["samples"]]
    except FileNotFoundError:
        raise BadData(f"manifest {path}: no such file; check --manifest") from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadData(f"manifest {path}: {error!r}; write the manifest again") from None
    if not paths:
        raise BadData(f"manifest {path}: no samples; list at least one")
    for sample_id in ids:
        # The id becomes a file name beside summary.json.
        if sample_id in {"", ".", "..", "summary"} or Path(sample_id).name != sample_id:
            raise BadData(f"sample {sample_id!r}: cannot name a file; choose another id")
    if len(set(ids)) < len(ids):
        raise BadData("two samples share an id; their reports would overwrite each other")
    return cast(dict[str, Any], manifest)


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def to_json(report: dict[str, Any]) -> str:
    """Return ``report`` as indented JSON, for people as well as programs."""
    return json.dumps(report, indent=2) + "\n"


def report_workset(manifest: dict[str, Any], inputs: Path, results: Path) -> None:
    """Write every report of a workset into ``results``, the summary last.

    Raises BadData at the first bad sample and OSError when a disk fails.
    """
    results.mkdir(parents=True, exist_ok=True)
    summaries = []
    for sample in manifest["samples"]:
        mates = measure_sample(sample, inputs)
        report = sample_report(sample, mates)
        sample_id = report["sample_id"]
        subtitle = (
            f"{manifest['workset_id']} · {manifest.get('pipeline', 'fastq report')} · "
            f"estimated coverage {report['estimated_coverage']:.1f}x of phiX174"
        )
        svg = quality_svg(f"{sample_id}: mean base quality by position", subtitle, mates)
        write_atomically(results / f"{sample_id}.json", to_json(report))
        write_atomically(results / f"{sample_id}.svg", svg)
        summaries.append({key: value for key, value in report.items() if key != "mates"})
        summaries[-1]["mean_phred"] = {mate: stats.mean_phred for mate, stats in mates.items()}

    told = ("workset_id", "customer_id", "reference_genome", "pipeline", "attempt")
    summary = {key: manifest.get(key) for key in told} | {
        "reads": sum(sample["reads"] for sample in summaries),
        "bases": sum(sample["bases"] for sample in summaries),
        "samples": summaries,
    }
    write_atomically(results / "summary.json", to_json(summary))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (see the module's docstring)."""
    parser = argparse.ArgumentParser(description="Report the quality of a workset's FASTQ files.")
    parser.add_argument("--manifest", type=Path, required=True, help="the workset, as JSON")
    parser.add_argument(
        "--inputs", type=Path, required=True, help="folder that FASTQ paths are relative to"
    )
    parser.add_argument("--results", type=Path, required=True, help="folder to write reports to")
    parser.add_argument(
        "--min-seconds",
        type=float,
        default=0.0,
        metavar="S",
        help="after the work, wait until S seconds have passed since the start: examples on a "
        "laptop stand in for jobs of hours (default: 0)",
    )
    parser.add_argument(
        "--fail-once",
        type=Path,
        metavar="MARKER_FILE",
        help="if MARKER_FILE does not exist, create it and exit 75, as a passing fault would",
    )
    parser.add_argument("--always-fail", action="store_true", help="exit 75 without any work")
    options = parser.parse_args(arguments)

    end = time.monotonic() + options.min_seconds
    workset = "workset unknown"
    try:
        manifest = read_manifest(options.manifest)
        workset = f"workset {manifest['workset_id']}"
        if options.always_fail or (options.fail_once and _create(options.fail_once)):
            return _complain(
                f"{workset}: scratch disk answered 'Resource temporarily unavailable'; try again",
                os.EX_TEMPFAIL,
            )
        report_workset(manifest, options.inputs, options.results)
    except BadData as error:
        return _complain(f"{workset}: {error}", os.EX_DATAERR)
    except OSError as error:
        return _complain(f"{workset}: {error}; try again", os.EX_TEMPFAIL)

    time.sleep(max(0.0, end - time.monotonic()))
    return os.EX_OK


def _create(marker: Path) -> bool:
    """Create ``marker``; False if it was there."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _complain(message: str, exit_code: int) -> int:
    # One line, so that a log viewer can show the last line as the reason.
    print(" ".join(message.split()), file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
