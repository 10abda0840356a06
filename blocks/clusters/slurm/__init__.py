"""Slurm: the block, what is said to it and heard from it, and the ways to it."""

from blocks.clusters.slurm.cluster import SlurmCluster

__all__ = ["SlurmCluster"]
