"""Discovery: no place, folder or hiccup holds up another, and none loses a workset."""

import asyncio
import logging
import os
import threading
import time
from itertools import pairwise

import pytest
from prefect.logging import disable_run_logger

import host.opening
import tasks.discover
import tasks.discovery
import tasks.validate
import worksets.listing
from blocks.folders import Found, LocalSource
from blocks.settings import WorksetSettings
from blocks.state_db import SQLiteStateDB
from host import Host
from host.places import AT_ONCE, Place
from host.threads import LooseThreads
from tasks.discovery import Discovery
from worksets.config import ProcessorConfig
from worksets.errors import ConfigurationError, TransientError

YAML = "samples: [{sample_id: s1, fastq_r1: a.fq}]\nreference_genome: hg38\ncustomer_id: acme\n"


class Hiccup(SQLiteStateDB):
    """Fails the next registrations, as a state DB out of reach does."""

    _block_type_slug = "hiccup-state-db"
    _fails: int = 0

    def register(self, record):
        if self._fails:
            self._fails -= 1
            raise TransientError("no answer")
        return super().register(record)


class Share(LocalSource):
    """A folder on a share: what lies in `hangs` (or all of it) does not answer until it is back."""

    def __init__(self, path, hangs=None):
        super().__init__(path)
        self.hangs, self.back, self.asked = hangs, threading.Event(), 0

    def find(self, cursor):
        if self.hangs is None:
            self.asked += 1
            self.back.wait(30)
        return super().find(cursor)

    def open(self, location):
        if self.hangs and location.endswith(self.hangs):
            self.asked += 1
            self.back.wait(30)
        return super().open(location)


def watch(here, *sources):
    here.places._known = {
        source.root: Place(source, LooseThreads(AT_ONCE, source.root)) for source in sources
    }


@pytest.fixture
def incoming(tmp_path):
    for id_ in ("w1", "w2"):
        (tmp_path / "in" / id_).mkdir(parents=True)
        (tmp_path / "in" / id_ / "daylily_work.yaml").write_text(YAML)
    return tmp_path / "in"


@pytest.fixture
def here(tmp_path, incoming):
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={"acme": {}},
        pipelines={"germline": {"run": ["true"]}},
    )  # fmt: skip
    db = Hiccup(path=str(tmp_path / "state.db"))
    here = Host("x", settings, db, ProcessorConfig())
    watch(here, LocalSource(str(tmp_path / "gone")), LocalSource(str(incoming)))
    return here


@pytest.fixture
def looking(monkeypatch, here):
    """A discovery, and how often it has called."""
    monkeypatch.setattr(tasks.discovery, "discover", tasks.discover.discover.fn)
    woken = []
    yield Discovery(here, lambda: woken.append(time.monotonic())), woken


async def look(here, discovery, wait_s=20.0):
    # set here and not in the fixture: each runs in a context of its own
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            discovery.begin()
            await asyncio.wait([task for _, task in discovery._looks.values()], timeout=wait_s)
            await asyncio.sleep(0)
    finally:
        host.opening._current.reset(token)


def ready(here):
    return sorted(record.workset_id for record in here.db.ready())


async def test_a_place_that_cannot_be_read_holds_up_no_other(here, looking):
    discovery, woken = looking
    await look(here, discovery)
    assert ready(here) == ["w1", "w2"] and len(woken) == 1
    assert discovery.error is None
    await look(here, discovery)
    assert len(woken) == 1, "nothing is new"
    watch(here, here.places.sources[0])
    await look(here, discovery)
    assert isinstance(discovery.error, ConfigurationError), "nothing can be found anywhere"


async def test_a_workset_that_a_hiccup_kept_out_is_found_again_by_the_same_poller(here, looking):
    here.db._fails = 1
    await look(here, looking[0])
    assert len(ready(here)) == 1
    await look(here, looking[0])
    assert ready(here) == ["w1", "w2"]


async def test_a_link_to_itself_a_fifo_and_a_socket_stop_only_themselves(here, incoming, looking):
    """B1, B2."""
    (incoming / "loop").symlink_to("loop")
    (incoming / "fifo").mkdir()
    os.mkfifo(incoming / "fifo" / "daylily_work.yaml")
    (incoming / "itself").mkdir()
    (incoming / "itself" / "daylily_work.yaml").symlink_to("daylily_work.yaml")
    await look(here, looking[0])
    assert {"w1", "w2"} <= set(ready(here))
    assert looking[0].error is None


async def test_a_folder_that_hangs_is_let_go_of_and_named_and_found_when_it_is_back(
    here, incoming, looking, monkeypatch, caplog
):
    """B3."""
    monkeypatch.setattr(tasks.discover, "FOLDER_S", 0.3)
    monkeypatch.setattr(tasks.discover, "get_run_logger", lambda: logging.getLogger("run"))
    share = Share(str(incoming), hangs="w1")
    watch(here, share)
    await look(here, looking[0])
    assert ready(here) == ["w2"]
    assert f"{share.root}/w1 did not answer for 0.3 s" in caplog.text
    for _ in range(20):  # more than the threads of a place
        await look(here, looking[0])
    assert share.asked == 1, "while one look hangs there, none is begun anew"
    new = incoming / "w3"
    new.mkdir()
    (new / "daylily_work.yaml").write_text(YAML)
    await look(here, looking[0])
    assert ready(here) == ["w2", "w3"]
    share.back.set()
    await asyncio.sleep(0.1)
    await look(here, looking[0])
    assert ready(here) == ["w1", "w2", "w3"]


async def test_a_share_that_hangs_stands_before_nothing(here, incoming, looking):
    """B3: other places, the loop, the lease and the state DB do not notice."""
    share = Share(str(incoming))
    other = incoming.parent / "other"
    (other / "w3").mkdir(parents=True)
    (other / "w3" / "daylily_work.yaml").write_text(YAML)
    watch(here, share, LocalSource(str(other)))
    gaps = [time.monotonic()]

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic())

    ticking = asyncio.create_task(tick())
    for _ in range(3):
        await look(here, looking[0], wait_s=0.3)
    ticking.cancel()
    assert ready(here) == ["w3"] and share.asked == 1, "one look hangs, no second is begun"
    assert max(b - a for a, b in pairwise(gaps)) < 0.2, "the loop stood still"
    assert 0 < looking[0].looks_for_s() <= tasks.discovery.LOOK_S
    share.back.set()


async def test_a_place_that_cannot_be_read_is_told_once_and_looked_at_ever_less_often(
    here, incoming, looking, caplog, monkeypatch
):
    monkeypatch.setattr(tasks.discovery, "run_log", lambda: logging.getLogger("run"))
    caplog.set_level(logging.INFO)
    clock, source, asked = [0.0], LocalSource(str(incoming)), []
    real = source.find
    away = [True]

    def find(cursor):
        asked.append(clock[0])
        if away[0]:
            raise ConfigurationError("the folder of worksets /in cannot be listed: Stale handle")
        return real(cursor)

    source.find = find
    watch(here, source)
    loop = asyncio.get_running_loop()
    began = loop.time()
    monkeypatch.setattr(loop, "time", lambda: began + clock[0])
    for second in range(0, 600, 30):
        clock[0] = second
        await look(here, looking[0])
    assert asked == [0, 30, 60, 90, 120, 180, 270, 420]
    told = [r for r in caplog.records if "is passed over" in r.getMessage()]
    assert len(told) == 1 and "Stale handle" in told[0].getMessage()
    away[0], clock[0] = False, 2000
    await look(here, looking[0])
    assert ready(here) == ["w1", "w2"] and "can be looked at again" in caplog.text


async def test_threads_that_hang_do_not_run_dry_and_are_not_begun_without_end():
    back, call = threading.Event(), LooseThreads(2, "a share")
    for _ in range(16):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await call(back.wait, 30)
    with pytest.raises(TransientError, match="16 calls hang there"):
        await call(int)
    back.set()
    for _ in range(200):
        if not call._hanging:
            break
        await asyncio.sleep(0.01)
    assert await call(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await call(int, "x")


class Bucket(LocalSource):
    """Lists a few of its folders in turn, as S3 does, with or without their file."""

    def find(self, cursor):
        everything = sorted(path.name for path in self.path.iterdir())
        at = int(cursor or 0)
        page = everything[at : at + 2]
        after = str(at + 2) if at + 2 < len(everything) else ""
        return [Found(name, f"{self.root}/{name}") for name in page], after


async def test_a_file_that_comes_last_is_found_in_the_next_cycle(here, incoming, looking):
    """B12: beside many finished folders, and by another process too."""
    for n in range(40):
        (incoming / f"x{n:02d}").mkdir()
    (incoming / "a-late").mkdir()
    watch(here, Bucket(str(incoming)))
    await look(here, looking[0])
    assert here.db.pending(here.places.sources[0].root) == ["a-late"]
    (incoming / "a-late" / "daylily_work.yaml").write_text(YAML)
    await look(here, Discovery(here, lambda: None))
    assert "a-late" in ready(here)
    assert "a-late" not in here.db.pending(here.places.sources[0].root)


@pytest.fixture
def asked(monkeypatch, here):
    """Many folders in small chunks; what the state DB is asked for, and nothing by chance."""
    monkeypatch.setattr(tasks.discovery, "discover", tasks.discover.discover.fn)
    monkeypatch.setattr(worksets.listing, "NAMES", 4)
    monkeypatch.setattr(tasks.discover, "SAMPLE", 0)
    ids, real = [], here.db.known
    known = lambda some: ids.extend(some) or real(some)  # noqa: E731
    object.__setattr__(here.db, "known", known)
    return ids


def deliver(incoming, *names):
    for name in names:
        (incoming / name).mkdir()
        (incoming / name / "daylily_work.yaml").write_text(YAML)


async def look_anew(here, asked):
    """As a poll of one cycle does, in a new process; what it asks for."""
    asked.clear()
    await look(here, Discovery(here, lambda: None), wait_s=120)
    return set(asked)


async def test_a_new_process_asks_only_for_the_chunks_that_are_not_settled(here, incoming, asked):
    deliver(incoming, *(f"x{n:02d}" for n in range(30)))
    watch(here, LocalSource(str(incoming)))
    assert len(await look_anew(here, asked)) == 32
    assert len(await look_anew(here, asked)) < worksets.listing.FEW
    (incoming / "x17" / "daylily_work.yaml").write_text(YAML + "priority: high\n")
    for _ in range(2):  # it has not ended: what it is compared with may still be read
        again = await look_anew(here, asked)
        assert "x17" in again and len(again) < 20
    deliver(incoming, "x17a")
    assert "x17a" in await look_anew(here, asked)
    assert "x17a" in ready(here)


async def test_what_a_hiccup_kept_out_is_found_by_the_next_process(here, incoming, asked):
    deliver(incoming, *(f"x{n:02d}" for n in range(12)))
    watch(here, LocalSource(str(incoming)))
    here.db._fails = 3
    await look_anew(here, asked)
    assert len(ready(here)) == 11
    await look_anew(here, asked)
    assert len(ready(here)) == 14


async def test_a_folder_that_waits_for_its_file_leaves_its_chunk_settled(here, incoming, asked):
    deliver(incoming, *(f"x{n:02d}" for n in range(12)))
    (incoming / "x05a").mkdir()
    watch(here, Whole(str(incoming)))
    await look_anew(here, asked)
    await look_anew(here, asked)  # now it is known that x05a waits
    few = await look_anew(here, asked)
    assert "x05a" in few and len(few) <= worksets.listing.FEW
    (incoming / "x05a" / "daylily_work.yaml").write_text(YAML)
    await look_anew(here, asked)
    assert "x05a" in ready(here)


async def test_a_new_delivery_to_what_has_ended_is_told_by_a_new_process(here, incoming, asked):
    deliver(incoming, *(f"x{n:02d}" for n in range(12)))
    watch(here, LocalSource(str(incoming)))
    await look_anew(here, asked)
    here.db.ignore("x05", "a test")
    await look_anew(here, asked)
    (incoming / "x05" / "daylily_work.yaml").write_text(YAML + "priority: high\n")
    await look_anew(here, asked)
    assert here.db.get("x05").redelivered


async def test_of_two_folders_of_one_name_the_second_is_never_settled(here, incoming, asked):
    deliver(incoming, *(f"x{n:02d}" for n in range(6)))
    other = incoming.parent / "other"
    other.mkdir()
    deliver(other, *(f"x{n:02d}" for n in range(6)))
    watch(here, LocalSource(str(incoming)))
    await look_anew(here, asked)
    watch(here, LocalSource(str(other)))
    for _ in range(2):
        assert len(await look_anew(here, asked)) == 6


class Whole(LocalSource):
    """Lists folders whether or not they hold a file, without a stamp, as S3 does."""

    def find(self, cursor):
        names = sorted(path.name for path in self.path.iterdir())
        return [Found(name, f"{self.root}/{name}") for name in names], ""


async def test_what_nobody_has_foreseen_of_one_folder_stops_only_that_folder(
    here, incoming, looking, monkeypatch
):
    """A number that Python cannot write out; and whatever else a YAML may make us raise."""
    (incoming / "odd").mkdir()
    (incoming / "odd" / "daylily_work.yaml").write_text(f"{YAML}priority: 0x{'f' * 5000}\n")
    (incoming / "w0").mkdir()
    (incoming / "w0" / "daylily_work.yaml").write_text("unforeseen")
    whole = tasks.validate.parse_spec

    def parse(data, sheet):
        if data == b"unforeseen":
            raise RuntimeError("a fault of ours")
        return whole(data, sheet=sheet)

    monkeypatch.setattr(tasks.validate, "parse_spec", parse)
    await look(here, looking[0])
    assert ready(here) == ["odd", "w0", "w1", "w2"], "its validation says what is wrong"
    assert here.db.get("odd").customer_id, "F5: a redrive by customer finds it"
    assert len(looking[1]) == 1


async def test_a_look_at_which_we_fail_is_told_and_holds_up_no_other(
    here, incoming, looking, monkeypatch, caplog
):
    monkeypatch.setattr(tasks.discover, "get_run_logger", lambda: logging.getLogger("run"))
    share = LocalSource(str(incoming))
    whole = here.db.register

    def registered(record):
        if record.workset_id == "w1":
            raise RuntimeError("a fault of ours")
        return whole(record)

    watch(here, share)
    object.__setattr__(here.db, "register", registered)
    await look(here, looking[0])
    assert ready(here) == ["w2"] and len(looking[1]) == 1
    assert f"{share.root}/w1 could not be looked at" in caplog.text
    object.__setattr__(here.db, "register", whole)
    await look(here, looking[0])
    assert ready(here) == ["w1", "w2"]


async def until(true, seconds=10.0):
    for _ in range(int(seconds * 50)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("not within the time")


async def test_what_is_moved_in_is_found_at_once_and_not_when_the_next_cycle_comes(
    here, incoming, looking, tmp_path
):
    discovery, woken = looking
    discovery.follows = True
    await look(here, discovery)
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            await asyncio.sleep(0.5)
            (tmp_path / "made").mkdir()
            (tmp_path / "made" / "daylily_work.yaml").write_text(YAML)
            (tmp_path / "made").rename(incoming / "w3")
            before = len(woken)
            await until(lambda: ready(here) == ["w1", "w2", "w3"])
            await until(lambda: len(woken) > before)
    finally:
        host.opening._current.reset(token)
        discovery.stop()


async def test_news_that_comes_during_a_look_is_looked_for_after_it_and_once(
    here, incoming, looking, monkeypatch
):
    monkeypatch.setattr(tasks.discovery, "APART", 0)
    discovery, share = looking[0], Share(str(incoming))
    watch(here, share)
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            discovery.begin()
            await until(lambda: share.asked == 1)
            for _ in range(5):
                discovery.changed(share.root)
            await asyncio.sleep(0.2)
            assert share.asked == 1, "one look at a time"
            share.back.set()
            await until(lambda: share.asked == 2)
            await asyncio.sleep(0.2)
            assert share.asked == 2
            discovery.changed("file:///nowhere")  # it was watched until just now
            await asyncio.sleep(0.1)
    finally:
        host.opening._current.reset(token)


async def test_a_place_full_of_news_is_not_looked_at_without_a_pause(here, incoming, looking):
    discovery, source = looking[0], LocalSource(str(incoming))
    looks, real = [], source.find

    def slow(cursor):
        looks.append(time.monotonic())
        time.sleep(0.1)
        return real(cursor)

    source.find = slow
    watch(here, source)
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            discovery.begin()
            for _ in range(100):
                discovery.changed(source.root)
                await asyncio.sleep(0.02)
            await asyncio.wait([task for _, task in discovery._looks.values()])
    finally:
        host.opening._current.reset(token)
    assert 2 <= len(looks) <= 5
    assert all(b - a >= 0.1 * tasks.discovery.APART for a, b in pairwise(looks))


async def test_a_folder_that_a_bucket_names_is_found_though_its_turn_has_not_come(
    here, incoming, looking
):
    discovery = looking[0]
    for n in range(40):
        (incoming / f"x{n:02d}").mkdir()
    (incoming / "y-late").mkdir()
    (incoming / "y-late" / "daylily_work.yaml").write_text(YAML)
    source = Bucket(str(incoming))
    watch(here, source)
    await look(here, discovery)
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            assert "y-late" not in ready(here)
            discovery.changed(source.root, frozenset({"y-late"}))
            discovery.changed(source.root, frozenset({"x00"}))
            await until(lambda: "y-late" in ready(here))
            # named, and its file is not there yet
            await until(lambda: "x00" in here.db.pending(source.root))
    finally:
        host.opening._current.reset(token)


async def test_a_folder_that_was_named_is_not_forgotten_by_a_look_that_fails(
    here, incoming, looking
):
    discovery, source = looking[0], Bucket(str(incoming))
    for n in range(40):
        (incoming / f"x{n:02d}").mkdir()
    (incoming / "y-late").mkdir()
    (incoming / "y-late" / "daylily_work.yaml").write_text(YAML)
    real, source.find = source.find, lambda cursor: (_ for _ in ()).throw(TransientError("away"))
    watch(here, source)
    token = host.opening._current.set(here)
    try:
        with disable_run_logger():
            discovery.begin()
            await asyncio.wait([task for _, task in discovery._looks.values()])
            discovery.changed(source.root, frozenset({"y-late"}))
            await until(lambda: not discovery._told)
    finally:
        host.opening._current.reset(token)
    source.find = real
    discovery._rests.clear()
    await look(here, discovery)
    assert "y-late" in ready(here)


async def test_a_queue_of_a_place_that_is_not_watched_is_named_once(
    here, incoming, looking, caplog, monkeypatch
):
    monkeypatch.setattr(tasks.discovery, "run_log", lambda: logging.getLogger("run"))
    discovery, source = looking[0], LocalSource(str(incoming))
    watch(here, source)
    here.settings.bucket_events = {"s3://our-data/typo": "https://sqs.us-west-2.amazonaws.com/1/q"}
    here.settings.worksets = ["a", "b"]
    assert discovery._queues() and "typo" not in caplog.text, "a place cannot be opened now"
    here.settings.worksets = ["a"]
    for _ in range(3):
        discovery._queues()
    assert caplog.text.count("s3://our-data/typo is none of the watched places") == 1
