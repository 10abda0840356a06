"""A disk of a cluster that fills: what may go goes at once, and the next attempt has room."""

import subprocess
from contextlib import contextmanager

import pytest

from tests.services import need_root
from worksets.record import State

pytestmark = [pytest.mark.real, pytest.mark.slow]

FILLS = 'dd if=/dev/zero of="$0/big" bs=1M count=3 status=none'
"""Three MB of results; where there is no room for them, the disk is full to the last byte."""
TIDY = f'SAID=$({FILLS} 2>&1) || {{ rm "$0/big"; echo "$SAID"; exit 1; }}'
"""The same, by one that makes room again: on a full disk there would be no log of it either."""


@contextmanager
def small_disk(folder, size):
    """A file system of its own, so large, in a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def configured(site, run, keep):
    cluster = {
        "type": "local-cluster", "cluster_name": f"{site.name}-c0", "max_concurrent_worksets": 1,
        "work_folder": "disk/work",
    }  # fmt: skip
    pipelines = {"sleep-1": {"run": ["sh", "-c", run, "{results}"]}}
    site.configure(overrides={"clusters": [cluster], "pipelines": pipelines, "keep": keep})


def test_what_may_go_goes_and_the_retry_has_room(site):
    need_root("a small file system")
    with small_disk(site.folder / "disk", "5M"):
        configured(site, FILLS, {"inputs_days": 0, "results_days": 0})
        for id_ in ("first", "second", "third"):
            site.add(id_, 1)
            site.finish(site.poller())
            record = site.db.get(id_)
            assert record.state is State.COMPLETE, record.error_details
            exported = site.folder / "results" / "acme" / id_ / "big"
            assert exported.stat().st_size == 3 * 1024 * 1024
        assert len(list((site.folder / "disk" / "work").glob("*/L1/results/big"))) == 1
        assert site.db.get("second").attempt > 1 and site.db.get("third").attempt > 1


def test_where_nothing_may_go_it_is_a_dead_letter_that_says_so(site):
    need_root("a small file system")
    with small_disk(site.folder / "disk", "5M"):
        configured(site, TIDY, {"inputs_days": 0, "results_days": 30})
        for id_ in ("first", "second"):
            site.add(id_, 1, max_retries=1)
            site.finish(site.poller())
        record = site.db.get("second")
        assert (record.state, record.error_category) == (State.FAILED, "resource")
        assert "make room in the work folder" in record.error_details
        [left] = (site.folder / "disk" / "work").glob("first.*/L1/results/big")
        assert left.stat().st_size == 3 * 1024 * 1024, "what is kept for a month is there"
