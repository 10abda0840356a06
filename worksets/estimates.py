"""What a workset will need, before it runs; corrected by what worksets of its pipeline took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import ceil, isfinite
from statistics import median
from typing import Final, NamedTuple
from zlib import crc32

from worksets.config import MAX_MINUTES, Pipeline
from worksets.record import Estimates, Step, WorksetRecord
from worksets.spec import WorksetSpec

KEPT: Final = 20
"""Finished worksets of a pipeline that count."""
KEPT_THERE: Final = 5
"""Of a cluster, that are remembered beside them."""
MOST_KEPT: Final = 60
"""Of a pipeline; they are a KB, which is a unit of writing."""
ENOUGH: Final = 3
"""Finished worksets before they correct anything."""
ALIKE: Final = 0.1
"""Clusters that differ by no more are as fast as each other: few runs of one tell no better."""
BOUNDS: Final = (0.25, 4.0)
"""A correction is never less or more: beyond that the table in the settings is wrong."""


class Ratio(NamedTuple):
    """vCPU-hours that a finished workset took, by those that its pipeline's table expects."""

    taken: float
    where: str = ""
    """A digest of its cluster's name; empty: not known."""


def estimate(
    spec: WorksetSpec,
    pipeline: Pipeline,
    sizes: Mapping[str, int] | None,
    ratios: Sequence[Ratio] = (),
) -> Estimates:
    """From samples, coverage and `sizes` (bytes of each file, in the YAML's order;
    None: not looked at).

    vCPU-hours are linear in GB, samples and samples × coverage, with the pipeline's coefficients,
    times what finished worksets took of theirs (`ratios`). Memory grows with the largest sample,
    time and scratch with all of them. What the pipeline says nothing of is 0.
    """
    # in the order of the YAML: names of files elsewhere are not those that it says
    known = iter(sizes.values() if sizes else ())
    gb = [sum(next(known, 0) for _ in sample.files) / 1e9 for sample in spec.samples]
    coverage = sum(
        sample.coverage or spec.estimated_coverage or pipeline.default_coverage
        for sample in spec.samples
    )
    vcpu_hours = (
        pipeline.vcpu_hours_base
        + pipeline.vcpu_hours_per_gb * sum(gb)
        + pipeline.vcpu_hours_per_sample * len(spec.samples)
        + pipeline.vcpu_hours_per_coverage * coverage
    )
    least, longer = least_of(pipeline), correction(ratios)
    minutes = pipeline.minutes + pipeline.minutes_per_gb * sum(gb)
    return Estimates(
        vcpus=least.vcpus,
        memory_gb=least.memory_gb + pipeline.memory_gb_per_gb * max(gb),
        minutes=min(ceil(minutes), MAX_MINUTES),
        gpus=pipeline.gpus,
        scratch_gb=pipeline.scratch_gb + pipeline.scratch_gb_per_gb * sum(gb),
        vcpu_hours=vcpu_hours * longer,
        storage_gb=pipeline.storage_factor * sum(sizes.values() if sizes else ()) / 1e9,
        correction=longer,
        learned_from=len(ratios[-KEPT:]) if len(ratios) >= ENOUGH else 0,
    )


def least_of(pipeline: Pipeline) -> Estimates:
    """What a job of a pipeline asks for, however small its workset's files are."""
    # a program needs memory of its own
    memory_gb = pipeline.memory_gb or (1.0 if pipeline.memory_gb_per_gb else 0.0)
    return Estimates(vcpus=pipeline.vcpus, memory_gb=memory_gb)


def correction(ratios: Sequence[Ratio]) -> float:
    """The median of the last twenty, within bounds; 1 while fewer than three are known."""
    if len(ratios) < ENOUGH:
        return 1.0
    return _middle(ratios[-KEPT:])


def paces(ratios: Sequence[Ratio], clusters: Iterable[str]) -> dict[str, float]:
    """How long a pipeline takes on a cluster, by what it usually takes: 2 is half as fast.

    Of those of which three finished worksets say so; what is near to 1 is left out.
    """
    usual, found = correction(ratios), {}
    for name in clusters:
        there = [ratio for ratio in ratios if ratio.where == _digest(name)]
        if len(there) >= ENOUGH:
            pace = _middle(there) / usual
            if abs(pace - 1) > ALIKE:
                found[name] = pace
    return found


def _middle(ratios: Sequence[Ratio]) -> float:
    return min(max(median(ratio.taken for ratio in ratios), BOUNDS[0]), BOUNDS[1])


def taken(record: WorksetRecord, vcpus: int) -> float | None:
    """vCPU-hours that a complete workset's run step took, by those its pipeline's table expects.

    `vcpus`: of its cluster, for one workset. None where it says nothing: the table expects
    nothing, or the step ran more than once, so that its last run may be the rest of another.
    """
    runs = [run for run in record.step_runs if run.step is Step.RUN]
    expected = record.estimates.vcpu_hours / record.estimates.correction
    if len(runs) != 1 or expected <= 0:
        return None
    hours = (runs[0].ended_at - runs[0].started_at).total_seconds() / 3600
    return hours * vcpus / expected if hours > 0 else None


def remembered(note: str) -> tuple[Ratio, ...]:
    """The ratios in a note of the state DB, the oldest first; what cannot be read is none."""
    found = []
    for word in note.split():
        taken, _, where = word.partition("@")
        with suppress(ValueError):
            found.append(Ratio(float(taken), where))
    return tuple(ratio for ratio in found if isfinite(ratio.taken))


def with_ratio(note: str, ratio: float, cluster_name: str) -> str:
    """The note with one more: of the last twenty, and of the last five of each cluster."""
    kept: list[Ratio] = []
    seen: Counter[str] = Counter()
    for one in reversed((*remembered(note), Ratio(ratio, _digest(cluster_name)))):
        seen[one.where] += 1
        if len(kept) < MOST_KEPT and (seen.total() <= KEPT or seen[one.where] <= KEPT_THERE):
            kept.append(one)
    return " ".join(f"{one.taken:.4g}@{one.where}" for one in reversed(kept))


def _digest(cluster_name: str) -> str:
    return f"{crc32(cluster_name.encode()) & 0xFFFFFF:06x}"
