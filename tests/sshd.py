"""A real sshd on loopback, with a user of its own to log in as; both are gone afterwards."""

import pwd
import shutil
import subprocess
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.services import free_port, need, need_root, wait_for_port

SSHD = "/usr/sbin/sshd"
CONF = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
AllowTcpForwarding yes
AllowUsers {user}
"""


@dataclass
class Sshd:
    """`fields` are those of an SshHost that may log in."""

    folder: Path
    port: int
    user: str
    process: subprocess.Popen

    @property
    def fields(self):
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "known_hosts": str(self.folder / "known_hosts"),
            "key_file": str(self.folder / "user_key"),
        }

    def start(self):
        with open(self.folder / "sshd.log", "ab") as log:
            self.process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdout=log, stderr=log
            )
        wait_for_port(self.port, self.process)

    def stop(self):
        """End sshd and the connections it has, all by their pids."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.process.kill()
        self.process.wait(10)


@contextmanager
def user():
    """A user of this machine, for the time of the tests."""
    name = f"wstest{uuid.uuid4().hex[:6]}"
    subprocess.run(["useradd", "-M", "-d", "/", "-p", "*", "-s", "/bin/sh", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        theirs = [p for p in psutil.process_iter(["username"]) if p.info["username"] == name]
        for process in theirs:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(theirs, 10)
        subprocess.run(["userdel", name], check=True)


@contextmanager
def sshd(folder, more=""):
    """An sshd whose user may do what a user may; everybody may look into `folder`."""
    tools = (SSHD, "useradd", "ssh-keygen")
    need_root("OpenSSH's sshd, with a user of its own,")
    need(all(map(shutil.which, tools)), "OpenSSH's sshd")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder.mkdir()
    with user() as account:
        port = free_port()
        for key in ("host_key", "user_key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True
            )
        host_key = (folder / "host_key.pub").read_text().split()[:2]
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
        (folder / "authorized_keys").write_text((folder / "user_key.pub").read_text())
        (folder / "sshd_config").write_text(
            CONF.format(port=port, folder=folder, user=account.pw_name) + f"{more}\n"
        )
        here = Sshd(folder, port, account.pw_name, None)
        here.start()
        try:
            yield here
        finally:
            here.stop()
