"""Only what may be gone in a moment is tried again by a step itself."""

import httpx
import pytest
from prefect.states import Failed

from blocks.clusters import SubmitUncertain
from blocks.state_db import LeaseOver
from tasks import discover, dispatch, lock, monitor, recover, schedule, sync_limits, validate
from tasks.retry import only_transient
from worksets.errors import (
    AdmissionRefused,
    ClusterUnreachable,
    ConfigurationError,
    DataError,
    FenceLost,
    Refused,
    ResourceError,
    TransientError,
    WorksetNotFound,
)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (TransientError("x"), True),
        (ClusterUnreachable("x"), True),
        (SubmitUncertain("x"), True),
        (LeaseOver("x"), True),
        (TimeoutError(), True),
        (httpx.ConnectError("x"), True),
        (ConfigurationError("x"), False),
        (DataError("x"), False),
        (ResourceError("x"), False),
        (Refused("x"), False),
        (FenceLost("x"), False),
        (AdmissionRefused("x"), False),
        (WorksetNotFound("x"), False),
        (ValueError("x"), False),
    ],
)
async def test_the_condition(error, again):
    assert await only_transient(None, None, Failed(data=error)) is again


@pytest.mark.parametrize(
    "step",
    [discover.discover, recover.recover, sync_limits.sync_limits, validate.validate,
     schedule.schedule, lock.lock, dispatch.dispatch, monitor.monitor],
    ids=lambda step: step.name,
)  # fmt: skip
def test_every_step_tries_again_within_bounds(step):
    assert step.retries == 3 and step.retry_condition_fn is only_transient
    assert step.timeout_seconds and sum(step.retry_delay_seconds) <= 7
