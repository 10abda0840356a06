"""The way over AWS Systems Manager: for head nodes without a door, such as ParallelCluster's."""

from __future__ import annotations

import asyncio
import base64
import gzip
import time
from shlex import quote
from typing import Any, Final, Literal

from pydantic import Field, PrivateAttr

from blocks.clusters.slurm.transport import TIMEOUT_S, MayHaveReached, Result, Transport
from worksets.errors import ClusterUnreachable, ConfigurationError

MAX_SCRIPT: Final = 60_000
"""Characters of a packed script; a command's parameters may have 64 KB (AWS, SendCommand)."""
SHOWN: Final = 24_000
"""Characters of output that SSM itself gives back (AWS, GetCommandInvocation)."""
SHOWN_ERRORS: Final = 8_000
DELIVERY_S: Final = 30
"""Seconds in which the agent must have taken the command; the least that AWS allows."""
GRACE_S: Final = 30
"""Seconds beyond a script's own time for which its answer is waited for."""
NOT_REACHED: Final = frozenset(
    {"DeliveryTimedOut", "Undeliverable", "AccessDenied", "InvalidPlatform", "Delivery Timed Out"}
)
"""StatusDetails of commands that certainly did not run (AWS, Understanding command statuses)."""
MAY_HAVE: Final = frozenset({"ExecutionTimedOut", "Execution Timed Out", "Cancelled", "Terminated"})


class SsmTransport(Transport):
    """Slurm's commands are on an EC2 instance that is reached through AWS Systems Manager.

    The machine needs `ssm:SendCommand`, `ssm:GetCommandInvocation` and, with an output bucket,
    `s3:GetObject`; the instance's role needs `s3:PutObject` there.
    """

    kind: Literal["ssm"] = "ssm"
    instance_id: str = Field(pattern=r"^m?i-[0-9a-f]{8,17}$", description="The head node")
    region_name: str = Field(min_length=1, description="AWS region of the instance")
    user: str = Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$", description="User that owns the jobs")
    output_bucket: str = Field(
        "", description="S3 bucket for output above 24,000 characters; empty: that is an error"
    )
    output_prefix: str = Field("worksets-ssm", description="Prefix of such output in the bucket")
    aws_credentials: str = Field(
        "", description="Name of an AWS credentials block; empty: what this machine has"
    )
    poll_min_s: float = Field(0.2, gt=0, description="Shortest time between two questions, s")

    _clients: dict[str, Any] = PrivateAttr(default_factory=dict)

    def run(self, script: str, timeout_s: float = TIMEOUT_S) -> Result:
        command_id = self._send(script, timeout_s)
        deadline, pause = time.monotonic() + timeout_s + GRACE_S, self.poll_min_s
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 1.5, 2.0)
            seen = self._invocation(command_id)
            if seen is None or seen["Status"] in ("Pending", "InProgress", "Delayed", "Cancelling"):
                continue
            details = seen.get("StatusDetails", seen["Status"])
            if details in NOT_REACHED:
                raise ClusterUnreachable(
                    f"{self.instance_id} did not take the command ({details}); does it run, and "
                    f"its SSM agent with it?"
                )
            if details in MAY_HAVE or seen["Status"] not in ("Success", "Failed"):
                raise MayHaveReached(f"{self.instance_id}: {details} (command {command_id})")
            return Result(
                int(seen["ResponseCode"]),
                self._whole_output(seen, command_id, "stdout"),
                self._whole_output(seen, command_id, "stderr"),
            )
        raise MayHaveReached(
            f"{self.instance_id} gave no answer for {timeout_s + GRACE_S:g} s "
            f"(command {command_id})"
        )

    def _send(self, script: str, timeout_s: float) -> str:
        from botocore.exceptions import BotoCoreError, ClientError

        from blocks.aws import never_sent

        packed = base64.b64encode(gzip.compress(self._whole(script).encode(), mtime=0)).decode()
        if len(packed) > MAX_SCRIPT:
            raise ConfigurationError(
                f"the job's files have {len(packed):,} characters packed, and SSM takes "
                f"{MAX_SCRIPT:,}; use transport ssh for worksets with so many samples"
            )
        line = f"echo {packed} | base64 -d | gunzip | runuser -u {quote(self.user)} -- sh -s"
        where: dict[str, Any] = {}
        if self.output_bucket:
            where = {
                "OutputS3BucketName": self.output_bucket,
                "OutputS3KeyPrefix": self.output_prefix,
            }
        try:
            sent = self._client("ssm").send_command(
                InstanceIds=[self.instance_id],
                DocumentName="AWS-RunShellScript",
                TimeoutSeconds=DELIVERY_S,
                Parameters={"commands": [line], "executionTimeout": [f"{max(1, int(timeout_s))}"]},
                **where,
            )
        except (ClientError, BotoCoreError) as error:
            what = f"{self.instance_id} over SSM: {error}"
            raise (ClusterUnreachable if never_sent(error) else MayHaveReached)(what) from error
        return str(sent["Command"]["CommandId"])

    def _invocation(self, command_id: str) -> dict[str, Any] | None:
        """What SSM knows of the command now; None where it could not be asked."""
        from botocore.exceptions import BotoCoreError, ClientError

        from blocks.aws import TRANSIENT, code_of

        try:
            seen: dict[str, Any] = self._client("ssm").get_command_invocation(
                CommandId=command_id, InstanceId=self.instance_id
            )
        except ClientError as error:
            if code_of(error) in TRANSIENT | {"InvocationDoesNotExist"}:
                return None
            raise MayHaveReached(f"{self.instance_id} over SSM: {error}") from error
        except BotoCoreError:
            return None
        return seen

    def _whole_output(self, seen: dict[str, Any], command_id: str, stream: str) -> str:
        limit = SHOWN if stream == "stdout" else SHOWN_ERRORS
        shown = str(seen["StandardOutputContent" if stream == "stdout" else "StandardErrorContent"])
        if len(shown) < limit:
            return shown
        if not self.output_bucket:
            if stream == "stderr":
                return shown
            raise MayHaveReached(
                f"{self.instance_id} said more than SSM gives back ({SHOWN:,} characters); set "
                f"output_bucket in the cluster's transport"
            )
        return self._from_s3(
            f"{self.output_prefix}/{command_id}/{self.instance_id}"
            f"/awsrunShellScript/0.awsrunShellScript/{stream}"
        )

    def _from_s3(self, key: str, tries: int = 5) -> str:
        """The output that the agent put into the bucket; it may arrive after the status."""
        from botocore.exceptions import BotoCoreError, ClientError

        for left in reversed(range(tries)):
            try:
                found = self._client("s3").get_object(Bucket=self.output_bucket, Key=key)
                return str(found["Body"].read().decode("utf-8", "replace"))
            except (ClientError, BotoCoreError) as error:
                if not left:
                    raise MayHaveReached(f"s3://{self.output_bucket}/{key}: {error}") from error
                time.sleep(1)
        raise AssertionError("the last try returns or raises")

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            import boto3
            from botocore.config import Config

            from blocks.aws import CONFIG

            # a command that is sent again by itself would run twice
            once = Config(retries={"total_max_attempts": 1}) if service == "ssm" else Config()
            session = boto3.Session()
            if self.aws_credentials:
                from prefect_aws import AwsCredentials

                # `load` gives a coroutine to a thread that a loop has started
                block = asyncio.run(AwsCredentials.aload(self.aws_credentials))
                session = block.get_boto3_session()
            self._clients[service] = session.client(
                service, region_name=self.region_name, config=CONFIG.merge(once)
            )
        return self._clients[service]
