"""What a stranger may write in a daylily_work.yaml, and what not."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.errors import ConfigurationError
from worksets.inputs import inputs_of, samples_of
from worksets.registration import asks_of, describe, new_record
from worksets.spec import is_identifier, named_customer, parse_spec
from worksets.texts import MAX_LISTED

GOOD = b"""samples:
  - {sample_id: s1, fastq_r1: fastq/a_R1.fq.gz, fastq_r2: fastq/a_R2.fq.gz, coverage: 30}
reference_genome: GRCh38
"""
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{n}: &{n} [{','.join(['*' + p] * 9)}]\n".encode()
    for p, n in zip("abcdefg", "bcdefgh", strict=True)
)


def sample(**keys):
    fields = {"sample_id": "s1", "fastq_r1": "a.fq.gz", **keys}
    body = ", ".join(f"{key}: {value}" for key, value in fields.items())
    return f"samples: [{{{body}}}]\nreference_genome: hg38\n".encode()


def test_a_good_one_keeps_foreign_keys_and_tells_them():
    parsed = parse_spec(GOOD + b"prority: low\nbudget: 3\n")
    assert parsed.spec.reference_genome == "grch38"
    assert parsed.spec.model_extra == {"prority": "low", "budget": 3}
    assert any("did you mean 'priority'" in warning for warning in parsed.warnings)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "empty"),
        (b"- 1", "mapping"),
        (GOOD + b"samples: []", "twice"),
        (b"x: !!python/object:os.system y", "tag"),
        (b"\xff\xfe", "UTF-8"),
        (BOMB, "aliases"),
        (b"a: &a [*a]", "contains itself"),
        (b"[" * 100_000, "nested"),
        (b"#" * (1024 * 1024 + 1), "1 MiB"),
        (GOOD + b"---\na: 1", "second document"),
        (sample(sample_id="'a/b'"), "sample_id"),
        (sample(sample_id="'..'"), "sample_id"),
        (sample(sample_id="'a b'"), "sample_id"),
        (sample(sample_id="'$(id)'"), "sample_id"),
        (sample(sample_id='"a\\nb"'), "sample_id"),
        (sample(sample_id="a" * 300), "sample_id"),
        (sample(fastq_r1="001"), "quotes"),
        (sample(fastq_r1="../x.fq.gz"), "fastq_r1"),
        (sample(fastq_r1="/etc/x.fq"), "fastq_r1"),
        (sample(fastq_r1="s3://b/x.fq"), "fastq_r1"),
        (sample(fastq_r1="x.bam"), "FASTQ"),
        (GOOD.replace(b"GRCh38", b"hg 37"), "reference_genome"),
        (GOOD + b"max_retries: 11", "max_retries"),
        (GOOD + b"due: soon", "write a day (2026-12-01)"),
        (GOOD + b"due: 2026-12-01T18:00:00", "say of which zone its time is"),
        (GOOD + b"due: 2026-13-01", "(line 4): 2026-13-01 is no time: month must be in 1..12"),
        (GOOD + b"due: 2026-12-01 18:00:00+99:00", "+99:00 is no time"),
        (GOOD + b"max_retries: 0x_", "(line 4): 0x_ is no int"),
        (GOOD + b"max_retries: 0b_", "(line 4): 0b_ is no int"),
        (GOOD + b"due: '0001-01-01T00:00:00+14:00'", "the year lies from 2000 to 2999"),
        (GOOD + b"due: 9999-12-31", "the year lies from 2000 to 2999"),
        (GOOD + b"due: 0", "more than 0"),
        (GOOD + b"due: -3", "due"),
        (GOOD + b"due: .inf", "at most 8760"),
        (GOOD + b"due: .nan", "more than 0"),
        (GOOD + b"due: yes", "write a day"),
        (GOOD + b"due: [24]", "write a day"),
        (GOOD + b"max_retries: true", "max_retries"),
        (GOOD + b"max_retries: 0x" + b"f" * 5000, "a number of 5,002 digits"),
        (GOOD + b"export_uri: file:///a/../b", "export_uri"),
        (GOOD.replace(b"reference", b"  - {sample_id: s1, fastq_r1: b.fq}\nreference"), "two samp"),
    ],
)  # fmt: skip
def test_bad_ones_are_refused_with_file_and_remedy(data, says):
    with pytest.raises(ConfigurationError) as error:
        parse_spec(data)
    assert "daylily_work.yaml" in str(error.value) and says in str(error.value)


@given(st.text())
def test_an_identifier_is_harmless_anywhere(text):
    if is_identifier(text):
        assert (
            text.isascii() and not set(text) & set("/\\ $`'\"();|&<>\n\t*?{}") and ".." not in text
        )


@given(st.binary(max_size=300))
def test_rubbish_is_refused_and_nothing_else_happens(data):
    with pytest.raises(ConfigurationError):
        parse_spec(data)


def test_a_lawful_file_with_very_many_foreign_keys_is_told_in_a_few_lines():
    keys = "".join(f"priority_{n}: {n}\n" for n in range(24_900))
    data = GOOD.replace(b"coverage: 30", b"coverag: 30") + keys.encode()
    warnings = parse_spec(data).warnings
    assert len(warnings) == MAX_LISTED + 1 and "did you mean 'priority'" in warnings[0]
    assert warnings[-1] == "daylily_work.yaml: and 24881 more"


def test_all_mistakes_are_counted_and_the_first_are_told():
    samples = "".join(f"  - {{sample_id: 's {n}', fastq_r1: a{n}.fq}}\n" for n in range(50))
    with pytest.raises(ConfigurationError) as error:
        parse_spec(f"samples:\n{samples}reference_genome: hg38\n".encode())
    lines = str(error.value).splitlines()
    assert len(lines) == MAX_LISTED + 1 and lines[-1] == "daylily_work.yaml: and 30 more"


def test_files_that_lie_with_others_are_counted_too():
    samples = "".join(
        f"  - {{sample_id: s{n}, fastq_r1: 's3://data/a{n}.fq'}}\n" for n in range(50)
    )
    spec = parse_spec(f"samples:\n{samples}reference_genome: hg38\n".encode()).spec
    with pytest.raises(ConfigurationError) as error:
        inputs_of(spec, "s3://other/w", ())
    lines = str(error.value).splitlines()
    assert len(lines) == MAX_LISTED + 1 and lines[-1] == "and 30 more"


@pytest.mark.parametrize(
    ("text", "customer"),
    [
        ("customer_id: acme\nreference_genome: 'hg38\n", "acme"),  # a quote that is never closed
        ("customer_id: 'acme' # ours\nsamples: [\n", "acme"),
        ("customer_id: acme\nsamples: none\n", "acme"),
        ("customer_id: 007\nsamples: none\n", "007"),
        ("samples: none\n", ""),
        ("customer_id: [acme]\n", ""),
        ("customer_id: ../acme\nsamples: [\n", ""),
        ("customer_id: a\ncustomer_id: b\nsamples: [\n", ""),
        ("\xff", ""),
    ],
)
def test_the_customer_is_read_of_a_file_that_is_not_lawful(text, customer):
    assert named_customer(text.encode("latin-1")) == customer


def one(entry, more=""):
    return parse_spec(
        f"samples: [{{sample_id: S1, {entry}}}]\nreference_genome: hg38\n{more}".encode()
    )


@pytest.mark.parametrize(
    ("entry", "files"),
    [
        ("bam: a/x.bam", ("a/x.bam", "a/x.bam.bai")),
        ("bam: x.bam, alignment_index: x.bai", ("x.bam", "x.bai")),
        ("bam: x.bam, alignment_index: x.bam.csi", ("x.bam", "x.bam.csi")),
        ("bam: x.bam, fastq_r1: '', cram: ''", ("x.bam", "x.bam.bai")),  # a form
        ("fastq_r1: a.fq, index: ATTACTCG", ("a.fq",)),  # a barcode
        ("cram: s3://data/x.cram", ("s3://data/x.cram", "s3://data/x.cram.crai")),
    ],
)
def test_aligned_reads_come_with_their_index(entry, files):
    (sample,) = one(entry).spec.samples
    assert sample.files == files


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("bam: x.bam, fastq_r1: a.fq", "it has fastq_r1 and bam"),
        ("bam: x.bam, cram: x.cram", "it has bam and cram"),
        ("bam: x.bam, fastq_r2: a.fq", "it has bam and fastq_r2"),
        ("fastq_r1: a.fq, alignment_index: x.bai", "alignment_index is that of a bam or cram"),
        ("bam: x.sam", "ends in .bam"),
        ("bam: ../x.bam", "each part of the path"),
        ("coverage: 3", "names no file: write fastq_r1, bam or cram"),
        ("fastq1: a.fq", "'fastq1' stands there: is 'fastq_r1' meant"),
        ("bam: x.bam, md5: ['0', '0', '0']", "that of the bam or cram first"),
    ],
)
def test_a_sample_has_one_kind_of_file(entry, says):
    with pytest.raises(ConfigurationError, match=says):
        one(entry)


@pytest.mark.parametrize(("kind", "digits"), [("md5", 32), ("sha256", 64)])
def test_a_checksum_has_as_many_digits_as_its_kind(kind, digits):
    [reads] = inputs_of(
        one(f"fastq_r1: a.fq, {kind}: '{'0f' * (digits // 2)}'").spec, "file:///w", ()
    )
    assert getattr(reads, kind) == "0f" * (digits // 2)
    for wrong in ("0" * (digits - 1), "0" * (digits + 1), "g" * digits):
        with pytest.raises(ConfigurationError, match=kind):
            one(f"fastq_r1: a.fq, {kind}: '{wrong}'")


def test_of_an_index_no_checksum_is_needed_and_it_lies_beside_its_file():
    entry = f"bam: s3://data/x.bam, md5: '{'0' * 32}'"
    bam, index = inputs_of(one(entry).spec, "file:///w", ("s3://data",))
    assert (bam.name, bam.md5) == ("elsewhere/S1/1/x.bam", "0" * 32)
    assert (index.name, index.md5) == ("elsewhere/S1/1/x.bam.bai", "")


def test_other_inputs_are_staged_too():
    spec = one("fastq_r1: a.fq", "inputs: [panel.bed, s3://data/known.vcf.gz]\n").spec
    names = [entry.name for entry in inputs_of(spec, "file:///w", ("s3://data",))]
    assert names == ["a.fq", "panel.bed", "elsewhere-inputs/2/known.vcf.gz"]
    assert [
        sample["fastq_r1"]
        for sample in samples_of(spec, inputs_of(spec, "file:///w", ("s3://data",)))
    ] == ["a.fq"]
    assert asks_of(spec) != asks_of(one("fastq_r1: a.fq").spec)
    assert one("fastq_r1: a.fq", "inputs: panel.bed\n").spec.inputs == ("panel.bed",)
    for more, says in (
        ("inputs: [a.fq]\n", "a.fq is named twice"),
        ("inputs: [b.bed, b.bed]\n", "b.bed is named twice"),
        ("inputs: [/etc/passwd]\n", "inputs"),
    ):
        with pytest.raises(ConfigurationError, match=says):
            one("fastq_r1: a.fq", more)


def test_a_manifest_names_the_aligned_file_and_its_index():
    spec = one("cram: x.cram").spec
    (told,) = samples_of(spec, inputs_of(spec, "file:///w", ()))
    assert told == {"sample_id": "S1", "cram": "x.cram", "index": "x.cram.crai", "coverage": None}


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("2026-12-01", datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)),
        ("'2026-12-01'", datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC)),
        ("2026-12-01T18:00:00Z", datetime(2026, 12, 1, 18, tzinfo=UTC)),
        ("2026-12-01 18:00:00+02:00", datetime(2026, 12, 1, 16, tzinfo=UTC)),
        ("'2026-12-01T18:00+02:00'", datetime(2026, 12, 1, 16, tzinfo=UTC)),
        ("24", timedelta(hours=24)),
        ("0.5", timedelta(minutes=30)),
        ("'24'", timedelta(hours=24)),
        ("", None),
        ("''", None),
    ],
)
def test_due_is_a_day_a_time_or_hours(text, due):
    assert parse_spec(GOOD + f"due: {text}\n".encode()).spec.due == due


def test_hours_count_from_when_it_was_found_and_what_is_due_changes_no_results():
    spec = parse_spec(GOOD + b"due: 24\ncustomer_id: acme\n").spec
    found = datetime(2026, 1, 1, tzinfo=UTC)
    record = new_record("w1", "file:///in/w1", found, describe(spec, "", 3))
    assert record.due == found + timedelta(hours=24)
    without = parse_spec(GOOD + b"customer_id: acme\n").spec
    assert asks_of(spec) == asks_of(without)
    later = record.model_copy(update={"created_at": found, "updated_at": found})
    assert describe(spec, "", 3).matches(later)
    assert describe(without, "", 3).changes(later)["due"] is None, "taken out of its file again"
