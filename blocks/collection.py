"""Our block types, for Prefect: it imports this before it looks one up (`prefect.collections`).

So `Block.load("slurm-cluster/main")` works in any process that has this package, `prefect block`
knows the types, and the server shows them in its catalogue.
"""

from blocks.clusters.local import LocalCluster
from blocks.clusters.slurm.cluster import SlurmCluster
from blocks.notify.aws import SnsTopic, SqsQueue
from blocks.notify.linear import LinearTeam
from blocks.settings import WorksetSettings
from blocks.state_db.dynamodb import DynamoDBStateDB
from blocks.state_db.sqlite import SQLiteStateDB

__all__ = [
    "DynamoDBStateDB",
    "LinearTeam",
    "LocalCluster",
    "SQLiteStateDB",
    "SlurmCluster",
    "SnsTopic",
    "SqsQueue",
    "WorksetSettings",
]
