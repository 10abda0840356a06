"""Discovery: no place holds up another, and no hiccup loses a workset."""

import pytest
from prefect.logging import disable_run_logger

import blocks.host
from blocks.folders import LocalSource
from blocks.host import Host
from blocks.settings import WorksetSettings
from blocks.sqlite_state_db import SQLiteStateDB
from tasks.discover import discover
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


@pytest.fixture
def here(tmp_path):
    for id_ in ("w1", "w2"):
        (tmp_path / "in" / id_).mkdir(parents=True)
        (tmp_path / "in" / id_ / "daylily_work.yaml").write_text(YAML)
    settings = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={"acme": {}},
        pipelines={"germline": {"run": ["true"]}},
    )  # fmt: skip
    db = Hiccup(path=str(tmp_path / "state.db"))
    here = Host("x", settings, db, ProcessorConfig())
    here.sources = [LocalSource(str(tmp_path / "gone")), LocalSource(str(tmp_path / "in"))]
    return here


async def find(here, seen):
    # set here and not in the fixture: each runs in a context of its own
    token = blocks.host._current.set(here)
    try:
        with disable_run_logger():
            return sorted(await discover.fn(seen))
    finally:
        blocks.host._current.reset(token)


async def test_a_place_that_cannot_be_read_holds_up_no_other(here):
    seen = {}
    assert await find(here, seen) == ["w1", "w2"]
    assert await find(here, seen) == []
    here.sources = here.sources[:1]
    with pytest.raises(ConfigurationError, match="cannot be listed"):
        await find(here, seen)


async def test_a_workset_that_a_hiccup_kept_out_is_found_again_by_the_same_poller(here):
    seen, here.db._fails, here.sources = {}, 1, here.sources[1:]
    with pytest.raises(TransientError):  # the step's own retries come next
        await find(here, seen)
    assert await find(here, seen) == ["w1", "w2"]
    assert len(here.db.ready()) == 2
