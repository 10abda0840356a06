"""Clusters: what every one can do, this machine and Slurm as clusters, and the watch over one.

`on_cluster` has the programs that run there. All names are imported when they are asked for:
`local.server` takes one from below this door, and may import nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocks.doors import opened_when_asked

if TYPE_CHECKING:
    from blocks.clusters.base import Cluster, SubmitUncertain
    from blocks.clusters.local import LocalCluster
    from blocks.clusters.slurm.cluster import SlurmCluster
    from blocks.clusters.watch import ClusterJob, ClusterJobRun, ClusterWatch, JobMissing
else:
    __getattr__ = opened_when_asked(
        __name__,
        base="Cluster SubmitUncertain",
        local="LocalCluster",
        slurm="SlurmCluster",
        watch="ClusterJob ClusterJobRun ClusterWatch JobMissing",
    )

__all__ = [
    "Cluster",
    "ClusterJob",
    "ClusterJobRun",
    "ClusterWatch",
    "JobMissing",
    "LocalCluster",
    "SlurmCluster",
    "SubmitUncertain",
]
