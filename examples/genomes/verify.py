"""Are the planted variants found, and nothing else?

``python -m examples.genomes.verify --run-dir RUN`` compares the VCFs of a run of
`examples/genomes/settings.yaml` with what was planted, each sample for itself, and prints one last
line, ``recall R precision P``, over all. A variant counts only where position, REF and ALT are the
same. Exit code 0: both are at least 0.99; 1: one is not, or results are missing.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from examples.genomes.simulate import HERE, Variant, planted
from examples.simulate import WORK_FILE

AT_LEAST: Final = 0.99


def called(vcf: Path) -> set[Variant]:
    """The variants in a VCF that passed its filters."""
    found = set()
    with gzip.open(vcf, "rt", encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                _, pos, _, ref, alt, _, passed, *_ = line.split("\t")
                if passed in ("PASS", "."):
                    found |= {Variant(int(pos), ref, one) for one in alt.split(",")}
    return found


def rates(truth: Iterable[Variant], found: Iterable[Variant]) -> tuple[int, int, int]:
    """How many are true and found, were planted, were called."""
    truth, found = set(truth), set(found)
    return len(truth & found), len(truth), len(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--worksets", type=Path, default=HERE / "worksets")
    options = parser.parse_args()
    right = planted_in_all = called_in_all = 0
    whole = True
    for work_file in sorted(options.worksets.glob(f"*/{WORK_FILE}")):
        work: dict[str, Any] = yaml.safe_load(work_file.read_text(encoding="utf-8"))
        workset, customer = work_file.parent.name, work["customer_id"]
        results = options.run_dir / "results" / customer / workset
        for sample in (entry["sample_id"] for entry in work["samples"]):
            vcf = results / f"{sample}.vcf.gz"
            if not vcf.exists():
                print(f"{workset} {sample}: there is no {vcf}", file=sys.stderr)
                whole = False
                continue
            truth = planted(work["reference_genome"], workset, sample)
            both, of, among = rates(truth, called(vcf))
            print(f"{workset} {sample}: {both} of {of} found, {among - both} called besides")
            right, planted_in_all = right + both, planted_in_all + of
            called_in_all += among
    recall = right / planted_in_all if planted_in_all else 0.0
    precision = right / called_in_all if called_in_all else 0.0
    print(f"recall {recall:.4f} precision {precision:.4f}")
    return 0 if whole and min(recall, precision) >= AT_LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
