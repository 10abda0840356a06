"""Places that tell of news: soon, of what matters, and in no way that could hurt."""

import asyncio
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import host.following
from blocks.folders import LocalSource
from host.following import Following
from worksets.errors import TransientError

SOON_S = 10.0
"""Far more than it takes; a full cycle is not begun in these tests at all."""
NEVER_S = 2.5
"""Longer than a watch takes to tell."""


class Told:
    """The roots that were told of, and a way to wait for the next one."""

    def __init__(self):
        self.roots = asyncio.Queue()

    async def next(self):
        return await asyncio.wait_for(self.roots.get(), SOON_S)

    async def nothing(self):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.roots.get(), NEVER_S)


@pytest.fixture
async def told():
    return Told()


@pytest.fixture
async def following(told):
    following = Following(lambda root, _names: told.roots.put_nowait(root))
    yield following
    following.stop()


@pytest.fixture
def incoming(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def deliver(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "daylily_work.yaml").write_text("samples: []\n")


async def test_a_folder_that_is_moved_in_is_told_of(told, following, incoming, tmp_path):
    source = LocalSource(str(incoming))
    following.begin([source], {})
    await asyncio.sleep(0.5)
    deliver(tmp_path / "made" / "w1")
    (tmp_path / "made" / "w1").rename(incoming / "w1")
    assert await told.next() == source.root
    await told.nothing()


async def test_the_file_that_comes_last_is_told_of_and_what_comes_before_it_is_not(
    told, following, incoming
):
    following.begin([LocalSource(str(incoming))], {})
    (incoming / "w1").mkdir()
    for n in range(3):
        (incoming / "w1" / f"lane{n}.fq").write_text("@a\n")
    await told.nothing()
    deliver(incoming / "w1")
    await told.next()
    (incoming / "w1" / "daylily_work.yaml").write_text("samples: [1]\n")
    await told.nothing()


async def test_none_of_many_that_come_at_once_is_missed(told, following, incoming):
    """Each folder gets its file at another moment of a watch that begins anew."""
    following.begin([LocalSource(str(incoming))], {})

    def many():
        for n in range(60):
            (incoming / f"w{n}").mkdir()
            threading.Event().wait(0.02 * (n % 4))
            deliver(incoming / f"w{n}")

    await asyncio.to_thread(many)
    last = set()
    while len(last) < 60:  # what a look, begun when it was told, would find
        await told.next()
        last = {f.name for f in incoming.iterdir() if (f / "daylily_work.yaml").exists()}
    await asyncio.sleep(NEVER_S)
    deliver(incoming / "w60")
    await told.next()


async def test_what_has_come_before_it_is_told_of_once(told, following, incoming):
    deliver(incoming / "w1")
    source = LocalSource(str(incoming))
    following.begin([source], {})
    await told.next()
    following.begin([source], {})
    await told.nothing()


async def test_a_link_is_not_followed(told, following, incoming, tmp_path):
    """Who delivers could lead us all over the file system."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (incoming / "link").symlink_to(elsewhere)
    (incoming / "w1").mkdir()
    (incoming / "w1" / "all").symlink_to("/")
    following.begin([LocalSource(str(incoming))], {})
    await asyncio.sleep(NEVER_S)
    (elsewhere / "daylily_work.yaml").write_text("samples: []\n")
    await told.nothing()
    assert 1 <= len(_watches()) <= 2


def _watches():
    """The folders that this process has the kernel watch."""
    found = []
    for entry in os.listdir("/proc/self/fdinfo"):
        try:
            with open(f"/proc/self/fdinfo/{entry}") as info:
                found += [line for line in info if line.startswith("inotify wd:")]
        except OSError:
            continue
    return found


async def test_a_folder_that_goes_while_it_is_waited_for_ends_nothing(told, following, incoming):
    following.begin([LocalSource(str(incoming))], {})
    (incoming / "w1").mkdir()
    await asyncio.sleep(NEVER_S)
    shutil.rmtree(incoming / "w1")
    await asyncio.sleep(0.5)
    deliver(incoming / "w2")
    await told.next()


async def test_a_place_that_is_made_anew_is_followed_on(told, following, incoming):
    """As one is that is mounted again."""
    following.begin([LocalSource(str(incoming))], {})
    await asyncio.sleep(NEVER_S)
    incoming.rename(incoming.with_name("was"))
    incoming.mkdir()
    await asyncio.sleep(NEVER_S)
    deliver(incoming / "w1")
    await told.next()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_folder_that_may_not_be_read_costs_no_other(told, following, incoming):
    (incoming / "secret").mkdir(mode=0)
    (incoming / "w1").mkdir()
    following.begin([LocalSource(str(incoming))], {})
    await asyncio.sleep(NEVER_S)
    deliver(incoming / "w1")
    await told.next()


NO_FILES_LEFT = """
import os, resource, sys, threading
from pathlib import Path
from blocks.folders.local_events import told
from worksets.errors import TransientError
free = os.open("/dev/null", os.O_RDONLY)
os.close(free)
# one for the listing, none for the kernel's answers
resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))
try:
    next(told(Path(sys.argv[1]), threading.Event()))
except TransientError as error:
    print(error)
"""


def test_a_limit_of_the_system_is_told_with_its_name(incoming):
    done = subprocess.run(
        [sys.executable, "-c", NO_FILES_LEFT, str(incoming)], capture_output=True, text=True,
        cwd=Path(__file__).parents[2], timeout=60,
    )  # fmt: skip
    assert f"{incoming} cannot be watched" in done.stdout, done.stderr
    assert "fs.inotify.max_user_instances" in done.stdout


async def test_a_place_that_cannot_tell_is_named_once_and_asked_again_later(
    told, following, incoming, monkeypatch, caplog
):
    asked = []

    class Full(LocalSource):
        def changes(self, stop, queue):
            asked.append(stop)
            return self._fails()

        def _fails(self):
            raise TransientError("OS file watch limit reached")
            yield

    source = Full(str(incoming))
    with caplog.at_level(logging.WARNING):
        following.begin([source], {})
        await asyncio.sleep(0.2)
        following.begin([source], {})
        assert len(asked) == 1, "it rests"
        monkeypatch.setattr(host.following, "REST_S", 0.0)
        following.begin([source], {})
        await asyncio.sleep(0.2)
    assert len(asked) == 2
    assert [r.getMessage() for r in caplog.records if "watch limit" in r.getMessage()] == [
        f"what is new in {source.root} is found by the looks of each cycle only, for now: "
        "OS file watch limit reached"
    ]


async def test_a_place_that_is_not_watched_any_more_is_let_go_of(told, following, incoming):
    following.begin([LocalSource(str(incoming))], {})
    await asyncio.sleep(NEVER_S)
    following.begin([], {})
    await asyncio.sleep(NEVER_S)
    deliver(incoming / "w1")
    await told.nothing()
    assert not [t for t in threading.enumerate() if t.name.startswith("follows ")]
