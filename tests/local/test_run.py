"""What `make run` knows of a settings file before it has read it."""

import pytest

from local.run import _retention_days


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("keep: {retention_days: 400}", 400.0), ("keep: {retention_days: 0}", 0.0),
        ("keep: {inputs_days: 2}", None), ("{}", None), ("", None), ("keep: 3", None),
        ("keep: {retention_days: soon}", None), ("keep: [", None),
    ],
)  # fmt: skip
def test_for_how_long_the_server_keeps_its_runs_and_what_is_wrong_is_told_later(
    tmp_path, text, days
):
    (tmp_path / "settings.yaml").write_text(text)
    assert _retention_days(tmp_path / "settings.yaml") == days
    assert _retention_days(tmp_path / "none.yaml") is None
