"""What was measured at several sizes is drawn as it was kept."""

import json

import pytest

from benchmarks import growth
from benchmarks.growth import PANELS, SERIES, draw


def _found():
    """A figure for each size of each series: as large as the size."""
    figures = {key for _, _, of in PANELS for key in of}
    return {
        name: {str(n): dict.fromkeys(figures, n) for n in series.sizes}
        for name, series in SERIES.items()
    }


def test_every_panel_is_of_a_series_that_is_measured_and_names_its_figures(tmp_path):
    draw(_found(), tmp_path / "a.svg")
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for name, number, figures in PANELS:
        assert name in SERIES and number in picture
        assert all(label in picture for label in figures.values())
    assert "30,000" in picture, "the sizes stand below"


def test_the_same_figures_are_the_same_bytes(tmp_path):
    for name in ("a.svg", "b.svg"):
        draw(_found(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_one_series_is_measured_anew_and_the_others_are_kept(tmp_path, monkeypatch, capsys):
    kept = tmp_path / "results" / "growth.json"
    kept.parent.mkdir()
    kept.write_text(json.dumps(_found()))
    monkeypatch.setattr(growth, "KEPT", kept)
    monkeypatch.setattr("sys.argv", ["growth", "forecast"])
    monkeypatch.setitem(
        SERIES,
        "forecast",
        growth.Series((7, 30), lambda n: {"queue_s": growth.planning.queue_s(n)}),
    )
    growth.main()
    found = json.loads(kept.read_text())
    assert list(found["forecast"]) == ["7", "30"]
    assert all(0 < at["queue_s"] < 5 for at in found["forecast"].values())
    assert found["plan"] == _found()["plan"] and "CPUs" in found["about"]["machine"]
    assert "forecast" in capsys.readouterr().out


def test_a_series_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["growth", "plans"])
    with pytest.raises(SystemExit):
        growth.main()
    assert "plans" in capsys.readouterr().err
