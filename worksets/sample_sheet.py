"""`stage_samples.tsv`, Daylily's table of samples, for a work file that names none itself.

One row a lane, tab-separated, below a header: `SAMPLE_ID`, `R1_FQ`, `R2_FQ`; several rows of one
sample are its lanes, in their order. All other columns are kept for the pipeline.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from worksets.errors import ConfigurationError
from worksets.texts import few, listed, plain
from worksets.yaml_safe import MAX_BYTES

SHEET_NAME: Final = "stage_samples.tsv"
COLUMNS: Final = {"sample_id": "SAMPLE_ID", "fastq_r1": "R1_FQ", "fastq_r2": "R2_FQ"}
"""The column in which a key of a sample stands."""
NOTHING: Final = frozenset({"", "na", "n/a", "none", "null", "-", "."})
"""What stands in a column that has nothing to say, in any case of letters."""


@dataclass(frozen=True)
class Sheet:
    """The samples of a table, as a `daylily_work.yaml` would have them."""

    samples: list[dict[str, Any]]
    lines: tuple[int, ...]
    """Line of each sample's first row, counted from 1."""


def read_sheet(data: bytes) -> Sheet:
    """The samples in `data`, at most 1 MiB of UTF-8 text.

    Raises:
        ConfigurationError: it is no such table; with a line for each mistake.
    """
    if len(data) > MAX_BYTES:
        raise ConfigurationError(f"{SHEET_NAME}: at most {MAX_BYTES:,} bytes (1 MiB) are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{SHEET_NAME}: byte {error.start} is not UTF-8; save the file with UTF-8 encoding"
        ) from None
    rows = _rows(text)
    header = next(rows, None)
    if header is None:
        raise ConfigurationError(f"{SHEET_NAME}: it is empty; write a header and a row a lane")
    names = _names(*header)
    found: dict[str, list[tuple[int, dict[str, str]]]] = {}
    mistakes: list[str] = []
    for line, cells in rows:
        row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
        mistakes += [f"(line {line}): {wrong}" for wrong in _wrong(row, len(cells), len(names))]
        found.setdefault(row.get("SAMPLE_ID", ""), []).append((line, row))
    mistakes += [wrong for lanes in found.values() for wrong in _unequal(lanes)]
    if mistakes:
        told = listed(mistakes, lambda one: f"{SHEET_NAME} {one}", about=f"{SHEET_NAME}: ")
        raise ConfigurationError("\n".join(told))
    if not found:
        raise ConfigurationError(f"{SHEET_NAME}: there is no row below its header")
    samples = [_sample(name, [row for _, row in lanes]) for name, lanes in found.items()]
    return Sheet(samples, tuple(lanes[0][0] for lanes in found.values()))


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line and cells of each row that is not empty."""
    reader = csv.reader(text.splitlines(keepends=True), delimiter="\t", strict=True)
    try:
        for cells in reader:
            if any(ending in cell for cell in cells for ending in "\r\n"):
                raise ConfigurationError(
                    f"{SHEET_NAME} (line {reader.line_num}): a cell goes over a line's end; a "
                    f'quote (") is not closed, or stands where none is meant'
                )
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise ConfigurationError(
            f'{SHEET_NAME} (line {reader.line_num}): {error}; is a quote (") not closed?'
        ) from None


def _names(line: int, cells: list[str]) -> list[str]:
    """The names of the columns, in capitals."""
    names = [cell.lstrip("#").strip().upper() for cell in cells]
    missing = [name for name in ("SAMPLE_ID", "R1_FQ") if name not in names]
    if missing:
        apart = "" if len(cells) > 1 else "; are its columns separated by tabs?"
        raise ConfigurationError(
            f"{SHEET_NAME} (line {line}): the header has no column {' and no '.join(missing)} "
            f"(it has {few([plain(name, 40) for name in names], 30)}){apart}"
        )
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise ConfigurationError(
            f"{SHEET_NAME} (line {line}): two columns have the name {plain(twice[0], 40)}"
        )
    return names


def _wrong(row: dict[str, str], cells: int, columns: int) -> Iterator[str]:
    if cells > columns:
        yield f"it has {cells} cells, and the header {columns}"
    for name in ("SAMPLE_ID", "R1_FQ"):
        if row.get(name, "").lower() in NOTHING:
            yield f"{name} is empty"


def _unequal(lanes: list[tuple[int, dict[str, str]]]) -> Iterator[str]:
    """Lanes of one sample of which some have an R2 and others none: files would be mixed."""
    paired = [_r2(row) != "" for _, row in lanes]
    if any(paired) and not all(paired):
        yield (
            f"(line {lanes[paired.index(False)][0]}): R2_FQ is empty, and another lane of "
            f"{plain(lanes[0][1].get('SAMPLE_ID', ''), 80)} has one"
        )


def _r2(row: dict[str, str]) -> str:
    text = row.get("R2_FQ", "")
    return "" if text.lower() in NOTHING else text


def _sample(sample_id: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    others = [
        {name: text for name, text in row.items() if name not in COLUMNS.values()} for row in rows
    ]
    sample: dict[str, Any] = {
        "sample_id": sample_id,
        "fastq_r1": [row["R1_FQ"] for row in rows],
        "sheet": others if any(others) else [],
    }
    if _r2(rows[0]):
        sample["fastq_r2"] = [_r2(row) for row in rows]
    return sample
