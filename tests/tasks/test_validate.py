"""A customer's workset names nothing that is not the customer's own."""

from types import SimpleNamespace

import pytest

from blocks.settings import WorksetSettings
from tasks.dispatch import step_command
from tasks.validate import check_settings, on_site
from worksets.config import Pipeline
from worksets.errors import ConfigurationError
from worksets.record import Step
from worksets.registration import asks_of
from worksets.spec import parse_spec

SETTINGS = WorksetSettings(
    state_db="x",
    clusters=[],
    worksets=[],
    results="s3://results",
    export_roots=["s3://results/shared"],
    customers={
        "acme": {"inputs": ["s3://data/acme"], "exports": ["s3://results/acme"]},
        "cedar": {"inputs": ["s3://data/cedar"]},
    },
    pipelines={"germline": {"run": ["true"]}},
)


def check(location, customer="acme", fastq="reads/a.fq.gz", export=""):
    text = (
        f"samples: [{{sample_id: s1, fastq_r1: '{fastq}'}}]\nreference_genome: hg38\n"
        f"customer_id: {customer}\n" + (f"export_uri: '{export}'\n" if export else "")
    )
    check_settings(parse_spec(text.encode()).spec, location, SETTINGS)


def test_ones_own_is_allowed():
    check("s3://data/acme/ws1", export="s3://results/acme/ws1")
    check("s3://data/cedar/ws1", "cedar", export="s3://results/shared/cedar/ws1")
    check("s3://data/acme/ws1", fastq="s3://data/acme/ws1/a.fq.gz")
    check("s3://data/acme/ws1", fastq="s3://data/acme/common/a.fq.gz")


@pytest.mark.parametrize(
    "fastq",
    [
        "../../cedar/ws9/a.fq.gz",
        "file:///data/cedar/ws9/../a.fq.gz",
        "s3://data/acme/../cedar/a.fq.gz",
        "https://data/acme/a.fq.gz",
        "/data/cedar/ws9/a.fq.gz",
        "%2e%2e/%2e%2e/cedar/ws9/a.fq.gz",
        "reads/..%2f..%2f..%2fcedar/ws9/a.fq.gz",
        "reads/../../../cedar/a.fq.gz",
        "..\\\\cedar\\\\a.fq.gz",
    ],
)
def test_no_fastq_of_a_neighbour_can_be_named(fastq):
    with pytest.raises(ConfigurationError, match="fastq_r1"):
        check("s3://data/acme/ws1", fastq=fastq)


@pytest.mark.parametrize(
    "fastq",
    ["s3://data/cedar/ws9/a.fq.gz", "s3://data/acme-not/a.fq.gz", "s3://data/ACME/a.fq.gz",
     "file:///data/acme/a.fq.gz"],
)  # fmt: skip
def test_a_whole_uri_lies_in_its_customers_inputs(fastq):
    with pytest.raises(ConfigurationError, match="nor in one of its customer's inputs"):
        check("s3://data/acme/ws1", fastq=fastq)


@pytest.mark.parametrize(
    "location",
    ["s3://data/cedar/ws9", "s3://data/ACME/ws1", "s3://data/acme-not/ws1", "s3://data/acme/../x",
     "s3://data/acme/%2e%2e/cedar/ws9", "file:///data/acme/ws1"],
)  # fmt: skip
def test_a_workset_that_lies_with_a_neighbour_is_refused(location):
    with pytest.raises(ConfigurationError, match="may have worksets only below s3://data/acme"):
        check(location)


@pytest.mark.parametrize("customer", ["Acme", "ACME", "acme.", "stranger"])
def test_a_customer_is_its_exact_name(customer):
    with pytest.raises(ConfigurationError, match="customer_id"):
        check("s3://data/acme/ws1", customer)


@pytest.mark.parametrize(
    "export",
    ["s3://results/cedar/ws1", "s3://results/acme-2", "s3://results/acme/../cedar",
     "s3://results/Acme/x", "s3://results/acme/%2e%2e/cedar", "s3://other/acme",
     "s3://results/shared/x", "s3://results/shared/acme/x", "file:///results/acme"],
)  # fmt: skip
def test_no_export_goes_to_a_neighbour(export):
    with pytest.raises(ConfigurationError, match="export_uri"):
        check("s3://data/acme/ws1", export=export)


@pytest.mark.parametrize(
    "export",
    ["s3://results/shared/x", "s3://results/shared/acme/x", "s3://results/shared/cedar-2",
     "s3://results/shared", "s3://results/cedar/x"],
)  # fmt: skip
def test_without_exports_a_customer_exports_below_its_own_name_only(export):
    with pytest.raises(ConfigurationError, match=r"export_uri.*s3://results/shared/cedar"):
        check("s3://data/cedar/ws1", "cedar", export=export)


PLAIN = "samples: [{sample_id: S1, fastq_r1: a.fq}]\n"


def genome(work, on_clusters=(), **settings):
    pipelines = {
        "germline": {"run": ["true"], "default_reference_genome": "hg38"},
        "own": {"run": ["x"]},
    }
    known = WorksetSettings(
        state_db="x", clusters=[], worksets=[], results="r", customers={}, pipelines=pipelines,
        **settings,
    )  # fmt: skip
    spec = parse_spec((PLAIN + work).encode()).spec
    return on_site(spec, known, [list(on_clusters)]).reference_genome


def test_a_genome_that_is_not_named_is_the_pipelines():
    assert genome("") == "hg38" and genome("reference_genome: mm39", ["mm39"]) == "mm39"
    assert genome("", ["grch38"]) == "grch38"
    with pytest.raises(
        ConfigurationError, match=r"missing; write one of .*hg38.* give the pipeline own"
    ):
        genome("pipeline: own")
    with pytest.raises(ConfigurationError, match="'reference' stands there"):
        genome("reference: hg19")  # the default does not stand in for a mistake
    with pytest.raises(
        ConfigurationError, match="'genome' stands there: is 'reference_genome' meant"
    ):
        genome("pipeline: own\ngenome: hg38")
    with pytest.raises(ConfigurationError, match=r"mm39 is unknown; write one of .*hg38"):
        genome("reference_genome: mm39")


def test_a_dy_r_is_looked_at_and_is_work_where_its_pipeline_takes_it():
    spec = parse_spec((PLAIN + "reference_genome: hg38\ndy-r: destroy\n").encode()).spec
    plain = parse_spec((PLAIN + "reference_genome: hg38\n").encode()).spec

    def there(**pipeline):
        known = SETTINGS.model_copy(update={"pipelines": {"germline": Pipeline(**pipeline)}})
        return on_site(spec, known, [])

    # as before: no upgrade makes other work of what nobody is given
    assert asks_of(there(run=["day"])) == asks_of(plain)
    assert asks_of(there(run=["day", "{dy_r}"], dy_r=["destroy"])) != asks_of(plain)
    with pytest.raises(ConfigurationError, match="'destroy' is none"):
        there(run=["day", "{dy_r}"], dy_r=["help"])


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ({"run": ["day", "{dy_r}"]}, "name the words"),
        ({"run": ["day", "--x={dy_r}"], "dy_r": ["*"]}, "within an argument"),
    ],
)
def test_a_pipeline_names_the_words_that_it_takes(pipeline, says):
    with pytest.raises((ValueError, ConfigurationError), match=says):
        Pipeline(**pipeline)


def test_the_words_of_a_dy_r_are_arguments_and_no_placeholders():
    pipeline = Pipeline(run=("day", "{dy_r}", "{results}"), dy_r=("*",))
    values, paths = {"results": "/r"}, SimpleNamespace(results="/r", receipt="")
    command = step_command(Step.RUN, pipeline, values, paths, ("-j", "20", "{inputs}"))
    assert command.argv == ("day", "-j", "20", "{inputs}", "/r")
    assert step_command(Step.RUN, pipeline, values, paths).argv == ("day", "/r")
