"""`make run` on a real terminal, by tmux: the display is whole, whatever its size (D13, F7)."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml

from tests.real.conftest import ROOT
from tests.real.test_seams import SETTINGS, Here
from tests.services import need

pytestmark = [pytest.mark.real, pytest.mark.slow]
TOP, ROW, BOTTOM = "┏", "│", "└"


class Terminal:
    """A terminal of so many columns and lines, in which a command runs."""

    def __init__(self, folder, columns, lines, environment, command):
        self.tmux = [
            "tmux",
            "-S",
            f"/tmp/worksets-test-{os.getpid()}-{columns}",
        ]  # ≤ 107 characters
        self.code = folder / "code"
        shell = f"{command}; echo $? > {self.code}; sleep 60"
        own = ["-u", "COLUMNS", "-u", "LINES", *[f"{k}={v}" for k, v in environment.items()]]
        self.call("-f", os.devnull, "new-session", "-d", "-x", f"{columns}", "-y", f"{lines}",
                  "-c", f"{folder}", "env", *own, "sh", "-c", shell)  # fmt: skip

    def call(self, *arguments):
        done = subprocess.run([*self.tmux, *arguments], capture_output=True, text=True, check=True)
        return done.stdout

    def screen(self, *options):
        return self.call("capture-pane", "-p", *options).rstrip("\n").split("\n")

    def close(self):
        subprocess.run([*self.tmux, "kill-server"], check=False, capture_output=True)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (100, 40), (132, 15)])
def test_the_display_is_whole_on_a_terminal_of_any_size(
    prefect_server, site, tmp_path, columns, lines
):
    need(shutil.which("tmux"), "tmux")
    here = Here(site)
    for n in range(30):
        here.deliver(f"a-workset-with-a-long-name-{n:02}", pipeline="sleeps")
    here.deliver("bad", pipeline="bad-data")
    many = {"type": "local-cluster", "max_concurrent_worksets": 5}
    settings = {
        **SETTINGS,
        "processor": {"max_concurrent_worksets": 10},
        "clusters": [{**many, "cluster_name": name, "work_folder": name} for name in ("a", "b")],
    }
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    environment = {**site.environment, "PYTHONPATH": f"{ROOT}", "TERM": "tmux-256color"}
    # of the terminal in which the tests run
    theirs = ("NO_COLOR", "COLUMNS", "LINES")
    environment = {k: v for k, v in environment.items() if k not in theirs}
    command = f"{sys.executable} -m local.run --settings settings.yaml --run-dir run"
    terminal = Terminal(tmp_path, columns, lines, environment, command)
    try:
        shown = 0
        deadline = time.monotonic() + 120
        while not terminal.code.exists():
            assert time.monotonic() < deadline, terminal.screen()
            shown += whole(terminal.screen(), columns)
            time.sleep(0.25)
        assert shown >= 5, "the display was seen while it changed"
        time.sleep(0.5)
        history = terminal.screen("-S", "-")
    finally:
        terminal.close()
    assert terminal.code.read_text() == "1\n"
    said = "\n".join(history)
    # one table, the last one: nothing of the display that changed is left behind
    assert sum(line.startswith(TOP) for line in history) == 1
    assert sum(line.startswith(BOTTOM) for line in history) == 1
    assert sum("a-workset-with-a-l" in line for line in history) == 30
    assert not re.search("of 31 have ended", said), "the bar is gone"
    flat = said.replace("\n", "")
    assert "the input is damaged" in flat and "worksets retry bad" in flat


def whole(screen, columns):
    """Whether the display is on this screen; it is whole then."""
    tops = [n for n, line in enumerate(screen) if line.startswith(TOP)]
    ends = [n for n, line in enumerate(screen) if re.search(r"\d+ of \d+ have ended", line)]
    if not tops or not ends:
        return False
    [top], [end] = tops, ends
    table = screen[top:end]
    assert table[2][0] in "┡└" and table[-1].startswith(BOTTOM), screen
    assert all(line.startswith(ROW) and line.endswith(ROW) for line in table[3:-1]), screen
    assert len({len(line) for line in table}) == 1 and len(table[0]) <= columns, screen
    assert "workset" in table[1] and "why" in table[1]
    return True
