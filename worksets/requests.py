"""What one job asks of its cluster: what its workset needs, within what the cluster gives.

A pipeline says what a workset needs; where it says nothing, its cluster does. What ran out in an
earlier attempt is asked for again with more. A cluster gives what its partitions give, and the job
goes to the cheapest of those that give enough and take jobs now; of several at that price to
whichever is free first. GB are 10^9 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from pydantic import Field

from worksets.record import Estimates, Frozen

MOST_GROWTH: Final = 4.0
"""A retry asks for no more than so many times what the first attempt did, unless a setting says."""


class JobRequest(Frozen):
    """What a job asks for."""

    vcpus: int = Field(ge=1)
    memory_gb: float = Field(gt=0)
    minutes: int | None = Field(None, ge=1, description="time limit; None: the cluster sets none")
    gpus: int = Field(0, ge=0)
    scratch_gb: float = Field(0.0, ge=0, description="disk of its node, for itself; 0: any")
    partition: str = Field("", description="of its cluster, in which it is to run; or several: a,b")

    def __str__(self) -> str:
        """For people: `4 vCPUs, 16 GB, 60 minutes, in partition long`."""
        parts = [f"{self.vcpus} vCPUs", f"{self.memory_gb:g} GB"]
        parts += [f"{self.minutes} minutes"] * bool(self.minutes)
        parts += [f"{self.gpus} GPUs"] * bool(self.gpus)
        parts += [f"{self.scratch_gb:g} GB of scratch"] * bool(self.scratch_gb)
        parts += [f"in partition {self.partition}"] * bool(self.partition)
        return ", ".join(parts)


class Ceiling(Frozen):
    """The most that one job may be given in one place of a cluster, and what that costs."""

    partition: str = ""
    vcpus: float = Field(ge=0)
    memory_gb: float = Field(ge=0)
    minutes: float = Field(float("inf"), ge=0)
    gpus: float = Field(0, ge=0)
    scratch_gb: float = Field(float("inf"), ge=0)
    open: bool = Field(True, description="whether it takes jobs now")
    price_per_vcpu_hour: float = Field(0.0, ge=0, description="US dollars")

    def holds(self, asked: JobRequest) -> bool:
        return (
            self.vcpus >= asked.vcpus
            and self.memory_gb >= asked.memory_gb
            and self.minutes >= (asked.minutes or 0)
            and self.gpus >= asked.gpus
            and self.scratch_gb >= asked.scratch_gb
        )


class Growth(Frozen):
    """How much more a retry asks for of what ran out."""

    factor: float = Field(1.5, ge=1)
    max_memory_gb: float | None = None
    max_minutes: int | None = None


def first_of(needs: Estimates, otherwise: JobRequest) -> JobRequest:
    """What the first attempt asks for; `otherwise` where nothing is said."""
    return JobRequest(
        vcpus=needs.vcpus or otherwise.vcpus,
        memory_gb=needs.memory_gb or otherwise.memory_gb,
        minutes=needs.minutes or otherwise.minutes,
        gpus=needs.gpus,
        scratch_gb=needs.scratch_gb,
        partition=otherwise.partition,
    )


def first_within(
    needs: Estimates, otherwise: JobRequest, ceilings: Iterable[Ceiling]
) -> JobRequest:
    """The same; a time limit that nobody has asked for is at most the longest that there is where
    all the rest is given."""
    first = first_of(needs, otherwise)
    if needs.minutes or first.minutes is None:
        return first
    rest = first.model_copy(update={"minutes": None})
    longest = max((place.minutes for place in ceilings if place.holds(rest)), default=float("inf"))
    if first.minutes > longest >= 1:
        return first.model_copy(update={"minutes": int(longest)})
    return first


def request(
    needs: Estimates,
    otherwise: JobRequest,
    ceilings: Iterable[Ceiling],
    growth: Growth,
    out_of_memory: int = 0,
    out_of_time: int = 0,
) -> JobRequest:
    """What an attempt asks for, after so many that ran out of memory, and of time.

    The first begins where `needs` says that those before it ended (see `worksets.growth`). Never
    less than the first attempt, and more than a ceiling gives only where none gives as much as the
    first needs: its cluster will say what is wrong with that. A time limit that nobody has asked
    for is at most the longest that there is.
    """
    ceilings = by_preference(ceilings)
    first = first_within(needs, otherwise, ceilings)
    memory = grown(
        first.memory_gb, growth.factor ** (needs.more_memory + out_of_memory), growth.max_memory_gb
    )
    minutes = first.minutes
    if minutes is not None:
        minutes = round(
            grown(minutes, growth.factor ** (needs.more_time + out_of_time), growth.max_minutes)
        )
    asked = first.model_copy(update={"memory_gb": memory, "minutes": minutes})
    enough = [ceiling for ceiling in ceilings if ceiling.holds(first)]
    if not enough:
        # of places that are named none other is taken, whatever the cluster's own default is
        there = asked.partition or (ceilings[-1].partition if ceilings else "")
        return asked.model_copy(update={"partition": there})
    best = next((ceiling for ceiling in enough if ceiling.holds(asked)), None)
    if best is None:
        best = max(
            enough, key=lambda c: (min(c.memory_gb, memory), min(c.minutes, float(minutes or 0)))
        )
    given = asked.model_copy(
        update={
            "memory_gb": min(memory, best.memory_gb),
            "minutes": None if minutes is None else int(min(minutes, best.minutes)),
        }
    )
    alike = [c.partition for c in enough if _rank(c) == _rank(best) and c.holds(given)]
    return given.model_copy(update={"partition": ",".join(dict.fromkeys(alike))})


def by_preference(ceilings: Iterable[Ceiling]) -> Sequence[Ceiling]:
    """First those that take jobs now, the cheapest first; of one price as they are named."""
    return sorted(ceilings, key=_rank)


def _rank(ceiling: Ceiling) -> tuple[bool, float]:
    return not ceiling.open, ceiling.price_per_vcpu_hour


def grown(first: float, times: float, most: float | None) -> float:
    """`first` × `times`, at most `most`, and never less than `first`."""
    return max(first, min(first * times, most or MOST_GROWTH * first))
