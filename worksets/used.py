"""What worksets really took, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worksets.record import StepRun


@dataclass(frozen=True)
class Used:
    """What some jobs took; the sum of two is what both took."""

    jobs: int = 0
    vcpu_hours: float = 0.0
    """Set aside for them, whether they were busy or not: what is paid for."""
    cpu_hours: float | None = None
    """Of them, in which they were busy; None: not measured."""
    peak_gb: float | None = None
    """Most memory that any one of them took, GB (10^9 bytes); None: not measured."""

    def __add__(self, other: Used) -> Used:
        peaks = [gb for gb in (self.peak_gb, other.peak_gb) if gb is not None]
        busy = [hours for hours in (self.cpu_hours, other.cpu_hours) if hours is not None]
        return Used(
            self.jobs + other.jobs,
            self.vcpu_hours + other.vcpu_hours,
            sum(busy) if busy else None,
            max(peaks, default=None),
        )

    @property
    def busy(self) -> float | None:
        """Which part of what was set aside was busy, 0 to about 1; None: not known."""
        if self.cpu_hours is None or not self.vcpu_hours:
            return None
        return self.cpu_hours / self.vcpu_hours


def by_markers(runs: Iterable[StepRun], vcpus: int) -> Used:
    """What steps of one job took, by the times in their markers and what their processes took.

    `vcpus`: set aside for a workset on their cluster.
    """
    found = Used(jobs=1)
    for run in runs:
        hours = (run.ended_at - run.started_at).total_seconds() / 3600
        took = run.took
        found += Used(
            vcpu_hours=hours * vcpus,
            cpu_hours=took.cpu_s / 3600 if took else None,
            peak_gb=took.peak_gb if took else None,
        )
    return found
