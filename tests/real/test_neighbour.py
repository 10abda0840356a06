"""Another user of the machine, and a web page: neither gets anything from our server."""

import base64
import os
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from local import postgres, server
from tests import services

pytestmark = [pytest.mark.real, pytest.mark.slow]

NOBODY = 65534
NAME = "Müller Labor #1"
CLIENT = """
import asyncio
from prefect.client.orchestration import get_client
from prefect.events.clients import get_events_client
async def main():
    async with get_client() as client:
        assert await client.api_healthcheck() is None
        print(len(await client.read_flows()))
    async with get_events_client() as events:
        print("events", type(events).__name__)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neighbour") / NAME / "run"
    started = server.start(folder / "server")
    try:
        started.wait()
        yield started
    finally:
        server.stop(folder / "server")


def ask(running, path, method="GET", **headers):
    data = b"{}" if method == "POST" else None
    asked = urllib.request.Request(running.api_url + path, data=data, method=method)
    for key, value in {"Content-Type": "application/json", **headers}.items():
        asked.add_header(key.replace("_", "-"), value)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(asked, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def with_password(running, text=""):
    token = base64.b64encode((text or running.password).encode()).decode()
    return {"Authorization": f"Basic {token}"}


def socket_folder(running):
    return Path((running.folder / "postgres" / "socket-folder").read_text().strip())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/block_documents/filter"),
        ("GET", "/block_types/slug/slack-webhook"),
        ("POST", "/flows/filter"),
        ("POST", "/flow_runs/filter"),
        ("POST", "/variables/filter"),
        ("GET", "/admin/settings"),
        ("GET", "/admin/version"),
        ("POST", "/logs/filter"),
    ],
)
def test_without_the_password_nothing_is_answered(running, method, path):
    assert ask(running, path, method)[0] == 401
    assert ask(running, path, method, **with_password(running, "guessed"))[0] == 401
    assert ask(running, path, method, **with_password(running))[0] in (200, 404)


def test_only_health_is_open(running):
    assert ask(running, "/health")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_gets_no_permission(running, origin):
    asks = {"Origin": origin, "Access_Control_Request_Method": "POST"}
    for method, path in (("GET", "/health"), ("OPTIONS", "/block_documents/filter")):
        _, headers = ask(running, path, method, **asks)
        assert headers.get("Access-Control-Allow-Origin") is None
    _, own = ask(running, "/health", Origin=running.ui_url)
    assert own.get("Access-Control-Allow-Origin") == running.ui_url


def test_what_it_keeps_is_its_users_alone(running):
    for path in (running.folder, running.folder / "postgres", socket_folder(running)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (running.password_file, running.folder / "server.log"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_password_is_in_no_command_line_and_no_log(running):
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not any(running.password.encode() in line for line in lines)
    for log in running.folder.rglob("*log"):
        if log.is_file():
            assert running.password not in log.read_text(errors="replace")


def test_postgresql_listens_on_its_socket_only(running):
    data = postgres.data_of(running.folder / "postgres")
    process = postgres._running(data)
    kinds = {connection.laddr for connection in process.net_connections("inet")}
    assert not kinds
    assert len(os.fsencode(socket_folder(running))) < 93


def as_nobody(action):
    """What comes of an action as another user: the name of its error, or `done`."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            os.write(writes, b"done")
        except BaseException as error:
            os.write(writes, type(error).__name__.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with open(reads, "rb") as answer:
        return answer.read().decode()


def test_another_user_can_neither_read_the_password_nor_reach_postgresql(running):
    services.need_root("A process of another user")
    socket_file = str(socket_folder(running) / ".s.PGSQL.5432")
    way = socket.socket(socket.AF_UNIX)
    assert as_nobody(Path("/").stat) == "done"
    assert as_nobody(running.password_file.read_text) == "PermissionError"
    assert as_nobody(lambda: way.connect(socket_file)) == "PermissionError"
    way.connect(socket_file)  # it is there, and root may
    way.close()


def test_our_clients_work_behind_a_proxy_that_knows_nothing_of_loopback(running):
    bogus = dict.fromkeys(
        ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"), "http://127.0.0.1:9"
    )
    plain = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", CLIENT], env=plain | bogus | running.environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_it_is_found_again_and_its_password_stays(running):
    password = running.password
    again = server.start(running.folder)
    assert (again.pid, again.password) == (running.pid, password)


def test_a_socket_folder_that_others_could_enter_is_not_used_again(tmp_path):
    folder = tmp_path / ("long" * 40) / ("path" * 40) / "postgres"
    try:
        first = postgres.start(folder)
        place = Path((folder / "socket-folder").read_text().strip())
        assert first == postgres.start(folder) and str(place) in first
        place.chmod(0o777)
        second = postgres.start(folder)
        assert second != first
        other = Path((folder / "socket-folder").read_text().strip())
        assert stat.S_IMODE(other.stat().st_mode) == 0o700
    finally:
        postgres.forget(folder)
        place.rmdir() if place.exists() else None
