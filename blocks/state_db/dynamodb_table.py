"""How the DynamoDB table is made, and kept restorable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from prefect.logging import get_logger

from blocks.aws import code_of, explained
from blocks.state_db.dynamodb_items import DEFINITION

if TYPE_CHECKING:
    from blocks.state_db.dynamodb import DynamoDBStateDB


def create_table(db: DynamoDBStateDB) -> bool:
    """Create the table unless it is there, and wait for it; whether it had to be created.

    Raises:
        WorksetError: it cannot be created, or a new one not be made restorable.
    """
    try:
        db._call(
            "create_table",
            TableName=db.table_name,
            DeletionProtectionEnabled=db.deletion_protection,
            **DEFINITION,
        )
    except ClientError as error:
        if code_of(error) != "ResourceInUseException":
            raise explained(error, f"creating the table {db.table_name}") from error
        created = False
    else:
        created = True
    db._dynamodb().get_waiter("table_exists").wait(
        TableName=db.table_name, WaiterConfig={"Delay": 2, "MaxAttempts": 60}
    )
    if db.point_in_time_recovery:
        try:
            _make_restorable(db)
        except ClientError as error:
            what = f"point-in-time recovery of the table {db.table_name}"
            if created:
                raise explained(error, what) from error
            get_logger("state-db").error(
                "%s is asked for, and it is not known to be on: %s; allow "
                "dynamodb:DescribeContinuousBackups and dynamodb:UpdateContinuousBackups to these "
                "credentials, or see to it that it is on", what, error,
            )  # fmt: skip
    return created


def _make_restorable(db: DynamoDBStateDB) -> None:
    """Turn point-in-time recovery on, also where a process died after it had made the table."""
    told = db._call("describe_continuous_backups", TableName=db.table_name)
    status = told["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    if status.get("PointInTimeRecoveryStatus") != "ENABLED":
        db._call(
            "update_continuous_backups",
            TableName=db.table_name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True},
        )
