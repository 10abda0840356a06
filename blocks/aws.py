"""How this project talks to AWS: timeouts, and what AWS's errors mean for a workset."""

from __future__ import annotations

from typing import Final

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

from worksets.errors import ConfigurationError, TransientError, WorksetError

CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=20,
    max_pool_connections=32,
)
"""Standard retries with backoff: throttling and lost connections are tried four times in all."""

TRANSIENT: Final = frozenset(
    {
        *ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
        *TransientRetryableChecker._TRANSIENT_ERROR_CODES,
        "InternalServerError",
        "InternalError",
        "ServiceUnavailable",
        "TransactionConflictException",
    }
)
"""Error codes that may be gone in a moment: botocore's own tables, and the services' own faults."""


DENIED: Final = frozenset({"403", "AccessDenied", "AccessDeniedException"})
"""Error codes of what the credentials' policy does not allow; S3 answers a HEAD by number."""


def code_of(error: Exception) -> str:
    """AWS's code of an error; empty if it has none."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def explained(error: ClientError | BotoCoreError, what: str) -> WorksetError:
    """The error in this project's hierarchy; `what` says what was tried, on what."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code_of(error) in TRANSIENT or status >= 500:
            return TransientError(f"{what}: {error}; tried again")
        if code_of(error) == "ResourceNotFoundException":
            return ConfigurationError(
                f"{what}: there is no such table or index; are its name and its region right? "
                f"`worksets create-table` makes the table of a settings file"
            )
        return ConfigurationError(f"{what}: {error}; check the credentials, their policy and names")
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return ConfigurationError(f"{what}: {error}; fill in the AWS credentials block")
    if isinstance(error, ConnectionError | HTTPClientError):
        return TransientError(f"{what}: {error}; tried again")
    return ConfigurationError(f"{what}: {error}")


def never_sent(error: ClientError | BotoCoreError) -> bool:
    """Whether a call certainly had no effect: AWS refused it, or was not reached at all."""
    if isinstance(error, ClientError):
        return bool(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) < 500)
    return isinstance(
        error,
        NoCredentialsError
        | PartialCredentialsError
        | EndpointConnectionError
        | ConnectTimeoutError,
    )
