"""The judge of a run of chaos, judged on journals made by hand."""

import os
import subprocess
import time

import pytest

from tests.chaos import checks
from tests.chaos.share import Share

FIRST = ["w 1 stage b begin 10", "w 1 stage b end 11"]
AGAIN = ["w 2 stage a begin 30", "w 2 stage a end 31", "w 2 run a begin 32", "w 2 run a end 33"]
AT_HOME = [line.replace(" a ", " b ") for line in AGAIN]
RAN = ["w 1 run b begin 12", "w 1 run b end 13"]


@pytest.mark.parametrize(
    ("journal", "moves", "wrong"),
    [
        (FIRST + AGAIN, [20], []),
        (FIRST + AGAIN, [], ["w: stage ran again in attempt 2"]),
        (FIRST + AGAIN, [9], ["w: stage ran again in attempt 2"]),  # it was moved before, not since
        (FIRST + AT_HOME, [20], []),  # it was moved, could not begin there, and came back
        (FIRST + AT_HOME, [], ["w: stage ran again in attempt 2"]),
        (
            FIRST + RAN + AGAIN, [20],
            ["w: stage ran again in attempt 2", "w: run ran again in attempt 2"],
        ),
        (FIRST + AT_HOME[2:], [], []),
        (FIRST + FIRST[:1], [], ["w: stage ran 2 times in attempt 1"]),
    ],
)  # fmt: skip
def test_a_finished_step_runs_again_only_after_a_move(journal, moves, wrong):
    assert checks.steps_wrong(checks.jobs_of(journal), {"w": moves}) == wrong


def test_a_job_begins_when_its_first_step_does():
    jobs = checks.jobs_of(FIRST + AGAIN + ["v 1 stage a begin 40"])
    assert checks.begun_during(jobs, [[0, 10], [11, 30]]) == set()
    assert checks.begun_during(jobs, [[30, 31]]) == {"w"}
    assert checks.begun_during(jobs, [[0, 11], [39, 41]]) == {"w", "v"}


def test_a_share_hangs_for_others_until_it_is_back(tmp_path):
    share = Share(tmp_path / "share")
    share.hang()
    share.hang()  # it does already
    try:
        (share.inside / "w1").mkdir()
        look = subprocess.Popen(["ls", share.folder], stderr=subprocess.PIPE)
        time.sleep(0.5)
        assert look.poll() is None
    finally:
        share.back()
        share.back()
    assert look.communicate(timeout=10)[1] and look.returncode != 0
    assert os.listdir(share.folder) == ["w1"]
    [(begin, end)] = share.hangs
    assert 0.5 <= end - begin < 10
