"""What Slurm says of its nodes and partitions, and what that means for one job and for many. Pure.

sinfo(1), "NODE STATE CODES" and "OUTPUT". Slurm's memory of a node is what it can give, often less
than what is bought.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from worksets.capacity import Room
from worksets.config import MAX_MEMORY_GB, MAX_MINUTES, MAX_VCPUS
from worksets.costs import MAX_USD
from worksets.requests import Ceiling

SINFO: Final = ("sinfo", "-h", "-N", "-o", "%N|%m|%T|%C|%P|%l|%d|%G|%a")
IN_USE: Final = frozenset({"idle", "allocated", "mixed", "completing", "planned", "reserved"})
"""States of nodes that take jobs."""
UNBOUND: Final = float("inf")


class Partition(BaseModel):
    """A partition that jobs may be sent to, and what one job may be given there."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    name: str = Field(max_length=200, pattern=r"^[^\s,|]+$", description="Its name in Slurm")
    max_vcpus: int | None = Field(
        None, ge=1, le=MAX_VCPUS, description="Most vCPUs of a job; without it: what its nodes have"
    )
    max_memory_gb: float | None = Field(
        None, gt=0, le=MAX_MEMORY_GB, description="Most memory of a job, GB; without it: the same"
    )
    max_minutes: int | None = Field(
        None, ge=1, le=MAX_MINUTES, description="Longest time limit, minutes; without it: Slurm's"
    )
    gpus: int | None = Field(
        None, ge=0, le=1000, description="Most GPUs of a job; without it: what its nodes have"
    )
    price_per_vcpu_hour: float | None = Field(
        None, ge=0, le=MAX_USD, description="US dollars a vCPU-hour; without it: the cluster's"
    )


class Size(NamedTuple):
    """What the largest job on a node may have, and whether the node takes jobs now."""

    vcpus: float
    memory_gb: float
    minutes: float
    scratch_gb: float
    gpus: float
    open: bool = True


@dataclass(frozen=True)
class Node:
    """One node in one partition."""

    name: str
    state: str
    memory_mb: int
    allocated: int
    idle: int
    other: int
    partition: str = ""
    default: bool = False
    minutes: float = UNBOUND
    scratch_mb: int = 0
    gpus: int = 0
    partition_up: bool = True

    @property
    def takes_jobs(self) -> bool:
        """A node powered down (`~`) or on its way up (`#`) takes jobs; one that does not respond
        (`*`), is in maintenance (`$`), drained, down or failing does not, and none whose partition
        is not up."""
        return self.partition_up and self.state.rstrip("~#!%@^-") in IN_USE

    @property
    def cpus(self) -> int:
        return self.allocated + self.idle + self.other

    @property
    def size(self) -> Size:
        memory, scratch = self.memory_mb / 1000, self.scratch_mb / 1000
        return Size(self.cpus, memory, self.minutes, scratch, self.gpus, self.takes_jobs)


def parse_nodes(text: str) -> list[Node]:
    """The nodes in `SINFO`'s output, one entry a node and partition.

    A line that is none of its form is passed over: one odd node makes no other's room unknown.
    """
    found = []
    for line in text.splitlines():
        fields = [*line.split("|"), *[""] * 9]
        name, memory, state, cpus, partition, limit, disk, gres, availability = fields[:9]
        try:
            allocated, idle, other, *_ = map(int, cpus.split("/"))
            memory_mb = int(memory.rstrip("+"))
        except ValueError:
            continue
        found.append(
            Node(
                name, state.lower(), memory_mb, allocated, idle, other,
                partition.removesuffix("*"), partition.endswith("*"), parse_limit(limit),
                int(disk) if disk.isdecimal() else 0, parse_gpus(gres), availability in ("up", ""),
            )
        )  # fmt: skip
    return found


def parse_limit(text: str) -> float:
    """Minutes of a time limit: `infinite`, `30:00`, `8:00:00`, `2-12:00:00`; endless if unclear."""
    found = re.fullmatch(r"(?:(\d{1,5})-)?(?:(\d{1,3}):)?(\d{1,2}):(\d{2})", text)
    if not found:
        return UNBOUND
    days, hours, minutes, _ = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def parse_gpus(gres: str) -> int:
    """GPUs of a node, such as `gpu:a100:4(S:0-1),gpu:no_consume:2,lustre:1`."""
    found = re.findall(r"(?:^|,)gpu(?::[^:,()]+){0,2}:(\d{1,4})(?=[,(]|$)", gres)
    return sum(map(int, found))


def chosen(nodes: Iterable[Node], partitions: Sequence[str]) -> list[Node]:
    """The nodes that jobs go to.

    Where no partition is named those of the default one; without such a one it is the cluster
    that chooses among all.
    """
    all_ = list(nodes)
    if partitions:
        return [node for node in all_ if node.partition in partitions]
    return [node for node in all_ if node.default] or all_


class Counted(NamedTuple):
    """Room on the nodes that take jobs, in worksets: in all, and free now."""

    room: int
    free: int


def room(nodes: Iterable[Node], vcpus: int, memory_gb: float) -> Counted:
    """Room for worksets of that size; a node in two partitions is one node.

    Of a node's CPUs those of jobs count, those in no state of use (`other`) do not.
    """
    total = free = 0
    for node in {node.name: node for node in nodes if node.takes_jobs}.values():
        by_memory = int(node.memory_mb / (memory_gb * 1000))
        total += min((node.allocated + node.idle) // vcpus, by_memory)
        free += min(node.idle // vcpus, by_memory)
    return Counted(total, free)


def together(nodes: Iterable[Node], ours: int) -> Room:
    """What our jobs may have together on the nodes that take jobs; `ours`: CPUs that they have now.

    Of CPUs those that others use are taken off; of memory and GPUs nobody says who uses them, and
    where no node tells of a GPU, Slurm need not know them.
    """
    open_ = {node.name: node for node in nodes if node.takes_jobs}.values()
    return Room(
        vcpus=min(sum(n.allocated + n.idle for n in open_), sum(n.idle for n in open_) + ours),
        memory_gb=sum(node.memory_mb for node in open_) / 1000,
        gpus=sum(node.gpus for node in open_) or UNBOUND,
    )


def no_nodes(partition: str, shown: str) -> str:
    """Why a partition that lists no node never will, by what `scontrol show partition` says."""
    if "not found" in shown:
        return f"has no partition {partition}: correct partition"
    if "TotalNodes=0 " in shown:
        return f"has no nodes in its partition {partition}: choose another partition"
    return ""


def sizes_of(nodes: Iterable[Node], partition: str = "") -> tuple[Size, ...]:
    """The sizes of a partition's nodes; empty: of all. None that another is as large as in all.

    A node that takes no jobs now counts by itself: it may be the only one that is large enough.
    """
    sizes = {node.size for node in nodes if partition in ("", node.partition)}
    return tuple(
        sorted(
            size
            for size in sizes
            if not any(
                other != size and all(a >= b for a, b in zip(other, size, strict=True))
                for other in sizes
            )
        )
    )


def ceilings(
    partitions: Iterable[Partition], heard: Mapping[str, Sequence[Size]] | None, price: float
) -> tuple[Ceiling, ...]:
    """What one job may be given in each partition: what is said of it, within what its nodes have.

    `heard`: the sizes of each partition's nodes; None: nobody has asked yet, and nothing says that
    a job does not fit. Of GPUs what is said stands before what is heard: Slurm need not know them.
    """
    found = []
    for one in partitions:
        unknown = [Size(UNBOUND, UNBOUND, UNBOUND, UNBOUND, UNBOUND)]
        for size in unknown if heard is None else heard.get(one.name, ()):
            found.append(
                Ceiling(
                    partition=one.name,
                    vcpus=min(size.vcpus, one.max_vcpus or UNBOUND),
                    memory_gb=min(size.memory_gb, one.max_memory_gb or UNBOUND),
                    minutes=min(size.minutes, one.max_minutes or UNBOUND),
                    gpus=size.gpus if one.gpus is None else one.gpus,
                    scratch_gb=size.scratch_gb,
                    open=size.open,
                    price_per_vcpu_hour=(
                        price if one.price_per_vcpu_hour is None else one.price_per_vcpu_hour
                    ),
                )
            )
    return tuple(found)
