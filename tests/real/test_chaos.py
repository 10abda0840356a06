"""A minute and a half of chaos; docs/reliability.md has longer ones."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.chaos.__main__ import chaos

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_nothing_is_lost_or_done_twice_whatever_is_killed():
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.chmod(0o755)
    report = chaos(minutes=1.5, seed=1, folder=folder)
    assert report["wrong"] == [], folder
    assert sum(report["faults"].values()) >= 15
    assert report["first"]["worksets"]["complete"] + report["other"]["worksets"]["complete"] >= 15
    shutil.rmtree(folder)
