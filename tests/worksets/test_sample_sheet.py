"""`stage_samples.tsv`: the samples of a work file that names none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.errors import ConfigurationError
from worksets.inputs import inputs_of, samples_of
from worksets.registration import asks_of
from worksets.sample_sheet import read_sheet
from worksets.spec import parse_spec

# the columns are those of Daylily's own table
HEADER = (
    "RUN_ID\tSAMPLE_ID\tEXPERIMENTID\tSAMPLE_TYPE\tLIB_PREP\tSEQ_VENDOR\tSEQ_PLATFORM\tLANE\t"
    "SEQBC_ID\tPATH_TO_CONCORDANCE_DATA_DIR\tR1_FQ\tR2_FQ\tSTAGE_DIRECTIVE\tSTAGE_TARGET\t"
    "SUBSAMPLE_PCT\tIS_POS_CTRL\tIS_NEG_CTRL\tN_X\tN_Y\tEXTERNAL_SAMPLE_ID\n"
)
WORK = b"dy-r: >\n  help\nexport_uri: s3://b/results/\n"


def row(sample, r1, r2="", lane="0"):
    cells = ["R0", sample, "x4", "blood", "noampwgs", "ILMN", "NOVASEQX", lane, "S1", "", r1, r2]
    others = ["stage_data", "/fsx/", "na", "false", "false", "1", "1", sample]
    return "\t".join([*cells, *others]) + "\n"


def read(*rows, header=HEADER, work=WORK):
    return parse_spec(work, sheet=lambda: (header + "".join(rows)).encode())


def test_a_work_file_without_samples_has_those_of_the_table():
    found = read(
        row("HG002", "s3://our-data/w/HG002.R1.fastq.gz", "s3://our-data/w/HG002.R2.fastq.gz")
    )
    (sample,) = found.spec.samples
    assert sample.sample_id == "HG002" and sample.fastq_r1 == ("s3://our-data/w/HG002.R1.fastq.gz",)
    assert sample.fastq_r2 == ("s3://our-data/w/HG002.R2.fastq.gz",) and found.warnings == ()
    assert sample.sheet[0]["SEQ_PLATFORM"] == "NOVASEQX" and "R1_FQ" not in sample.sheet[0]
    (told,) = samples_of(found.spec, inputs_of(found.spec, "s3://our-data/w", ()))
    assert told["fastq_r1"] == "HG002.R1.fastq.gz" and told["sheet"][0]["LIB_PREP"] == "noampwgs"


def test_rows_of_one_sample_are_its_lanes():
    rows = [row("A", "a1.fq", "a2.fq"), row("B", "b.fq", "NA"), row("A", "c1.fq", "c2.fq", "1")]
    first, second = read(*rows).spec.samples
    assert first.fastq_r1 == ("a1.fq", "c1.fq") and first.fastq_r2 == ("a2.fq", "c2.fq")
    assert [lane["LANE"] for lane in first.sheet] == ["0", "1"]
    assert second.fastq_r1 == ("b.fq",) and second.fastq_r2 is None


def test_samples_of_the_work_file_stand_before_the_table():
    work = b"samples: [{sample_id: S1, fastq_r1: a.fq}]\nreference_genome: hg38\n"
    parsed = parse_spec(work, sheet=lambda: pytest.fail("it is not asked for"))
    assert parsed.spec.samples[0].sample_id == "S1"


def test_without_the_table_its_name_is_told():
    with pytest.raises(ConfigurationError, match=r"samples: .*put stage_samples\.tsv beside it"):
        parse_spec(WORK)


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        ([row("", "a.fq")], HEADER, r"\(line 2\): SAMPLE_ID is empty"),
        ([row("A", "a.fq"), row("B", "na")], HEADER, r"\(line 3\): R1_FQ is empty"),
        ([row("A", "a.fq", "b.fq"), row("A", "c.fq")], HEADER, r"\(line 3\): R2_FQ is empty, and"),
        ([row("A", "a.fq")[:-1] + "\tmore\n"], HEADER, "it has 21 cells, and the header 20"),
        ([row("A", "../a.fq")], HEADER, r"stage_samples\.tsv \(line 2\): R1_FQ: each part"),
        ([row("A", "/etc/passwd")], HEADER, r"\(line 2\): R1_FQ: write a path relative"),
        ([row("A B", "a.fq")], HEADER, r"\(line 2\): SAMPLE_ID: write 1 to 64"),
        ([row("A", "a.fq"), row("A", "a.fq")], HEADER, "are the same file"),
        ([row("A", "a.fq"), row("B", "a.fq")], HEADER, "belongs to both A and B"),
        ([], HEADER, "no row below its header"),
        ([], "", "it is empty"),
        (["A,a.fq\n"], "SAMPLE_ID,R1_FQ\n", "separated by tabs"),
        (["A\ta.fq\n"], "SAMPLE_ID\tFQ\n", "no column R1_FQ"),
        # a quote that was meant as inches: nothing after it was seen as a row
        (
            [row("A", "a.fq")[:-1] + 'x\t"low\n', row("B", "b.fq")],
            HEADER[:-1] + "\tNOTE\n",
            "quote",
        ),
        ([row("A", "a.fq", '"b'), row("B", 'b"', "c")], HEADER, "over a line's end"),
        (["A\ta.fq\tb\n"], "SAMPLE_ID\tR1_FQ\tr1_fq\n", "two columns have the name R1_FQ"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(rows, header, says):
    with pytest.raises(ConfigurationError, match=says):
        read(*rows, header=header)


def test_other_content_of_the_table_is_other_work():
    one, other = read(row("A", "a.fq", lane="0")).spec, read(row("A", "a.fq", lane="1")).spec
    assert asks_of(one) != asks_of(other)


def test_a_table_of_a_spreadsheet():
    data = ("\ufeff" + HEADER + "\n" + row("A", "a.fq")).replace("\n", "\r\n").encode()
    assert read_sheet(data).samples[0]["sample_id"] == "A" and read_sheet(data).lines == (3,)


@pytest.mark.parametrize("data", [b"\xff\xfe", b"x" * 1_048_577])
def test_what_is_no_text_or_too_much_is_refused(data):
    with pytest.raises(ConfigurationError, match=r"stage_samples\.tsv"):
        read_sheet(data)


cells = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(["", "na", '"', "a.fq"])


@given(st.lists(st.lists(cells, max_size=5), max_size=5), st.booleans())
def test_it_is_total(rows, headed):
    lines = ["\t".join(row) for row in rows]
    text = "\n".join([*(["SAMPLE_ID\tR1_FQ\tR2_FQ\tX"] if headed else []), *lines])
    try:
        parse_spec(b"notes: x\n", sheet=lambda: text.encode())
    except ConfigurationError as error:
        assert "stage_samples.tsv" in str(error) or "daylily_work.yaml" in str(error)


def test_a_mistake_of_the_work_file_is_not_the_tables():
    with pytest.raises(ConfigurationError, match=r"daylily_work\.yaml \(line 1\): inputs\[2\]"):
        read(row("A", "a.fq"), work=b"inputs: [a.txt, b.txt, /abs/x]\n")


def test_the_table_stands_in_for_no_key_that_is_nearly_ours():
    with pytest.raises(ConfigurationError, match="'sample' stands there: is 'samples' meant"):
        read(row("A", "a.fq"), work=b"sample: [{sample_id: B, fastq_r1: b.fq}]\n")
