"""A workset's folders for each test."""

import pytest

from tests.blocks.clusters.on_cluster.programs import Case


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)
