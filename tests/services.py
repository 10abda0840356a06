"""Real servers for the tests: each on a free port of loopback, started here and stopped by pid."""

import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REAL = Path(__file__).parents[1] / ".real"
ROOT_ONLY = "can be started by root only; run the tests as root to have it"


def need(there, what):
    """Skip a test whose real component is missing, by name; with REQUIRE_REAL=1 it fails."""
    if there:
        return
    if os.environ.get("REQUIRE_REAL") == "1":
        pytest.fail(f"{what} is missing; `make real` installs it")
    pytest.skip(f"{what} is missing; `make real` installs it")


def need_root(what):
    """Skip a test whose real component only root can start; REQUIRE_REAL=1 cannot change that."""
    if os.geteuid() != 0:
        pytest.skip(f"{what} {ROOT_ONLY}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process):
    """End a server of ours, by its pid."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def wait_for_port(port, process, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, "the server ended at its start"
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.05)


@dataclass(frozen=True)
class DynamoDB:
    url: str
    pid: int


@contextmanager
def dynamodb_local(log_file):
    """DynamoDB Local, by AWS, in memory; yields its URL."""
    with dynamodb_process(log_file) as running:
        yield running.url


@contextmanager
def dynamodb_process(log_file):
    """The same, with its pid."""
    home = REAL / "dynamodb"
    need((home / "DynamoDBLocal.jar").exists() and shutil.which("java"), "DynamoDB Local (Java)")
    port = free_port()
    command = [
        "java", "-Djava.library.path=./DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar",
        "-inMemory", "-disableTelemetry", "-port", str(port),
    ]  # fmt: skip
    with open(log_file, "wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=log)
    try:
        wait_for_port(port, process)
        yield DynamoDB(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def moto_server(log_file):
    """moto's server (S3, SNS, SQS …), on the real boto3's other side; yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def credentials(url, key="test"):
    """An AWS credentials block for a server of the tests; clients of one key are one client."""
    from prefect_aws import AwsCredentials
    from prefect_aws.client_parameters import AwsClientParameters

    return AwsCredentials(
        aws_access_key_id=key,
        aws_secret_access_key="test",
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )


def dynamodb_state_db(url, table=""):
    """A new table on a DynamoDB Local, as a state DB."""
    from prefect_aws import AwsCredentials

    from blocks.state_db import DynamoDBStateDB

    db = DynamoDBStateDB(
        table_name=table or f"t{uuid.uuid4().hex[:12]}",
        region_name="us-west-2",
        aws_credentials=AwsCredentials(
            aws_access_key_id="test", aws_secret_access_key="test", region_name="us-west-2"
        ),
        endpoint_url=url,
        point_in_time_recovery=False,
    )
    if not table:
        db.create_table_if_not_exists()
    return db


@contextmanager
def prefect_for_many(folder):
    """Prefect's server, for tests that each run in a process of its own."""
    from local import server

    folder = folder / "prefect"
    try:
        server.start(folder).wait()
        os.environ["WORKSETS_TEST_SERVER"] = str(folder)
        yield
    finally:
        os.environ.pop("WORKSETS_TEST_SERVER", None)
        server.stop(folder)
