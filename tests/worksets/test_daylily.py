"""Work files as portals, forms and older documents write them."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worksets.daylily import KEYS, SAMPLE_KEYS, as_texts, understood, words
from worksets.errors import ConfigurationError
from worksets.record import Priority
from worksets.spec import parse_spec
from worksets.yaml_safe import Lines, load_mapping


def spec(samples="[{sample_id: S1, fastq_r1: a.fq.gz}]", more=""):
    return parse_spec(f"samples: {samples}\nreference_genome: hg38\n{more}".encode())


def test_a_web_form_writes_every_value_as_a_text_and_leaves_some_empty():
    entry = "[{sample_id: S1, fastq_r1: a.fq.gz, fastq_r2: '', coverage: '30', md5: ''}]"
    more = "max_retries: '3'\npriority: ''\ncustomer_id: ''\nestimated_coverage: ''\n"
    found = spec(entry, more).spec
    (sample,) = found.samples
    assert sample.fastq_r2 is None and sample.coverage == 30 and sample.md5 == ()
    assert found.max_retries == 3 and found.priority is Priority.NORMAL
    assert found.customer_id is None and found.estimated_coverage is None


def test_no_coverage_is_not_known():
    found = spec("[{sample_id: S1, fastq_r1: a.fq.gz, coverage: 0}]", "estimated_coverage: 0").spec
    assert found.samples[0].coverage is None and found.estimated_coverage is None
    with pytest.raises(ConfigurationError, match="coverage"):
        spec("[{sample_id: S1, fastq_r1: a.fq.gz, coverage: -1}]")
    with pytest.raises(ConfigurationError, match="coverage"):
        spec("[{sample_id: S1, fastq_r1: a.fq.gz, coverage: many}]")


@pytest.mark.parametrize("name", ["20240213", "001", "1e3", "NO", "2024-02-13", "0x1F", "1_000"])
def test_a_name_is_what_stands_in_the_file_whatever_yaml_reads_there(name):
    found = spec(f"[{{sample_id: {name}, fastq_r1: a.fq.gz}}]", f"customer_id: {name}\n").spec
    assert found.samples[0].sample_id == name and found.customer_id == name


def test_two_names_that_yaml_reads_as_one_number_stay_two():
    entries = "[{sample_id: 010, fastq_r1: a.fq}, {sample_id: 8, fastq_r1: b.fq}]"
    assert [one.sample_id for one in spec(entries).spec.samples] == ["010", "8"]


def test_a_name_that_is_no_name_is_refused_all_the_same():
    with pytest.raises(ConfigurationError, match="sample_id"):
        spec("[{sample_id: -1, fastq_r1: a.fq.gz}]")
    with pytest.raises(ConfigurationError, match="sample_id"):
        spec("[{sample_id: [1], fastq_r1: a.fq.gz}]")


@pytest.mark.parametrize(("word", "priority"), [("high", "urgent"), ("HIGH", "urgent")])
def test_words_of_older_documents_for_a_priority(word, priority):
    assert spec(more=f"priority: {word}\n").spec.priority == priority


@pytest.mark.parametrize(("other", "ours"), [*KEYS.items(), *SAMPLE_KEYS.items()])
def test_other_names_of_keys(other, ours):
    entry = {"sample_id": "S1", "fastq_r1": "a.fq", "fastq_r2": "b.fq"}
    work = {"samples": [entry], "reference_genome": "hg38", "preferred_cluster": "alpha"}
    plain = parse_spec(yaml.safe_dump(work).encode()).spec
    place = work if ours in work else entry
    place[other] = place.pop(ours)
    found = parse_spec(yaml.safe_dump(work).encode())
    assert found.spec == plain and found.warnings == ()


def test_where_ours_stands_or_two_others_do_nothing_is_guessed():
    found = spec("[{sample_id: S1, name: mother, fastq_r1: a.fq.gz}]")
    assert found.spec.samples[0].sample_id == "S1" and "name" in found.warnings[0]
    with pytest.raises(ConfigurationError, match="sample_id"):
        spec("[{id: S1, name: mother, fastq_r1: a.fq.gz}]")


def test_daylilys_own_keys_are_kept_and_nothing_is_said_of_them():
    more = "dy-r: produce_vcf -j 20\nday-clone: -d x\nbudget: null\nnotes: free\nodd: 1\n"
    found = spec(more=more)
    assert [w for w in found.warnings if "odd" in w] == list(found.warnings)
    assert found.spec.model_extra["dy-r"] == "produce_vcf -j 20"


texts = st.text("abcXYZ019._-", min_size=1, max_size=8)
lawful = st.fixed_dictionaries(
    {
        "samples": st.lists(
            st.fixed_dictionaries(
                {"sample_id": texts, "fastq_r1": texts},
                optional={"fastq_r2": texts, "coverage": st.floats(1, 100), "extra": texts},
            ),
            max_size=3,
        ),
        "reference_genome": texts,
    },
    optional={
        "pipeline": texts,
        "priority": st.sampled_from(["urgent", "normal", "low"]),
        "max_retries": st.integers(0, 9),
        "estimated_coverage": st.floats(1, 100),
        "customer_id": texts,
    },
)


@given(lawful)
def test_what_is_written_as_we_write_it_is_left_as_it_is(work):
    mapping, lines = load_mapping(yaml.safe_dump(work).encode(), "f")
    assert understood(mapping, lines) == mapping


SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
SOME_KEYS = st.sampled_from([*SAMPLE_KEYS, *KEYS, "samples", "coverage", "max_retries", "priority"])
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SOME_KEYS, inner)
)


@given(ANYTHING)
def test_it_is_total(value):
    understood(value if isinstance(value, dict) else {"samples": value}, Lines())


SNV = """produce_snv_concordances  -p -k -j 20 --config
   aligners=["sent","bwa2a"] callers=["oct"]
"""
WORDS = ("produce_*", "help", "-p", "-k", "-j", "[0-9]*", "--config", "*=*")


def test_a_dy_r_becomes_the_words_that_a_shell_would_make_of_it():
    found = words(SNV, WORDS)
    assert found[:5] == ("produce_snv_concordances", "-p", "-k", "-j", "20")
    assert found[6:] == ("aligners=[sent,bwa2a]", "callers=[oct]")
    assert words("a=[b]", ["a=[b]"]) == ("a=[b]",), "what is listed as it is"
    assert words("  help\n", WORDS) == ("help",) and words(None, ()) == words("", ()) == ()


@pytest.mark.parametrize(
    ("dy_r", "says"),
    [
        ("help --delete-all-output", "'--delete-all-output' is none of the words"),
        ("help ; rm", "';' is none"),
        ("produce_x 'and so on", "no closing quotation"),
        ("help \x1b[31m", "none of the words"),
        ("help " * 201, "at most 200 words"),
        (["help"], "write a text"),
        (3, "write a text"),
    ],
)
def test_a_word_that_is_not_named_is_refused(dy_r, says):
    with pytest.raises(ConfigurationError, match=says):
        words(dy_r, WORDS)


@given(st.text(), st.lists(st.text(max_size=4)))
def test_words_are_some_of_the_text_or_refused(text, allowed):
    try:
        found = words(text, allowed)
    except ConfigurationError:
        return
    assert all(word.isprintable() for word in found)


def test_a_manifest_has_daylilys_keys_as_texts():
    found = spec(more="dy-r: |\n  help\nbudget: 200\nnotes: ''\n").spec
    assert as_texts(found.daylily) == {"dy-r": "help", "budget": "200"}
