"""Work files as they lie about, from the folder to what the pipeline's program is given."""

import json

import pytest
import yaml

pytestmark = [pytest.mark.real, pytest.mark.slow]

TABLE = (
    "RUN_ID\tSAMPLE_ID\tLANE\tR1_FQ\tR2_FQ\n"
    "R0\tHG002\t1\tL1_R1.fq\tL1_R2.fq\n"
    "R0\tHG002\t2\tL2_R1.fq\tL2_R2.fq\n"
)
# what the run step is given, and what it finds: arguments, manifest, staged files
TELL = (
    'cp "$1" "$2/manifest.json"; shift; cd "$1"; shift; printf "%s\\n" "$@" > arguments; ls -R "$0"'
)


def test_a_daylily_work_file_and_a_bam_reach_the_pipeline(site):
    pipelines = {
        "germline": {
            "run": ["sh", "-c", f"{TELL} > files", "{inputs}", "{manifest}", "{results}", "{dy_r}"],
            "dy_r": ["produce_*", "-j", "[0-9]*", "a=*"],
            "default_reference_genome": "mm39",
        }
    }
    site.configure(
        clusters=1, customers={"acme": {}},
        overrides={"pipelines": pipelines, "default_customer": "acme",
                   "reference_genomes": ["mm39"], "status_files": True},
    )  # fmt: skip
    table, bam = site.folder / "worksets" / "table", site.folder / "worksets" / "bam"
    for folder in (table, bam):
        folder.mkdir()
    for name in ("L1_R1.fq", "L1_R2.fq", "L2_R1.fq", "L2_R2.fq"):
        (table / name).write_text("@a\nACGT\n+\nIIII\n")
    (table / "stage_samples.tsv").write_text(TABLE)
    (table / "daylily_work.yaml").write_text('dy-r: >\n  produce_vcf -j 20 a=["x y"]\nnotes: hi\n')
    for name in ("S1.bam", "S1.bam.bai", "panel.bed"):
        (bam / name).write_text("x")
    work = {"samples": [{"sample_id": "S1", "bam": "S1.bam"}], "inputs": ["panel.bed"]}
    (bam / "daylily_work.yaml").write_text(yaml.safe_dump(work))
    site.finish(site.poller())
    assert {r.workset_id: r.state for r in site.db.list_worksets()} == {
        "table": "complete", "bam": "complete",
    }  # fmt: skip
    for folder in (table, bam):
        (status,) = folder.glob("daylily.*")
        assert status.name == "daylily.complete", status.read_text()
    results = site.folder / "results" / "acme"
    told = json.loads((results / "table" / "manifest.json").read_text())
    (sample,) = told["samples"]
    assert sample["fastq_r1"] == ["L1_R1.fq", "L2_R1.fq"] and sample["sheet"][1]["LANE"] == "2"
    assert told["reference_genome"] == "mm39" and told["daylily"]["notes"] == "hi"
    arguments = (results / "table" / "arguments").read_text().splitlines()
    assert arguments == ["produce_vcf", "-j", "20", "a=[x y]"]
    told = json.loads((results / "bam" / "manifest.json").read_text())
    assert told["samples"] == [
        {"sample_id": "S1", "bam": "S1.bam", "index": "S1.bam.bai", "coverage": None}
    ]
    files = (results / "bam" / "files").read_text().split()
    assert {"S1.bam", "S1.bam.bai", "panel.bed"} <= set(files)
