"""Which dead letters an operator means, and what is shown of them."""

from datetime import UTC, datetime

import pytest

from worksets.dead_letters import chosen, missing, require_a_choice, row
from worksets.errors import ConfigurationError, ErrorCategory
from worksets.record import HistoryEntry, State, WorksetRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(id_, customer, category, state=State.FAILED):
    return WorksetRecord(
        workset_id=id_, customer_id=customer, location="file:///x", state=state,
        error_category=category, error_details="exit code 65: deliver it again\nlog " + "x" * 5000,
        history=(HistoryEntry(at=NOW, event="Fail", note="n"),), created_at=NOW, updated_at=NOW,
    )  # fmt: skip


LETTERS = [
    record("a", "acme", ErrorCategory.DATA),
    record("b", "acme", ErrorCategory.PERMANENT),
    record("c", "cedar", ErrorCategory.DATA),
    record("d", "cedar", None, State.READY),
]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, "abc"), ({"workset_ids": ["a", "d", "nope"]}, "a"), ({"customer_id": "acme"}, "ab"),
        ({"error_category": ErrorCategory.DATA}, "ac"), ({"workset_ids": []}, ""),
        ({"customer_id": "cedar", "error_category": ErrorCategory.PERMANENT}, ""),
    ],
)  # fmt: skip
def test_filters_narrow_and_only_dead_letters_are_meant(filters, ids):
    assert "".join(r.workset_id for r in chosen(LETTERS, **filters)) == ids


def test_what_is_asked_for_and_is_none_is_told():
    assert missing(chosen(LETTERS, ["a", "d", "nope"]), ["a", "d", "nope"]) == ["d", "nope"]
    assert missing(LETTERS, None) == []


def test_an_empty_form_redrives_nothing():
    with pytest.raises(ConfigurationError, match="no dead letter is chosen"):
        require_a_choice(None, None, None, False)
    require_a_choice(None, None, None, True)
    require_a_choice([], None, None, False)


def test_a_row_tells_cause_remedy_and_a_bounded_end_of_the_log():
    told = row(LETTERS[0])
    assert told["cause and remedy"] == "exit code 65: deliver it again"
    assert len(told["end of the log"]) == 500 and told["class"] == "data"
