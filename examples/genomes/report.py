"""One HTML page of a workset's samples: `report.py RESULTS SAMPLE …`, printed."""

from __future__ import annotations

import gzip
import html
import json
import sys
from collections import Counter
from pathlib import Path

HEAD = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Variants</title>
<style>body{font:16px/1.5 sans-serif;margin:3em}td,th{padding:.3em 1em;text-align:right}
th:first-child,td:first-child{text-align:left}tr:nth-child(even){background:#f2f2f2}</style>
<h1>Variants</h1>
<table><tr><th>sample<th>reads<th>Q30 after trimming<th>mapped<th>duplicates<th>SNVs<th>indels
"""


def row(results: Path, sample: str) -> list[str]:
    trimmed = json.loads((results / "qc" / f"{sample}.fastp.json").read_text(encoding="utf-8"))
    aligned = json.loads((results / "qc" / f"{sample}.flagstat.json").read_text(encoding="utf-8"))
    reads = aligned["QC-passed reads"]
    kinds = Counter(
        "SNV" if len(fields[3]) == len(fields[4]) == 1 else "indel"
        for fields in variants(results / f"{sample}.vcf.gz")
    )
    return [
        sample,
        f"{trimmed['summary']['before_filtering']['total_reads']:,}",
        f"{trimmed['summary']['after_filtering']['q30_rate']:.1%}",
        f"{reads['mapped'] / reads['total']:.2%}",
        f"{reads['duplicates'] / reads['total']:.2%}",
        f"{kinds['SNV']:,}",
        f"{kinds['indel']:,}",
    ]


def variants(vcf: Path) -> list[list[str]]:
    with gzip.open(vcf, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t") for line in lines if not line.startswith("#")]


def main() -> None:
    results, samples = Path(sys.argv[1]), sys.argv[2:]
    print(HEAD, end="")
    for sample in samples:
        print("<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in row(results, sample)))
    print("</table>")


if __name__ == "__main__":
    main()
