"""Traces of worksets and lists of clusters for `benchmarks.placement`: read, checked, made up."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from worksets.record import Priority

COLUMNS = ("arrival_s", "workset_id", "customer_id", "priority", "vcpu_hours", "memory_gb", "bytes",
           "region", "reference")  # fmt: skip
REGIONS = ("us-west-2", "us-east-1", "eu-central-1")


@dataclass(frozen=True)
class Workset:
    """One line of a trace. `n` is its place in the order of arrival."""

    n: int
    arrival_s: float
    workset_id: str
    customer_id: str
    priority: Priority
    vcpu_hours: float
    memory_gb: float
    bytes: float
    region: str
    reference: str


@dataclass(frozen=True)
class Cluster:
    """One cluster: so many slots, each with its share of the vCPUs."""

    name: str
    region: str
    vcpus: float
    memory_gb: float
    max_concurrent_worksets: int
    cost_per_vcpu_hour: float
    references: frozenset[str]

    @property
    def vcpus_a_slot(self) -> float:
        return self.vcpus / max(self.max_concurrent_worksets, 1)


def read_trace(file: Path) -> list[Workset]:
    """The worksets in the order of arrival; a blank field is 0, normal priority or no demand."""
    with file.open(newline="", encoding="utf-8-sig") as lines:
        rows = [
            {str(key).strip(): (value or "").strip() for key, value in row.items() if key}
            for row in csv.DictReader(lines, skipinitialspace=True)
        ]
    rows = [row for row in rows if any(row.values())]
    if rows and (missing := {"arrival_s", "vcpu_hours"} - set(rows[0])):
        raise SystemExit(f"{file}: the columns {', '.join(sorted(missing))} are missing")
    arrivals = [_number(file, row, "arrival_s") for row in rows]
    found = []
    for n, index in enumerate(sorted(range(len(rows)), key=lambda i: arrivals[i])):
        row = rows[index]
        priority = row.get("priority", "").lower()
        found.append(
            Workset(
                n=n,
                arrival_s=arrivals[index],
                workset_id=row.get("workset_id") or f"line{index + 2}",
                customer_id=row.get("customer_id", ""),
                priority=Priority(priority) if priority in set(Priority) else Priority.NORMAL,
                vcpu_hours=_number(file, row, "vcpu_hours"),
                memory_gb=_number(file, row, "memory_gb"),
                bytes=_number(file, row, "bytes"),
                region=row.get("region", ""),
                reference=row.get("reference", ""),
            )
        )
    return found


def _number(file: Path, row: Mapping[str, str], key: str) -> float:
    text = row.get(key, "")
    try:
        value = float(text or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise SystemExit(f"{file}: {key}: {text!r} must be a number of 0 or more")
    return value


def read_clusters(file: Path) -> list[Cluster]:
    """The clusters of a YAML list; `references` missing or empty: it has all."""
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    parts = raw.get("clusters") if isinstance(raw, dict) else raw
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise SystemExit(f"{file}: write a list of clusters, each a mapping")
    return [_cluster(file, n, part) for n, part in enumerate(parts)]


def _cluster(file: Path, n: int, part: Mapping[str, Any]) -> Cluster:
    def given(key: str, default: Any) -> Any:
        return default if part.get(key) is None else part[key]

    references = given("references", [])
    if isinstance(references, str):
        references = [name.strip() for name in references.split(",") if name.strip()]
    try:
        cluster = Cluster(
            name=str(given("name", f"cluster{n + 1}")),
            region=str(given("region", "")),
            vcpus=float(given("vcpus", 1)),
            memory_gb=float(given("memory_gb", math.inf)),
            max_concurrent_worksets=int(given("max_concurrent_worksets", 1)),
            cost_per_vcpu_hour=float(given("cost_per_vcpu_hour", 0)),
            references=frozenset(map(str, references)),
        )
    except (TypeError, ValueError) as error:
        raise SystemExit(f"{file}: cluster {n + 1}: {error}") from error
    if not (cluster.vcpus > 0 and cluster.memory_gb > 0 and cluster.cost_per_vcpu_hour >= 0):
        raise SystemExit(f"{file}: {cluster.name}: vcpus and memory_gb above 0, no price below 0")
    return cluster


def generate(trace: Path, clusters: Path, worksets: int, seed: int) -> None:
    """A day of arrivals for a dozen clusters, more than they can take by day, less by night."""
    draw = random.Random(seed)
    made = [
        {
            "name": f"c{n + 1:02d}",
            "region": REGIONS[n % 3],
            "vcpus": (size := draw.choice([128, 256])),
            "memory_gb": draw.choice([128, 256, 512]),
            "max_concurrent_worksets": size // 32,
            "cost_per_vcpu_hour": round(draw.uniform(0.02, 0.06), 4),
            "references": draw.choice([["hg38", "b37"], ["hg38"], []]),
        }
        for n in range(12)
    ]
    clusters.write_text(yaml.safe_dump(made, sort_keys=False), encoding="utf-8")
    slots = sum(int(cluster["max_concurrent_worksets"]) for cluster in made)  # type: ignore[call-overload]
    mean_hours = 1.15 * 24 * slots * 32 / worksets  # 15 % more than a day of all slots
    with trace.open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(COLUMNS)
        for n in range(worksets):
            day = (draw.gauss(0.5, 0.2) % 1) * 86400
            table.writerow(
                [
                    round(day, 1),
                    f"w{n:05d}",
                    f"customer{int(12 * draw.random() ** 2) + 1:02d}",
                    draw.choices(list(Priority), [1, 7, 2])[0].value,
                    round(mean_hours * draw.lognormvariate(-0.125, 0.5), 2),
                    draw.choice([16, 32, 64, 96, 200]),
                    int(draw.uniform(20, 400) * 1e9),
                    draw.choice(REGIONS),
                    draw.choice(["hg38", "hg38", "hg38", "b37"]),
                ]
            )
