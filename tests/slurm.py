"""Real Slurm clusters on this machine, side by side; started here and stopped by pid."""

import os
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import slurmdbd
from tests.services import free_port, need, need_root, stop

CONF = """
ClusterName={name}
SlurmctldHost=localhost
SlurmctldPort={ctld_port}
SlurmdPort={slurmd_port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/cgroup
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
EnforcePartLimits=ALL
ReturnToService=2
SlurmdTimeout=10
KillWait=5
MinJobAge=300
MpiDefault=none
MailProg=/bin/true
DefMemPerCPU=100
{accounting}
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp
GresTypes=gpu
NodeName={node} NodeHostname=localhost NodeAddr=127.0.0.1 CPUs=64 RealMemory=64000 \
 TmpDisk=50000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP
"""
NO_ACCOUNTING = "AccountingStorageType=accounting_storage/none"
CGROUP = "CgroupMountpoint=/sys/fs/cgroup\nConstrainRAMSpace=yes\nConstrainSwapSpace=no\n"


@dataclass
class Slurm:
    """One cluster; `conf` goes to its commands as SLURM_CONF."""

    name: str
    node: str
    folder: Path
    conf: Path
    slurmctld: subprocess.Popen

    def call(self, *command):
        """Run one of Slurm's commands on it."""
        env = {**os.environ, "SLURM_CONF": str(self.conf)}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    def start_controller(self):
        with open(self.folder / "slurmctld.out", "ab") as out:
            self.slurmctld = subprocess.Popen(
                ["slurmctld", "-D", "-f", str(self.conf)], stdout=out, stderr=out,
                env={**os.environ, "SLURM_CONF": str(self.conf)},
            )  # fmt: skip

    def wait(self, seconds=60):
        deadline = time.monotonic() + seconds
        while "idle" not in self.call("sinfo", "-h", "-o", "%t").stdout:
            assert time.monotonic() < deadline, self.call("sinfo").stdout + self.logs()
            time.sleep(0.1)

    def logs(self):
        logs = (self.folder / name for name in ("slurmctld.log", "slurmd.log", "slurmctld.out"))
        return "".join(log.read_text()[-1500:] for log in logs if log.exists())


@contextmanager
def clusters(folder, *names, accounted=False):
    """Slurm clusters of these names, and a munged for them; `accounted`: by a slurmdbd, too."""
    tools = ("slurmctld", "slurmd", "sbatch", "munged")
    need_root("Slurm")
    need(all(map(shutil.which, tools)), "Slurm")
    with ExitStack() as stack:
        munge = folder / "munge"
        munge.mkdir(mode=0o755)
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o600)
        socket = Path(f"/tmp/munge-{os.getpid()}.socket")  # a socket's path has at most 107 bytes
        munged = subprocess.Popen(
            ["munged", "--foreground", "--force", f"--key-file={munge / 'key'}",
             f"--socket={socket}", f"--pid-file={munge / 'pid'}",
             f"--log-file={munge / 'log'}", f"--seed-file={munge / 'seed'}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        stack.callback(stop, munged)
        stack.callback(socket.unlink, missing_ok=True)
        if accounted:
            dbd = stack.enter_context(slurmdbd.accounting(folder / "slurmdbd", socket))
        how = dbd.cluster_conf if accounted else NO_ACCOUNTING
        yield [stack.enter_context(cluster(folder / name, name, socket, how)) for name in names]


@contextmanager
def cluster(folder, name, munge, accounting):
    for part in ("state", "spool"):
        (folder / part).mkdir(parents=True)
    # its cgroups are named after it: two nodes of one name on a machine kill each other's jobs
    node = f"node{name}{os.getpid()}"
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            name=name, node=node, folder=folder, munge=munge, accounting=accounting,
            ctld_port=free_port(), slurmd_port=free_port(),
        )
    )  # fmt: skip
    (folder / "cgroup.conf").write_text(CGROUP)
    # two files stand in for the devices of GPUs: Slurm counts them
    for n in range(2):
        (folder / f"gpu{n}").touch()
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
    (folder / "jobcomp").touch()
    here = Slurm(name, node, folder, conf, None)
    env = {**os.environ, "SLURM_CONF": str(conf)}
    with open(folder / "slurmd.out", "wb") as out:
        here.start_controller()
        slurmd = subprocess.Popen(
            ["slurmd", "-D", "-f", str(conf), "-N", node], stdout=out, stderr=out, env=env
        )
    try:
        here.wait()
        yield here
    finally:
        here.call("scancel", "--full", "--user=root")
        time.sleep(0.5)
        stop(slurmd)
        stop(here.slurmctld)
