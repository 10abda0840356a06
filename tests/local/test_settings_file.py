"""A settings file is right, or every mistake in it is told with its line and what to write."""

import copy
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local import check, settings_file
from worksets.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
RIGHT = """
state_db: {type: sqlite, path: state.db}
worksets: [in, s3-bucket/incoming]
results: results
export_roots: [results, "s3://ours/shared"]
lease_s: 3
default_customer: acme
notifiers: [sns-topic/ops]
customers:
  acme: {inputs: ["file:///data/Müller Labor"], exports: ["s3://ours/acme"], weight: 2}
  cedar: {}
processor: {poll_interval_seconds: 2, max_concurrent_worksets: 5, enable_retry: true}
placement: {regions: {"s3://ours": us-west-2}, waiting_usd_per_hour: {urgent: 10}}
log_patterns: [{tool: x, pattern: "a+", category: transient, remedy: wait}]
clusters:
  - {type: local-cluster, cluster_name: alpha, work_folder: c/alpha, reference_genomes: [hg38]}
  - type: slurm-cluster
    cluster_name: hpc1
    work_folder: /shared/worksets
    transport:
      kind: ssh
      host: login
      user: me
      key_file: keys/id
      known_hosts: ~/known
      jump: {host: gate, user: me}
pipelines:
  germline: {run: [snakemake, --cores, "4"], stage: ["true"]}
"""


def read(text, base):
    file = base / "s.yaml"
    file.write_text(text)
    return settings_file.read(file, base)


def mistakes(text, base):
    with pytest.raises(ConfigurationError) as raised:
        read(text, base)
    return str(raised.value).splitlines()


def changed(changes):
    """The right file with other values: `{"a.b": value}`; `...` takes the key out."""
    raw = yaml.safe_load(RIGHT)
    for place, value in changes.items():
        *path, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        at = raw
        for part in path:
            at = at[part]
        if value is ...:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(value)
        else:
            at[last] = value
    return yaml.safe_dump(raw, allow_unicode=True)


def test_a_right_file_gives_whole_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found, db, (alpha, hpc) = read(RIGHT, tmp_path)
    assert db.path == f"{tmp_path}/state.db" and found.results == f"{tmp_path}/results"
    assert found.worksets == [f"{tmp_path}/in", "s3-bucket/incoming"]
    assert found.export_roots == [f"file://{tmp_path}/results", "s3://ours/shared"]
    assert found.customers["acme"].inputs == ("file:///data/Müller Labor",)
    assert alpha.work_folder == f"{tmp_path}/c/alpha" and hpc.work_folder == "/shared/worksets"
    assert hpc.transport.key_file == f"{tmp_path}/keys/id"
    assert hpc.transport.known_hosts == "/home/me/known"


def test_the_example_is_right():
    settings_file.read(ROOT / "examples/settings.yaml", ROOT)


def test_nothing_is_changed_before_it_is_looked_at(tmp_path):
    folder = tmp_path / "Proben März #1? 50% [x]"
    text = changed({"worksets": [str(folder)], "export_roots": [str(folder)], "results": "~/out"})
    found, _, _ = read(
        changed({"clusters.1": ..., "worksets": [str(folder)], "export_roots": [str(folder)]}),
        tmp_path,
    )
    assert found.worksets == [str(folder)] and found.export_roots == [f"file://{folder}"]
    assert "another" in mistakes(text, tmp_path)[0]  # a remote cluster has other homes


WRONG = [
    # unknown keys, everywhere
    ({"notifierz": []}, "notifierz", "did you mean 'notifiers'"),
    ({"lease_seconds": 5}, "lease_seconds", "lease_s"),
    ({"defualt_customer": "acme"}, "defualt_customer", "did you mean 'default_customer'"),
    ({"zzz": 1}, "zzz", "there are .*worksets"),
    ({"processor.max_worker": 1}, "processor.max_worker", "did you mean 'max_workers'"),
    ({"customers.acme.input": []}, "customers.acme.input", "did you mean 'inputs'"),
    ({"pipelines.germline.ran": []}, "pipelines.germline.ran", "did you mean 'run'"),
    ({"clusters.0.work_dir": "x"}, r"clusters\[0\].work_dir", "work_folder"),
    ({"clusters.0.partition": "x"}, r"clusters\[0\].partition", "there are"),
    ({"clusters.1.transport.hots": "x"}, r"clusters\[1\].transport.hots", "did you mean 'host'"),
    ({"clusters.1.transport.jump.usr": "x"}, r"transport.jump.usr", "did you mean 'user'"),
    ({"state_db.pth": "x"}, "state_db.pth", "did you mean 'path'"),
    ({"placement.aging_hour": 1}, "placement.aging_hour", "did you mean 'aging_hours'"),
    ({"log_patterns.0.remdy": "x"}, r"log_patterns\[0\].remdy", "did you mean 'remedy'"),
    # another shape
    ({"worksets": "/data/incoming"}, "worksets", r"write a list: worksets: \[/data/incoming\]"),
    ({"export_roots": "run/results"}, "export_roots", r"export_roots: \[run/results\]"),
    ({"notifiers": "sns-topic/x"}, "notifiers", r"notifiers: \[sns-topic/x\]"),
    ({"customers.acme.inputs": "s3://a/b"}, "customers.acme.inputs", r"inputs: \['s3://a/b'\]"),
    ({"clusters.0.reference_genomes": "hg38"}, "reference_genomes", r"\[hg38\]"),
    ({"pipelines.germline.run": "snakemake --cores 4"}, "pipelines.germline.run",
     r"write an argument list: run: \[snakemake, --cores, '4'\]"),
    ({"pipelines.germline.run": ["x", 4]}, r"germline.run\[1\]", "put it in quotes: '4'"),
    ({"pipelines.germline.run": []}, "germline.run", "no program"),
    ({"pipelines.germline.stage": None}, "germline.stage", "null"),
    ({"pipelines": ["germline"]}, "pipelines", r"germline: {}"),
    ({"customers": ["acme", "cedar"]}, "customers", r"{acme: {}, cedar: {}}"),
    ({"customers.cedar": None}, "customers.cedar", r"null.*{} for none"),
    ({"customers.cedar": []}, "customers.cedar", "a list where keys"),
    ({"clusters": {"alpha": {}}}, "clusters", "a mapping where a list"),
    ({"clusters.0": "alpha"}, r"clusters\[0\]", "type: local-cluster or slurm-cluster"),
    ({"clusters.0.type": "local-clustr"}, r"clusters\[0\].type", "did you mean 'local-cluster'"),
    ({"clusters.0.type": ...}, r"clusters\[0\]", "no `type:`"),
    ({"clusters.0.cluster_name": 7}, "cluster_name", "put it in quotes: '7'"),
    ({"clusters.0.drained": "yes"}, "drained", "true or false"),
    ({"clusters.0.max_concurrent_worksets": "3"}, "max_concurrent", "without quotes: 3"),
    ({"clusters.0.max_concurrent_worksets": 2.5}, "max_concurrent", "whole number"),
    ({"clusters.0.max_concurrent_worksets": True}, "max_concurrent", "truth value"),
    ({"clusters.1.transport": "ssh"}, "transport", "kind: local or ssh or ssm"),
    ({"clusters.1.transport.kind": "shs"}, "transport.kind", "one of local, ssh, ssm"),
    ({"results": None}, "results", "null"),
    ({"results": False}, "results", "truth value"),
    ({"state_db": ...}, "state_db", "missing"),
    ({"state_db": "run/state.db"}, "state_db", "type: sqlite or dynamodb"),
    ({"customers": ...}, "customers", "missing"),
    # numbers
    ({"lease_s": 0.01}, "lease_s", "at least 3"),
    ({"lease_s": 100_000}, "lease_s", "at most 86400"),
    ({"lease_s": float("nan")}, "lease_s", "write a number"),
    ({"lease_s": float("inf")}, "lease_s", "write a number"),
    ({"lease_s": 10**400}, "lease_s", "write a number"),
    ({"processor.poll_interval_seconds": 0.1}, "poll_interval_seconds", "at least 0.5"),
    ({"clusters.0.poll_min_s": 60}, "poll_max_s", "not less"),
    ({"clusters.0.poll_min_s": 0.001}, "poll_min_s", "at least 0.1"),
    ({"clusters.0.memory_gb_per_workset": 1e7}, "memory_gb", "at most 1"),
    ({"clusters.0.vcpus_per_workset": 0}, "vcpus", "at least 1"),
    ({"customers.acme.weight": 0}, "weight", "at least"),
    ({"clusters.1.transport.connect_timeout_s": float("inf")}, "connect_timeout_s", "a number"),
    # names
    ({"clusters.1.cluster_name": "alpha"}, r"clusters\[1\].cluster_name", r"clusters\[0\]"),
    ({"clusters.0.cluster_name": "HPC.1", "clusters.1.cluster_name": "hpc_1"},
     r"clusters\[1\].cluster_name", "'hpc_1' and 'HPC.1'"),
    ({"clusters.0.cluster_name": "a b"}, "cluster_name", "letters, digits"),
    ({"default_customer": "acmee"}, "default_customer", "did you mean 'acme'"),
    ({"notifiers": ["ops"]}, r"notifiers\[0\]", "TYPE-SLUG/NAME"),
    ({"deployment": "x"}, "deployment", "FLOW/DEPLOYMENT"),
    ({"pipelines.germline.run": ["x", "{nope}"]}, "germline.run", "manifest"),
    ({"log_patterns.0.pattern": "("}, r"log_patterns\[0\].pattern", "regular expression"),
    # places
    ({"worksets": ["/"]}, r"worksets\[0\]", "root"),
    ({"worksets": ["x/../../../../../../../../.."]}, r"worksets\[0\]", "root"),
    ({"results": "/"}, "results", "root"),
    ({"results": "//"}, "results", "root"),
    ({"export_roots": ["/"]}, r"export_roots\[0\]", "root"),
    ({"export_roots": ["file:///"]}, r"export_roots\[0\]", "root"),
    ({"customers.acme.exports": ["file:///"]}, r"exports\[0\]", "root"),
    ({"customers.acme.exports": ["/data/x"]}, r"exports\[0\]", "write file:///data/x"),
    ({"customers.acme.exports": ["s3://x/../y"]}, r"exports\[0\]", "plainly"),
    ({"export_roots": ["http://x/y"]}, r"export_roots\[0\]", "plainly"),
    ({"worksets": ["s3://bucket/in"]}, r"worksets\[0\]", "s3-bucket/NAME"),
    ({"worksets": ["s3-buckets/in"]}, r"worksets\[0\]", "did you mean s3-bucket/in"),
    ({"worksets": [""]}, r"worksets\[0\]", "no folder"),
    ({"worksets": ["$HOME/x"]}, r"worksets\[0\]", "variables"),
    ({"worksets": ["~nobody-of-this-name/x"]}, r"worksets\[0\]", "home"),
    ({"clusters.1.work_folder": "~/x"}, "work_folder", "absolute path there"),
    ({"clusters.1.work_folder": "x"}, "work_folder", "absolute path there"),
    ({"clusters.1.transport": {}, "clusters.0.work_folder": "/shared/worksets"},
     r"clusters\[1\].work_folder", r"clusters\[0\] has this folder"),
    ({"state_db.path": "."}, "state_db.path", "state.db"),
    ({"placement.regions": {"/x": "us"}}, "placement.regions", "plainly"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "remedy"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_a_mistake_is_told_with_its_line_and_what_to_write(changes, key, remedy, tmp_path):
    told = mistakes(changed(changes), tmp_path)
    assert len(told) == 1, told
    assert re.match(rf"{tmp_path}/s.yaml \(line \d+\): ", told[0])
    assert re.search(key + r"[^:]*: ", told[0]) and re.search(remedy, told[0]), told


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path):
    text = RIGHT.replace("lease_s: 3", "lease_s: 0").replace("cedar: {}", "cedar: {wait: 1}")
    text = text.replace("results: results", "results: [a]").replace("jump: {host: gate,", "jump: {")
    told = mistakes(text, tmp_path)
    lines = [int(re.search(r"line (\d+)", line)[1]) for line in told]
    assert lines == sorted(lines) and len(told) == 4
    assert "jump.host: missing" in told[-1]


def test_a_secret_is_never_shown(tmp_path):
    text = changed(
        {"clusters.1.transport.passphrase": 424242, "clusters.1.transport.pasphrase": "s3cret"}
    )
    assert not re.search("424242|s3cret", "\n".join(mistakes(text, tmp_path)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"- a", "mapping"),
        (b"a: 1\na: 2", "twice"),
        (b"a: !!python/object:os.x {}", "tag"),
        (b"caf\xe9: 1", "UTF-8"),
        (b"a: [", "YAML"),
        (b"a: 1\n---\nb: 2", "second document"),
        (b"#" * 2_000_000, "1 MiB"),
        (b"1: 2", "quotes"),
    ],
)
def test_a_file_that_is_no_settings_file(data, words, tmp_path):
    (tmp_path / "s.yaml").write_bytes(data)
    with pytest.raises(ConfigurationError, match=words) as raised:
        settings_file.read(tmp_path / "s.yaml", tmp_path)
    assert len(str(raised.value).splitlines()) == 1


def test_no_file_at_all(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("gone", "no such file"), (".", "a folder"), ("pipe", "no regular file")):
        with pytest.raises(ConfigurationError, match=words):
            settings_file.read(tmp_path / name, tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "s.yaml").write_text(RIGHT)
    (tmp_path / "s.yaml").chmod(0)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        settings_file.read(tmp_path / "s.yaml", tmp_path)


def test_check_says_right_or_all_mistakes(tmp_path, capsys):
    (tmp_path / "s.yaml").write_text(RIGHT)
    assert check.main([str(tmp_path / "s.yaml")]) == 0
    assert "s.yaml: right: 2 clusters, 2 customers, 1 pipeline\n" in capsys.readouterr().out
    (tmp_path / "s.yaml").write_text(RIGHT + "wrong: 1\nworse: 2\n")
    assert check.main([str(tmp_path / "s.yaml")]) == 2
    printed = capsys.readouterr()
    assert not printed.out and len(printed.err.splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


def places(value, path=()):
    """Every place in a file that has a key or an index."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in entries:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


PLACES = sorted(places(yaml.safe_load(RIGHT)), key=str)
OTHERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
    st.sampled_from(["/", "~", "", "file:///", "s3://", "..", "1e9", ".inf", "x\0y", 10**400]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3), st.none()), max_size=2),
    st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), st.integers(), max_size=2),
)  # fmt: skip


@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_whatever_is_changed_it_is_right_or_told_with_a_line(tmp_path, data):
    raw = yaml.safe_load(RIGHT)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from(PLACES))
        at = raw
        try:
            for part in path:
                at = at[part]
            at[last]
        except (KeyError, IndexError, TypeError):
            continue  # it is gone already
        match data.draw(st.sampled_from(["delete", "rename", "replace"])):
            case "delete" if isinstance(at, dict | list):
                del at[last]
            case "rename" if isinstance(at, dict) and isinstance(last, str):
                letter = data.draw(st.integers(0, len(last) - 1))
                at[last[:letter] + last[letter + 1 :]] = at.pop(last)
            case _ if isinstance(at, dict | list):
                at[last] = copy.deepcopy(data.draw(OTHERS))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True))
    try:
        settings_file.read(tmp_path / "s.yaml", tmp_path)
    except ConfigurationError as error:
        for line in str(error).splitlines():
            assert re.match(r".*s\.yaml( \(line \d+\))?: ", line), line
            assert "(line" in line or "not text" in line or "not valid YAML" in line, line
