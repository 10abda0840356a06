"""Slurm's accounting: a real slurmdbd on a MariaDB of its own, started here, stopped by pid."""

import os
import secrets
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.services import free_port, need, stop, wait_for_port

CONF = """
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db_port}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""
CLUSTER_CONF = """
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort={port}
AccountingStoragePass={munge}
AccountingStorageEnforce=associations,limits,qos
JobAcctGatherFrequency=task=1
"""
"""What a cluster's slurm.conf says of it; seconds between two looks at what its tasks take."""


@dataclass(frozen=True)
class Accounting:
    """A running slurmdbd."""

    port: int
    folder: Path
    munge: Path

    @property
    def cluster_conf(self):
        return CLUSTER_CONF.format(port=self.port, munge=self.munge)


@contextmanager
def accounting(folder, munge):
    """slurmdbd for clusters whose munged has this socket."""
    need(shutil.which("slurmdbd") and shutil.which("mariadbd"), "slurmdbd with MariaDB")
    folder.mkdir()
    with mariadb(folder / "mariadb") as (db_port, password):
        port, conf = free_port(), folder / "slurmdbd.conf"
        conf.touch(mode=0o600)
        conf.write_text(
            CONF.format(folder=folder, munge=munge, port=port, db_port=db_port, password=password)
        )
        # it looks for its own file beside this one, which it does not read
        env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        with open(folder / "slurmdbd.out", "wb") as out:
            slurmdbd = subprocess.Popen(["slurmdbd", "-D"], stdout=out, stderr=out, env=env)
        try:
            wait_for_port(port, slurmdbd)
            yield Accounting(port, folder, munge)
        finally:
            stop(slurmdbd)


@contextmanager
def mariadb(folder):
    """A MariaDB with a database for slurmdbd; yields its port and the password of `slurm`."""
    folder.mkdir()
    data = folder / "data"
    with open(folder / "install.log", "wb") as log:
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            stdout=log, stderr=log, check=True,
        )  # fmt: skip
    port, password = free_port(), secrets.token_hex(16)
    with open(folder / "mariadbd.log", "wb") as log:
        server = subprocess.Popen(
            ["mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--port={port}",
             "--bind-address=127.0.0.1", "--skip-name-resolve", "--socket=socket",
             f"--pid-file={folder / 'pid'}", "--innodb-flush-log-at-trx-commit=0"],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        wait_for_port(port, server)
        # a socket's path has at most 107 bytes: it is named by the folder in which it is
        grant = (
            f"create user slurm@'127.0.0.1' identified by '{password}'; "
            "grant all on slurm_acct_db.* to slurm@'127.0.0.1'"
        )
        made = subprocess.run(
            ["mariadb", "--no-defaults", "--socket=socket", "-u", "root", "-e", grant],
            capture_output=True, text=True, check=False, cwd=data,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        yield port, password
    finally:
        stop(server)
