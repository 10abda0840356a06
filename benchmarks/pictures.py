"""Pictures of figures, as SVG: the same figures are the same bytes."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update(
    {"svg.hashsalt": "worksets", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3}
)

from matplotlib.figure import Figure  # noqa: E402


def save(figure: Figure, path: Path) -> None:
    """Write it without a date."""
    figure.savefig(path, metadata={"Date": None})
    lines = (line.rstrip() for line in path.read_text(encoding="utf-8").splitlines())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
