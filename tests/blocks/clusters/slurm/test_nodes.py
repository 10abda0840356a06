"""What Slurm's words of nodes and partitions mean; the lines are those of a real sinfo."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.clusters import SlurmCluster
from blocks.clusters.slurm.nodes import (
    UNBOUND,
    Node,
    Partition,
    Size,
    ceilings,
    chosen,
    parse_gpus,
    parse_limit,
    parse_nodes,
    sizes_of,
)

SINFO = """\
n1|64000|idle|0/64/0/64|main*|infinite|50000|gpu:2
n1|64000|idle|0/64/0/64|short|1:30:00|50000|gpu:2
n2|512000+|mixed|8/24/0/32|short|1:30:00|0|(null)|drain
"""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("infinite", UNBOUND), ("n/a", UNBOUND), ("", UNBOUND), ("30:00", 30), ("8:00:00", 480),
        ("1-00:00:00", 1440), ("2-12:30:00", 3630), ("0:30", 0),
    ],
)  # fmt: skip
def test_time_limits(text, minutes):
    assert parse_limit(text) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("(null)", 0), ("gpu:2", 2), ("gpu:a100:4(S:0-1)", 4), ("gpu:a100:4(S:0-1),gpu:t4:2", 6),
        ("gpu:no_consume:2", 2), ("gpu:a100:no_consume:3(S:0)", 3),
        ("lustre:1,gpu:1", 1), ("gpus:3", 0), ("xgpu:2", 0), ("gpu", 0),
    ],
)  # fmt: skip
def test_gpus(gres, gpus):
    assert parse_gpus(gres) == gpus


def test_each_node_and_partition_is_read():
    first, second, third = parse_nodes(SINFO)
    assert first == Node("n1", "idle", 64000, 0, 64, 0, "main", True, UNBOUND, 50000, 2)
    assert (second.partition, second.default, second.minutes) == ("short", False, 90)
    assert third.size == Size(32, 512, 90, 0, 0, False)
    assert [node.takes_jobs for node in parse_nodes(SINFO)] == [True, True, False]
    assert chosen([first, second, third], []) == [first]
    assert chosen([second, third], []) == [second, third], "no default: the cluster chooses"
    assert chosen([first, second, third], ["short"]) == [second, third]


@given(st.text())
def test_rubbish_is_passed_over(text):
    parse_nodes(text)
    assert parse_limit(text) >= 0 and parse_gpus(text) >= 0
    assert len(parse_nodes(f"{text}\nn1|64000|idle|0/64/0/64\n")) >= 1


numbers = st.integers(0, 3).map(float)
sizes = st.builds(Size, numbers, numbers, numbers, numbers, numbers, st.booleans())


@given(st.lists(sizes, max_size=8))
def test_what_fits_a_node_fits_one_of_the_sizes_that_are_kept(found):
    nodes = [
        Node(f"n{n}", "idle" if s.open else "down", int(s.memory_gb * 1000), 0, int(s.vcpus), 0,
             "p", False, s.minutes, int(s.scratch_gb * 1000), int(s.gpus))
        for n, s in enumerate(found)
    ]  # fmt: skip
    kept = sizes_of(nodes, "p")
    assert set(kept) <= set(found) and sizes_of(nodes, "other") == ()
    for size in found:
        assert any(all(a >= b for a, b in zip(k, size, strict=True)) for k in kept)
    for one in kept:
        others = set(kept) - {one}
        assert not any(all(a >= b for a, b in zip(k, one, strict=True)) for k in others)


def test_a_partition_is_said_as_slurm_names_it():
    for name in ("", "a,b", "a b", "a|b"):
        with pytest.raises(ValidationError):
            Partition(name=name)
    bounds = {"max_vcpus": 0, "max_memory_gb": 0, "max_minutes": 0, "gpus": -1,
              "price_per_vcpu_hour": -1, "prise": 1}  # fmt: skip
    for key, wrong in bounds.items():
        with pytest.raises(ValidationError):
            Partition(**{"name": "a", key: wrong})


def test_what_is_said_of_a_partition_bounds_what_its_nodes_have():
    heard = {"short": [Size(32, 512, 90, 50, 2)], "gone": []}
    said = [
        Partition(name="short", max_vcpus=8, max_minutes=600, price_per_vcpu_hour=0.1),
        Partition(name="gone"),
    ]
    [short] = ceilings(said, heard, 2.0)
    assert (short.vcpus, short.memory_gb, short.minutes, short.gpus) == (8, 512, 90, 2)
    assert short.price_per_vcpu_hour == 0.1 and short.partition == "short"
    unheard = ceilings(said, None, 2.0)
    assert [one.vcpus for one in unheard] == [8, UNBOUND], "nothing says that it does not fit"
    assert unheard[1].price_per_vcpu_hour == 2.0
    [more] = ceilings([Partition(name="short", gpus=8)], heard, 0)
    assert more.gpus == 8, "Slurm need not know them"


def test_partitions_are_written_once_and_instead_of_the_one():
    fields = {"cluster_name": "c", "work_folder": "/w"}
    twice = [{"name": "a"}, {"name": "a"}]
    with pytest.raises(ValidationError, match="write each once"):
        SlurmCluster(**fields, partitions=twice)
    with pytest.raises(ValidationError, match="write one of them"):
        SlurmCluster(**fields, partition="a", partitions=[{"name": "b"}])
