"""Prefect's server on an embedded PostgreSQL, in one folder.

It is started if it does not run, found again if it does, also after whoever started it was killed.
It is its user's alone: it wants a password, which lies in the folder, its folders are 0700, and no
page of another origin may call it.

This module imports nothing heavy: the server starts while its caller still imports Prefect.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import certifi

from blocks.clusters.on_cluster.runner import birth
from local import postgres
from local.private import past_proxies, private_folder, secret

START_S = 180.0
SHORTEST_S = 3601.0
"""Prefect keeps the runs of the last hour at least."""
PAGE = 200
"""Most that the API gives at once."""
BATCHES: Final = {
    f"PREFECT_SERVER_SERVICES_{service}_{setting}": value
    for service, batch in (("TASK_RUN_RECORDER", "50"), ("EVENT_PERSISTER", "100"))
    for setting, value in (
        ("BATCH_SIZE", batch), ("READ_BATCH_SIZE", "50"), ("FLUSH_INTERVAL", "1")
    )
}  # fmt: skip
"""What Prefect's server writes together, a second late at most; by itself it writes one by one. It
takes a third of the server's CPU away (`python -m benchmarks.bare`)."""


@dataclass(frozen=True)
class Server:
    """A server that was started; `wait` until it answers."""

    folder: Path
    port: int
    pid: int
    is_new: bool = False
    """Whether it was started just now, and not found running."""

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a Prefect client that is to use this server; they hold its password."""
        return {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": self.password,
            "PREFECT_HOME": str(self.folder / "home"),
            # asked for by each client anew, and the server has none to give
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
            "PREFECT_API_SSL_CERT_FILE": str(one_authority(self.folder)),
            **past_proxies(os.environ),
        }

    @property
    def password(self) -> str:
        """What the server's API and UI ask for.

        Raises:
            ConfigurationError: its file is not this user's alone.
        """
        return secret(self.password_file)

    @property
    def password_file(self) -> Path:
        return self.folder / "password"

    def wait(self) -> None:
        """Return when the server answers.

        Raises:
            RuntimeError: it ended, or was not there after three minutes; with its last lines.
        """
        deadline = time.monotonic() + START_S
        while not _healthy(self.api_url):
            if birth(self.pid) is None or time.monotonic() > deadline:
                log = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"Prefect's server did not start; its log ends with\n{log}")
            time.sleep(0.05)
        if self.is_new:
            self._free_slots_of_deployments()

    def _free_slots_of_deployments(self) -> None:
        """Take back the slots of runs that the server before this one let start.

        Their leases were in its memory, and the count of the slots is in the database: after a
        power cut the one slot of a scheduled deployment would be taken for ever, and each of its
        runs cancelled. A run that lives on without its slot harms nobody: polls may overlap.
        """
        for limit in self._all("v2/concurrency_limits/filter"):
            if limit["name"].startswith("deployment:") and limit["active_slots"]:
                self._ask("PATCH", f"v2/concurrency_limits/{limit['id']}", {"active_slots": 0})

    def _all(self, path: str) -> list[Any]:
        """What the API gives in pages, all of it."""
        found: list[Any] = []
        while page := self._ask("POST", path, {"limit": PAGE, "offset": len(found)}):
            found += page
        return found

    def _ask(self, method: str, path: str, body: dict[str, object]) -> Any:
        key = base64.b64encode(self.password.encode()).decode()
        request = urllib.request.Request(
            f"{self.api_url}/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {key}"},
            method=method,
        )
        with _direct().open(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if content else None


def start(folder: Path, keep_runs_days: float | None = None) -> Server:
    """The server of `folder`, started unless it runs already. Does not wait for it to answer.

    `keep_runs_days`: it deletes runs that ended so long ago, with their logs; None: none.

    Raises:
        ConfigurationError: the folder, or what lies in it, is not this user's alone.
    """
    folder = private_folder(folder.resolve())
    port = 0
    if (known := _read(folder)) is not None:
        server, born = known
        if birth(server.pid) == born and not server.password_file.exists():
            stop(folder)  # one of an older release, which lets everybody in
        elif birth(server.pid) == born:
            postgres.start(folder / "postgres")
            return server
        port = server.port  # the same address again, so that an open browser finds it
    database = postgres.start(folder / "postgres")
    port = _free_port(port)
    password = secret(folder / "password")
    settings = {
        "PREFECT_SERVER_API_AUTH_STRING": password,
        # its own services are clients too
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_DATABASE_CONNECTION_URL": database,
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # a freed slot is found in 2 s, not in 30
        "PREFECT_SERVER_TASKS_TAG_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        **BATCHES,
    }
    if keep_runs_days is not None:
        seconds = max(keep_runs_days * 86_400, SHORTEST_S)
        settings |= {
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(seconds),
        }
    (folder / "server.log").touch(mode=0o600)
    with open(folder / "server.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1",
             "--port", str(port)],
            env={**_plain_environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    text = json.dumps({"pid": child.pid, "port": port, "born": birth(child.pid)})
    draft = folder / ".server.json"
    draft.write_text(text)
    draft.replace(folder / "server.json")
    return Server(folder, port, child.pid, is_new=True)


def stop(folder: Path) -> None:
    """Stop Prefect's server and PostgreSQL, as far as they run."""
    folder = folder.resolve()
    known = _read(folder)
    if known is not None:
        server, born = known
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 15
            while birth(server.pid) == born and time.monotonic() < deadline:
                os.killpg(server.pid, sign)
                time.sleep(0.2)
                _reap(server.pid)
    postgres.stop(folder / "postgres")


def running(folder: Path) -> Server | None:
    """The server of `folder`, if it runs."""
    known = _read(folder.resolve())
    return known[0] if known is not None and birth(known[0].pid) == known[1] else None


def _read(folder: Path) -> tuple[Server, str] | None:
    try:
        known = json.loads((folder / "server.json").read_text())
        return Server(folder, int(known["port"]), int(known["pid"])), str(known["born"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return  # it was another process's child


def _plain_environment() -> dict[str, str]:
    # a profile of this machine's user must not reach our server
    plain = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return plain | past_proxies(plain)


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError("no free port on 127.0.0.1")


def one_authority(folder: Path) -> Path:
    """A file with one certificate authority, for clients that speak no TLS.

    Prefect makes a client for each flow run and each lease, and each reads all authorities of the
    world: a twentieth of a second of CPU, for an address to which nothing is encrypted.
    """
    all_ = Path(certifi.where()).read_text(encoding="utf-8")
    first = all_[all_.index(_BEGIN) : all_.index(_END) + len(_END)] + "\n"
    file = folder / "authority.pem"
    # a power cut may have left it empty, and no client would come up again
    if not file.exists() or file.read_text(encoding="utf-8", errors="replace") != first:
        draft = folder / f".authority.{os.getpid()}.pem"
        draft.write_text(first, encoding="utf-8")
        draft.replace(file)
    return file


_BEGIN, _END = (f"-----{part} CERTIFICATE-----" for part in ("BEGIN", "END"))


def _direct() -> urllib.request.OpenerDirector:
    # a proxy of the machine must not be asked for an address on loopback
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _healthy(api_url: str) -> bool:
    try:
        with _direct().open(f"{api_url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
