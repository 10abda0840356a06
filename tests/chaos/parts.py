"""The parts that are killed or frozen, and how each comes back."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from local import server

POLL = """
import asyncio, sys
from flows.poll_worksets import poll_worksets
asyncio.run(poll_worksets(settings=sys.argv[1], until_done=sys.argv[2] == "until done"))
"""
ROOT = Path(__file__).parents[2]


class Pollers:
    """Processes that poll; one that ended is started again, as a service manager would."""

    def __init__(self, site, number):
        self.site = site
        self.logs = 0
        self.running = [self._start() for _ in range(number)]
        self.restarts = 0

    def _start(self, until="for ever"):
        self.logs += 1
        with open(self.site.folder / f"poller-{self.logs}.log", "wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", POLL, self.site.name, until], cwd=ROOT,
                env=self.site.environment, stdout=log, stderr=log,
            )  # fmt: skip

    def look_after(self):
        for n, poller in enumerate(self.running):
            if poller.poll() is not None:
                self.restarts += 1
                self.running[n] = self._start()

    def kill(self, rng):
        rng.choice(self.running).kill()

    def stop_politely(self, rng):
        rng.choice(self.running).terminate()

    def freeze(self, rng):
        return frozen(rng.choice(self.running).pid, rng.uniform(3, 12))

    def anew(self):
        """Kill them all, and have one begin in their place."""
        self.kill_all()
        self.running = [self._start()]

    def end(self):
        """End them all, then let one more work until nothing is left."""
        for poller in self.running:
            with suppress(ProcessLookupError):
                poller.send_signal(signal.SIGCONT)
                poller.terminate()
        for poller in self.running:
            try:
                poller.wait(40)
            except subprocess.TimeoutExpired:
                poller.kill()
                poller.wait()
        last = self._start("until done")
        assert last.wait(120) == 0, "the last poller did not end well"

    def kill_all(self):
        for poller in self.running:
            poller.kill()
            poller.wait()


def frozen(pid, seconds):
    """Freeze a process; returns what wakes it, and when."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)

    def wake():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return time.monotonic() + seconds, wake


def kill_prefect(folder):
    """Kill Prefect's server; what starts it again."""
    running = server.running(folder)
    if running is not None:
        os.killpg(running.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(running.pid, 0)
    return lambda: server.start(folder)


def kill_postgres(folder):
    """Kill PostgreSQL, all of it at once, as a crash of its machine would."""
    pid_file = next((folder / "postgres").rglob("postmaster.pid"), None)
    if pid_file is not None:
        pid = int(pid_file.read_text().split()[0])
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return lambda: server.start(folder)
