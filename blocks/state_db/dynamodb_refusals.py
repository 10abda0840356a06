"""What DynamoDB means when it refuses a write; no call is made here."""

from __future__ import annotations

from typing import Any, Final

from botocore.exceptions import ClientError

from blocks.aws import TRANSIENT, code_of, explained
from blocks.state_db.dynamodb_items import to_item
from worksets.errors import ConfigurationError, WorksetError
from worksets.record import WorksetRecord

CONDITION: Final = "ConditionalCheckFailed"
PASSING: Final = TRANSIENT | {
    "None",
    "TransactionConflict",
    "ProvisionedThroughputExceeded",
    "ThrottlingError",
    "RequestLimitExceeded",
}
"""Reasons of a cancelled transaction that may be gone in a moment."""


def refused_parts(
    error: ClientError, record: WorksetRecord, parts: list[str], table: str
) -> list[tuple[str, dict[str, Any]]]:
    """Which parts of a write had a condition that does not hold, each with its reason.

    Empty: another write came between, or the service is busy.

    Raises:
        WorksetError: what trying again cannot mend, in words for an operator.
    """
    code = code_of(error)
    if code == "ConditionalCheckFailedException":
        return [("record", {})]
    if code != "TransactionCanceledException":
        raise not_taken(error, record, table) from error
    reasons = list(zip(parts, error.response.get("CancellationReasons", ()), strict=False))
    failed = [(part, why) for part, why in reasons if why["Code"] == CONDITION]
    if not failed:
        for part, why in reasons:
            if why["Code"] not in PASSING:
                raise _refusal(record, table, part, f"{why['Code']}: {why.get('Message', '')}")
    return failed


def not_taken(error: ClientError, record: WorksetRecord, table: str) -> WorksetError:
    """A single write, or all of a transaction, that was refused for something else."""
    if code_of(error) in ("ValidationException", "ItemCollectionSizeLimitExceededException"):
        return _refusal(record, table, "record", str(error))
    return explained(error, f"workset {record.workset_id} in {table}")


def _refusal(record: WorksetRecord, table: str, part: str, why: str) -> ConfigurationError:
    kilobytes = len(to_item(record)["record"]["B"]) / 1024
    return ConfigurationError(
        f"workset {record.workset_id}: DynamoDB does not take what is to be written of it in "
        f"{table} ({part}): {why}; nothing was changed, and trying again does not help. An item "
        f"has 400 KB at most, and its record {kilobytes:.0f} KB; if that is little, compare the "
        f"table with docs/aws/table.yaml, and the release of all pollers"
    )
