"""The example worksets and the reads simulated for them."""

import gzip
import hashlib
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from examples import simulate as simulator
from examples.simulate import simulate

EXAMPLES = Path(simulator.__file__).resolve().parent
WORKSETS = EXAMPLES / "worksets"
EXPECTED: dict[str, dict[str, str]] = yaml.safe_load((EXAMPLES / "expected.yaml").read_text())


def copy_worksets(target: Path) -> Path:
    """Copy the worksets without reads that a user may have simulated in place."""
    shutil.copytree(WORKSETS, target, ignore=shutil.ignore_patterns("*.fastq.gz"))
    return target


@pytest.fixture(scope="module")
def worksets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = copy_worksets(tmp_path_factory.mktemp("simulated") / "worksets")
    simulate(target)
    return target


def load(folder: Path) -> dict[str, Any]:
    work = yaml.safe_load((folder / "daylily_work.yaml").read_text())
    assert isinstance(work, dict)
    return work


def fastq_names(work: dict[str, Any]) -> list[str]:
    mates = ("fastq_r1", "fastq_r2")
    return [sample[mate] for sample in work["samples"] for mate in mates if sample[mate]]


def records(path: Path) -> list[tuple[str, str, str]]:
    lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    return list(zip(lines[0::4], lines[1::4], lines[3::4], strict=True))


def test_genome_is_phix174() -> None:
    genome = simulator.read_genome(EXAMPLES / "phix174.fasta")
    assert len(genome) == 5386
    assert hashlib.md5(genome.encode()).hexdigest() == "3332ed720ac7eaa9b3655c06f6b9e196"


def test_expected_and_folders_agree() -> None:
    folders = {path.name for path in WORKSETS.iterdir() if path.is_dir()}
    assert folders == set(EXPECTED)
    assert len(folders) == 16
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) for name in folders)
    for entry in EXPECTED.values():
        assert entry["expected_state"] in {"complete", "failed"}
        assert entry["shows"].endswith(".")


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_workset_is_well_described(name: str) -> None:
    work = load(WORKSETS / name)
    assert work["customer_id"] in {"acme-genomics", "borealis-lab", "cedar-clinic"}
    assert work["preferred_cluster"] in {"alpha", "beta", "gamma"}
    assert isinstance(work["cluster_required"], bool)
    assert work["reference_genome"] in {"hg38", "hg19", "grch38", "grch37", "b37"}
    assert 0 <= work["max_retries"] <= 10
    names = fastq_names(work)
    assert len(set(names)) == len(names)
    coverages = [sample["coverage"] for sample in work["samples"]]
    assert work["estimated_coverage"] == sum(coverages) / len(coverages)
    is_valid = EXPECTED[name].get("fault") != "invalid_yaml"
    assert (work["priority"] in {"urgent", "normal", "low"}) == is_valid


def test_each_customer_has_a_share() -> None:
    customers = Counter(load(WORKSETS / name)["customer_id"] for name in EXPECTED)
    assert all(count in {5, 6} for count in customers.values())


def test_reads_are_the_same_each_time(worksets: Path, tmp_path: Path) -> None:
    again = copy_worksets(tmp_path / "worksets")
    written = simulate(again)
    assert len(written) > 30
    for path in written:
        assert path.read_bytes() == (worksets / path.relative_to(again)).read_bytes()


def test_existing_files_are_left_alone(worksets: Path) -> None:
    assert simulate(worksets) == []


def test_only_the_faults_asked_for_are_made(worksets: Path) -> None:
    for name, entry in EXPECTED.items():
        fastq = fastq_names(load(worksets / name))
        missing = [path for path in fastq if not (worksets / name / path).exists()]
        truncated = []
        for path in set(fastq) - set(missing):
            try:
                records(worksets / name / path)
            except EOFError:
                truncated.append(path)
        fault = entry.get("fault")
        assert missing == (fastq[-1:] if fault == "missing_fastq" else [])
        assert truncated == (fastq[-2:-1] if fault == "truncated_fastq" else [])


def test_reads_are_true_pairs_of_the_genome(worksets: Path) -> None:
    folder = worksets / "ws-013-hapmap-control"
    mates = [records(folder / "fastq" / f"NA12878_R{mate}.fastq.gz") for mate in (1, 2)]
    firsts, seconds = ([header.split()[0] for header, _, _ in mate] for mate in mates)
    assert firsts == seconds

    bases = sum(len(sequence) for mate in mates for _, sequence, _ in mate)
    assert bases / 5386 == pytest.approx(50, rel=0.02)
    assert all(len(sequence) == len(quality) for mate in mates for _, sequence, quality in mate)
    assert all(100 <= len(sequence) <= 150 for mate in mates for _, sequence, _ in mate)

    genome = simulator.read_genome(EXAMPLES / "phix174.fasta")
    forward = genome + genome[:150]
    backward = simulator.reverse_complement(forward)
    strands: Counter[tuple[bool, bool]] = Counter()
    for first, second in zip(*mates, strict=True):
        found = [(read[1] in forward, read[1] in backward) for read in (first, second)]
        if any(found[0]) and any(found[1]):  # pairs without a sequencing error
            assert found[0] != found[1]  # mates read opposite strands
            strands[found[0]] += 1
    assert min(strands[True, False], strands[False, True]) > 0.3 * strands.total()


def test_errors_follow_the_qualities(worksets: Path) -> None:
    reads = records(worksets / "ws-013-hapmap-control" / "fastq" / "NA12878_R1.fastq.gz")
    qualities = [[ord(code) - 33 for code in quality] for _, _, quality in reads]
    head = [phred for quality in qualities for phred in quality[10:30]]
    tail = [phred for quality in qualities for phred in quality[-20:]]
    assert sum(head) / len(head) > sum(tail) / len(tail) + 3

    genome = simulator.read_genome(EXAMPLES / "phix174.fasta")
    strands = genome + genome[:150], simulator.reverse_complement(genome + genome[:150])
    exact = [any(sequence in strand for strand in strands) for _, sequence, _ in reads]
    error_free = 0.0  # the number of reads that the qualities promise to be right throughout
    for quality in qualities:
        chance = 1.0
        for phred in quality:
            chance *= 1 - 10 ** (-phred / 10)
        error_free += chance
    assert sum(exact) == pytest.approx(error_free, rel=0.15)
    assert any("N" in sequence for _, sequence, _ in reads)


@pytest.mark.parametrize(
    "text", ["a: [", "- a list", "", "samples: 3", "samples: [1]", "samples: [{sample_id: x}]"]
)
def test_nonsense_is_skipped(tmp_path: Path, text: str) -> None:
    (tmp_path / "ws-nonsense").mkdir()
    (tmp_path / "ws-nonsense" / "daylily_work.yaml").write_text(text)
    assert simulate(tmp_path) == []


def test_paths_outside_the_workset_are_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "worksets" / "ws-escape"
    folder.mkdir(parents=True)
    sample = {"sample_id": "x", "fastq_r1": "../../x.fastq.gz", "fastq_r2": None, "coverage": 20}
    (folder / "daylily_work.yaml").write_text(yaml.safe_dump({"samples": [sample]}))
    assert simulate(tmp_path / "worksets") == []
    assert not (tmp_path / "x.fastq.gz").exists()
