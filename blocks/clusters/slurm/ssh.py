"""The way over SSH: one connection a process, opened once and shared by all its questions."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from blocks.clusters.slurm.transport import TIMEOUT_S, MayHaveReached, Result, Transport, text
from worksets.errors import ClusterUnreachable

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection

SESSIONS: Final = 8
"""Scripts at once on a connection; sshd's MaxSessions is 10 unless configured."""
LINES_OF_KEYS: Final = re.compile(r"^[^/~.\s]\S* +\S", re.MULTILINE)
"""How a line of known_hosts begins: a host, then a space."""
KEEPALIVE_S: Final = 15
"""Seconds between signs of life; a connection that misses three is given up."""

OLD_S: Final = 600
"""Seconds after which a connection is made anew, when nothing else runs over it."""


class SshHost(BaseModel):
    """A host and how to log in to it. Its key must be known: an unknown host is never trusted."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field(min_length=1, description="Name or address")
    port: int = Field(22, ge=1, le=65535, description="Port of sshd")
    user: str = Field(min_length=1, description="User to log in as")
    known_hosts: str = Field(
        "~/.ssh/known_hosts", description="File of known hosts' keys, or such lines themselves"
    )
    key_file: str = Field("", description="File of the private key; empty: private_key or agent")
    private_key: SecretStr = Field(
        SecretStr(""), description="The private key itself, in OpenSSH's format"
    )
    passphrase: SecretStr = Field(SecretStr(""), description="Passphrase of the private key")
    use_agent: bool = Field(
        False,
        description="Whether keys of the SSH agent may be used; where no key is given here, those "
        "of ~/.ssh after them",
    )

    def options(self) -> dict[str, Any]:
        """asyncssh's options: this host's keys and ours, and nothing that the machine adds."""
        import asyncssh  # a third of a second; only who goes over SSH pays it

        known = self.known_hosts
        lines = bool(LINES_OF_KEYS.search(known))  # else a path, which may have spaces
        path = Path(known).expanduser()
        if not lines and not path.exists():
            raise ClusterUnreachable(
                f"there is no {path}; put the key of {self.host} into known_hosts "
                f"(ssh-keyscan shows it; compare it with what the host's owner says)"
            )
        passphrase = self.passphrase.get_secret_value() or None
        keys: list[Any] = [str(Path(self.key_file).expanduser())] if self.key_file else []
        if secret := self.private_key.get_secret_value():
            keys.append(asyncssh.import_private_key(secret, passphrase))
        # to asyncssh None means no key whatever, not even the agent's
        nothing = () if self.use_agent else None
        return {
            "port": self.port,
            "username": self.user,
            "known_hosts": asyncssh.import_known_hosts(known) if lines else str(path),
            "client_keys": keys or nothing,
            "passphrase": passphrase,
            "agent_path": () if self.use_agent else None,
            "config": None,
            "preferred_auth": "publickey",
            "keepalive_interval": KEEPALIVE_S,
            "keepalive_count_max": 3,
        }


class SshTransport(Transport, SshHost):
    """Slurm's commands are on a host that is reached over SSH, perhaps through another."""

    kind: Literal["ssh"] = "ssh"
    jump: SshHost | None = Field(None, description="Host through which it is reached")
    connect_timeout_s: float = Field(20, gt=0, description="Longest time to connect, s")

    _kept: _Connection | None = PrivateAttr(default=None)
    _guard: Any = PrivateAttr(default_factory=threading.Lock)

    def run(self, script: str, timeout_s: float = TIMEOUT_S) -> Result:
        with self._guard:
            if self._kept is None:
                self._kept = _Connection(self)
        running = asyncio.run_coroutine_threadsafe(
            self._kept.run(self._whole(script), timeout_s), _loop()
        )
        return running.result()

    def close(self) -> None:
        with self._guard:
            if self._kept is not None:
                asyncio.run_coroutine_threadsafe(self._kept.close(), _loop()).result(10)
                self._kept = None


class _Connection:
    """The one connection; lives in the loop of its own thread."""

    def __init__(self, way: SshTransport) -> None:
        self.way = way
        self._open: SSHClientConnection | None = None
        self._jump: SSHClientConnection | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Condition()
        self._since = 0.0
        self._running = 0
        self._most = SESSIONS
        """Sessions that sshd lets be at once; learned when it refuses one."""

    async def run(self, script: str, timeout_s: float) -> Result:
        import asyncssh

        async with self._session():
            process = await self._shell()
            # from here on the script may run; what is lost now may have reached
            try:
                async with asyncio.timeout(timeout_s):
                    out, err = await process.communicate(script.encode())
            except TimeoutError as error:
                await self.close()  # perhaps the connection is dead; the next one is new
                raise MayHaveReached(
                    f"{self.way.host} gave no answer for {timeout_s:g} s"
                ) from error
            except (asyncssh.Error, OSError) as error:
                await self.close()
                raise MayHaveReached(f"the connection to {self.way.host} broke: {error}") from error
            if process.returncode is None:
                await self.close()
                raise MayHaveReached(f"the connection to {self.way.host} broke before an answer")
            return Result(process.returncode, text(out), text(err))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[None]:
        async with self._room:
            await self._room.wait_for(lambda: self._running < self._most)
            self._running += 1
        try:
            yield
        finally:
            await self._leave()

    async def _leave(self) -> None:
        async with self._room:
            self._running -= 1
            self._room.notify_all()

    async def _shell(self) -> Any:
        """A shell that waits for its script. Nothing has been told to run yet."""
        import asyncssh

        for fresh in (False, True):
            connection = await self._connected()
            try:
                return await self._opened(connection)
            except (asyncssh.Error, OSError, TimeoutError) as error:
                # an old connection may have died unseen: once more, over a new one
                await self.close()
                if fresh:
                    raise ClusterUnreachable(
                        f"{self.way.host} gives no shell: {error or 'no answer'}"
                    ) from error
        raise AssertionError("the second try returns or raises")

    async def _opened(self, connection: SSHClientConnection) -> Any:
        """A session on the connection; where sshd lets no more be at once, when one has ended."""
        import asyncssh

        while True:
            try:
                async with asyncio.timeout(self.way.connect_timeout_s):
                    return await connection.create_process("sh -s", encoding=None)
            except asyncssh.ChannelOpenError:
                if self._running <= 1 or connection.is_closed():
                    raise  # it is not for the others
            # MaxSessions of sshd_config(5): those that run are not to be aborted for this one
            async with self._room:
                self._running -= 1
                self._most = max(1, min(self._most, self._running))
                self._room.notify_all()
                try:
                    await self._room.wait_for(lambda: self._running < self._most)
                finally:
                    self._running += 1

    async def _connected(self) -> SSHClientConnection:
        import asyncssh

        async with self._opening:
            if self._open is not None and not self._open.is_closed() and not self._is_old():
                return self._open
            at = self.way.jump or self.way
            await self.close()  # a jump whose second hop has failed, or died, is of no use
            self._since = time.monotonic()
            try:
                async with asyncio.timeout(self.way.connect_timeout_s):
                    if self.way.jump is not None:
                        self._jump = await asyncssh.connect(at.host, **at.options())
                    at = self.way
                    self._open = await asyncssh.connect(
                        at.host, tunnel=self._jump or (), **at.options()
                    )
            except asyncssh.HostKeyNotVerifiable as error:
                raise ClusterUnreachable(
                    f"{at.host}:{at.port} shows a key that known_hosts does not have ({error}); "
                    f"nothing was sent. If its owner says that the key is new, put it there"
                ) from error
            except asyncssh.PermissionDenied as error:
                raise ClusterUnreachable(
                    f"{at.host}:{at.port} does not let {at.user} in ({error}); put the public key "
                    f"into its authorized_keys"
                ) from error
            except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
                raise ClusterUnreachable(f"the key for {at.host} is of no use: {error}") from error
            except (asyncssh.Error, OSError) as error:
                raise ClusterUnreachable(
                    f"{at.host}:{at.port} is not reached: {error or 'no answer'}"
                ) from error
            finally:
                if self._open is None:
                    await self.close()
            return self._open

    def _is_old(self) -> bool:
        """Whether to log in anew: keys, groups and hosts change under a connection that is kept.

        Not while others have a session on it.
        """
        return self._running <= 1 and time.monotonic() - self._since > OLD_S

    async def close(self) -> None:
        for connection in (self._open, self._jump):
            if connection is not None:
                connection.abort()
        self._open = self._jump = None


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop that keeps this process's connections, in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="ssh", daemon=True).start()
    return loop
