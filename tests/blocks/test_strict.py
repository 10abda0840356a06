"""Our blocks refuse keys that they do not have, and still read what an older release has saved."""

import logging

import pytest
from prefect.blocks.core import Block
from pydantic import SecretStr, ValidationError

from blocks.clusters import LocalCluster, SlurmCluster
from blocks.notify import LinearTeam, SnsTopic, SqsQueue
from blocks.settings import WorksetSettings
from blocks.state_db import DynamoDBStateDB, SQLiteStateDB
from blocks.strict import StrictBlock

RIGHT = [
    (SQLiteStateDB, {"path": "/x/state.db"}),
    (DynamoDBStateDB, {"table_name": "t"}),
    (LocalCluster, {"cluster_name": "c", "work_folder": "/x"}),
    (SlurmCluster, {"cluster_name": "c", "work_folder": "/x"}),
    (SnsTopic, {"topic_arn": "arn:aws:sns:us-west-2:1:t"}),
    (SqsQueue, {"queue_url": "https://sqs/q"}),
    (LinearTeam, {"api_key": "k", "team_id": "5d5b3a5e-6d3c-4d6d-8f24-2b4c0d3f1c11"}),
    (
        WorksetSettings,
        {
            "state_db": "x/y",
            "clusters": [],
            "worksets": [],
            "results": "/r",
            "customers": {},
            "pipelines": {},
        },
    ),
]


def names(kind_and_values):
    return kind_and_values[0].__name__


@pytest.mark.parametrize(("kind", "values"), RIGHT, ids=map(names, RIGHT))
class TestEach:
    def test_a_key_that_is_none_of_its_own_is_refused(self, kind, values):
        kind(**values)
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            kind(**values, nonsense=1)

    def test_what_it_writes_out_it_reads_again(self, kind, values):
        block = kind(**values)
        written = block.model_dump(context={"include_secrets": True})
        assert kind(**written).model_dump() == block.model_dump()
        assert isinstance(Block(**written), kind)

    def test_another_blocks_slug_is_refused(self, kind, values):
        with pytest.raises((ValidationError, ValueError)):
            kind(**values, block_type_slug="local-file-system")

    def test_a_stored_key_of_an_older_release_is_told_and_left_out(self, kind, values, caplog):
        with caplog.at_level(logging.WARNING):
            stored = kind.model_validate({**values, "gone_since": 1})
        assert stored.model_dump() == kind(**values).model_dump()
        assert "gone_since" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0, 1e9])
@pytest.mark.parametrize("key", ["memory_gb_per_workset", "poll_min_s", "poll_max_s"])
def test_a_clusters_numbers_have_bounds(key, value):
    with pytest.raises(ValidationError, match=key):
        LocalCluster(cluster_name="c", work_folder="/x", **{key: value})


def test_the_longest_pause_is_not_below_the_shortest():
    with pytest.raises(ValidationError, match="poll_max_s"):
        LocalCluster(cluster_name="c", work_folder="/x", poll_min_s=10, poll_max_s=1)


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", "x" * 65])
def test_a_clusters_name_is_a_name(name):
    with pytest.raises(ValidationError, match="cluster_name"):
        LocalCluster(cluster_name=name, work_folder="/x")


@pytest.mark.parametrize("value", [0.01, 2.9, 86_401, float("inf"), float("nan")])
def test_a_lease_lasts_3_seconds_to_a_day(value):
    with pytest.raises(ValidationError, match="lease_s"):
        WorksetSettings(**dict(RIGHT[-1][1]), lease_s=value)


@pytest.mark.parametrize(("kind", "values"), RIGHT, ids=map(names, RIGHT))
def test_the_schema_that_is_kept_is_the_one_that_would_be_made(kind, values):
    kind(**values)
    for asked in ({}, {"mode": "serialization"}, {"by_alias": False}):
        fresh = super(StrictBlock, kind).model_json_schema(**asked)
        assert kind.model_json_schema(**asked) == fresh
    spoiled = kind.model_json_schema()
    spoiled["properties"].clear()
    assert kind.model_json_schema()["properties"], "whoever asks may change what he is given"


def test_a_schema_is_made_once_for_each_class(monkeypatch):
    made = []
    theirs = Block.model_json_schema.__func__

    def counted(cls, *args, **options):
        made.append(cls)
        return theirs(cls, *args, **options)

    monkeypatch.setattr(Block, "model_json_schema", classmethod(counted))

    class Two(StrictBlock):
        first: str = "1"
        second: SecretStr = SecretStr("2")

    class More(Two):
        third: int = 3

    for kind in (Two, More):
        kind.model_json_schema()
    made.clear()
    for kind in (Two, More):
        assert kind.model_json_schema()["secret_fields"] == ["second"]
    assert set(More.model_json_schema()["properties"]) == {"first", "second", "third"}
    assert made == []
