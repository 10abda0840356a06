"""The line that hands a job in to Slurm. Pure; options: sbatch(1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from worksets.requests import JobRequest

SbatchOption = Literal[
    "constraint", "gres", "gpus", "reservation", "licenses", "exclusive", "comment", "nodelist",
    "exclude", "nice", "tmp",
]  # fmt: skip
"""Options of sbatch that a site may want; none of them is one that an attempt's safety needs."""
BARE: Final = frozenset({"exclusive", "nice"})
"""Those that may stand without a value; another would take the script's name for its own."""
FIXED: Final = ("--parsable", "--nodes=1", "--ntasks=1", "--no-requeue", "--open-mode=append")
"""Slurm must not start a job again by itself: attempts are counted here."""


def sbatch(
    name: str,
    folder: str,
    asked: JobRequest,
    account: str,
    qos: str,
    options: Mapping[SbatchOption, str],
) -> list[str]:
    """The command for the script `folder`/job.sh. The site's own `options` stand before what a
    pipeline asks for."""
    gres = options.get("gres", "").split(",")
    ours = asked.gpus and "gpus" not in options and not any(g.startswith("gpu") for g in gres)
    if ours:
        options = {**options, "gres": ",".join([*filter(None, gres), f"gpu:{asked.gpus}"])}
    asks = {
        "partition": asked.partition,
        "account": account,
        "qos": qos,
        "time": str(asked.minutes or ""),
        "cpus-per-task": str(asked.vcpus),
        # 0 would be all that its node has
        "mem": f"{max(round(asked.memory_gb * 1000), 1)}M",
        "tmp": f"{round(asked.scratch_gb * 1000)}M" if asked.scratch_gb else "",
        "job-name": name,
        "output": f"{folder}/slurm.log",
    }
    said = [f"--{key}={value}" for key, value in asks.items() if value and key not in options]
    said += [f"--{key}={value}" if value else f"--{key}" for key, value in options.items()]
    return ["sbatch", *FIXED, *said, f"{folder}/job.sh"]
