"""The judge of a run of chaos, judged on journals made by hand."""

import pytest

from tests.chaos import checks

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
        (FIRST + AT_HOME, [20], ["w: stage ran again in attempt 2"]),  # it was to go, and did not
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
