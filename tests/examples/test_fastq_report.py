"""The report pipeline, run as its users run it: as a script."""

import gzip
import json
import math
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "pipelines" / "fastq_report.py"
# I is Q40, ? is Q30, 5 is Q20, + is Q10.
R1 = "@r1\nACGT\n+\nIIII\n@r2\nGGN\n+\n??+\n"
R2 = "@r1\nAA\n+\n55\n@r2\nCC\n+\n55\n"


def write_workset(folder: Path, **samples: tuple[str, str | None]) -> None:
    """Write FASTQ files and a manifest; each sample is the text of its R1 and R2."""
    listed = []
    for sample_id, texts in samples.items():
        names: list[str | None] = []
        for mate, text in enumerate(texts, start=1):
            names.append(f"{sample_id}_R{mate}.fastq.gz" if text is not None else None)
            if text is not None:
                (folder / f"{sample_id}_R{mate}.fastq.gz").write_bytes(gzip.compress(text.encode()))
        listed.append(
            {"sample_id": sample_id, "fastq_r1": names[0], "fastq_r2": names[1], "coverage": 30}
        )
    manifest = {
        "workset_id": "ws-test",
        "customer_id": "acme-genomics",
        "reference_genome": "hg38",
        "pipeline": "germline",
        "attempt": 1,
        "budget": "a key that is not ours",
        "samples": listed,
    }
    (folder / "workset.json").write_text(json.dumps(manifest))


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--manifest", str(folder / "workset.json")]
    command += ["--inputs", str(folder), "--results", str(folder / "results"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def test_numbers_match_those_computed_by_hand(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")

    report = read_json(tmp_path / "results" / "s1.json")
    assert report["reads"] == 4
    assert report["bases"] == 11
    assert report["requested_coverage"] == 30
    assert report["estimated_coverage"] == round(11 / 5386, 2)
    r1 = report["mates"]["R1"]
    assert (r1["reads"], r1["bases"]) == (2, 7)
    assert r1["gc_fraction"] == pytest.approx(4 / 6, abs=1e-6)  # the N does not count
    assert r1["n_fraction"] == pytest.approx(1 / 7, abs=1e-6)
    assert r1["mean_phred"] == pytest.approx((4 * 40 + 2 * 30 + 10) / 7, abs=1e-3)
    mean_error = (4 * 1e-4 + 2 * 1e-3 + 1e-1) / 7
    assert r1["error_phred"] == pytest.approx(-10 * math.log10(mean_error), abs=1e-3)
    assert r1["mean_phred_by_position"] == [35, 35, 25, 40]  # only r1 reaches the last one
    lengths = (r1["min_read_length"], r1["mean_read_length"], r1["max_read_length"])
    assert lengths == (3, 3.5, 4)
    assert report["mates"]["R2"]["gc_fraction"] == 0.5
    assert report["mates"]["R2"]["mean_phred_by_position"] == [20, 20]


def test_summary_adds_up_the_samples(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2), s2=(R1, None))
    assert run(tmp_path).returncode == 0
    summary = read_json(tmp_path / "results" / "summary.json")
    assert summary["workset_id"] == "ws-test"
    assert (summary["reads"], summary["bases"]) == (6, 18)
    assert [sample["sample_id"] for sample in summary["samples"]] == ["s1", "s2"]
    assert list(summary["samples"][1]["mean_phred"]) == ["R1"]
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"s1.json", "s1.svg", "s2.json", "s2.svg", "summary.json"}


def test_chart_is_well_formed_and_has_a_line_per_mate(tmp_path: Path) -> None:
    write_workset(tmp_path, **{"a&b<c": (R1, R2)})
    assert run(tmp_path).returncode == 0
    root = ElementTree.parse(tmp_path / "results" / "a&b<c.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{svg}svg"
    assert len(root.findall(f"{svg}polyline")) == 2
    texts = [text.text or "" for text in root.iter(f"{svg}text")]
    assert any("a&b<c" in text for text in texts)
    assert "Position in read (bp)" in texts


def test_all_n_has_no_gc_fraction(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=("@r\nN\n+\n#\n", None))
    assert run(tmp_path).returncode == 0
    assert read_json(tmp_path / "results" / "s1.json")["mates"]["R1"]["gc_fraction"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no bases"),
        ("@r\nACGT\n+\nII\n", "line 4"),
        ("not a FASTQ file\n" * 4, "line 1"),
        ("@r\nAC\n+\nI \n", "Phred+33"),
        (R1 + "@r3\nA\n+\nI\n", "holds 3 reads but"),
    ],
)
def test_bad_fastq_is_a_data_error(tmp_path: Path, text: str, reason: str) -> None:
    write_workset(tmp_path, good=(R1, R2), bad=(text, R2))
    done = run(tmp_path)
    assert done.returncode == 65
    assert done.stderr.count("\n") == 1
    for part in ("ws-test", "sample bad", "bad_R1.fastq.gz", reason):
        assert part in done.stderr
    assert not (tmp_path / "results" / "summary.json").exists()


def test_truncated_gzip_is_a_data_error(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1 * 50, R2 * 50))
    path = tmp_path / "s1_R2.fastq.gz"
    path.write_bytes(path.read_bytes()[:-12])
    done = run(tmp_path)
    assert done.returncode == 65
    assert "s1_R2.fastq.gz: the gzip data ends too early" in done.stderr


def test_not_gzip_is_a_data_error(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    (tmp_path / "s1_R1.fastq.gz").write_text(R1)
    done = run(tmp_path)
    assert done.returncode == 65
    assert "s1_R1.fastq.gz: damaged gzip data" in done.stderr


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    (tmp_path / "s1_R2.fastq.gz").unlink()
    done = run(tmp_path)
    assert done.returncode == 65
    assert "s1_R2.fastq.gz: no such file" in done.stderr


@pytest.mark.parametrize(
    "manifest",
    [
        "{",
        "[]",
        '{"workset_id": "w", "samples": []}',
        '{"workset_id": "w", "samples": [{"sample_id": "../x", "fastq_r1": "a"}]}',
        '{"workset_id": "w", "samples": [{"sample_id": "summary", "fastq_r1": "a"}]}',
    ],
)
def test_bad_manifest_is_a_data_error(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "workset.json").write_text(manifest)
    done = run(tmp_path)
    assert done.returncode == 65
    assert done.stderr.count("\n") == 1


def test_fail_once_fails_once(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    options = ("--fail-once", str(tmp_path / "marker"))
    first, second = run(tmp_path, *options), run(tmp_path, *options)
    assert (first.returncode, second.returncode) == (75, 0)
    assert "try again" in first.stderr


def test_always_fail_fails_each_time(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    assert [run(tmp_path, "--always-fail").returncode for _ in range(2)] == [75, 75]


def test_min_seconds_stretches_a_run(tmp_path: Path) -> None:
    write_workset(tmp_path, s1=(R1, R2))
    start = time.monotonic()
    assert run(tmp_path, "--min-seconds", "0.5").returncode == 0
    assert time.monotonic() - start >= 0.5
