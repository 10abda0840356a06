"""What lies below what: no way of writing a URI leads out of its root."""

import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from worksets.uris import Uri, file_path, file_uri, is_lawful, lies_below, once_encoded

parts = st.lists(
    st.one_of(
        st.sampled_from(["a", "b", "A", "..", ".", "", "%2e%2e", "a b", "..%2f", "\\", "a\n", "é"]),
        st.text(min_size=1, max_size=4),
    ),
    max_size=5,
)


@given(parts)
def test_what_lies_below_a_root_still_does_after_any_reading_of_it(parts):
    uri = "s3://bucket/a/" + "/".join(parts)
    if lies_below(uri, "s3://bucket/a"):
        path = uri.removeprefix("s3://bucket")
        assert posixpath.normpath(path) == path.rstrip("/")
        assert "%" not in path and "\\" not in path and "//" not in path
        assert (posixpath.normpath(path) + "/").startswith("/a/")


@pytest.mark.parametrize(
    ("uri", "below"),
    [
        ("s3://bucket/acme", True),
        ("s3://bucket/acme/ws/", True),
        ("s3://bucket/acme-2/ws", False),
        ("s3://bucket/acm", False),
        ("s3://bucket/ACME/ws", False),
        ("s3://Bucket/acme/ws", False),
        ("s3://bucket2/acme/ws", False),
        ("s3://bucket/acme/../cedar/ws", False),
        ("s3://bucket/acme/%2e%2e/cedar", False),
        ("s3://bucket/acme//cedar", False),
        ("s3://bucket/acme?x=/cedar", False),
        ("file:///bucket/acme", False),
        ("s3:/bucket/acme", False),
        ("", False),
    ],
)
def test_below_the_root_of_a_customer(uri, below):
    assert lies_below(uri, "s3://bucket/acme") is below
    assert lies_below(uri, "s3://bucket/acme/") is below


def test_lawful():
    assert is_lawful("file:///data/x") and is_lawful("s3://b-1.x/y")
    assert not is_lawful("file://host/x") and not is_lawful("http://b/y")


ODD = [
    "a b",
    "Müller Labor",
    "Proben März #1? 50% [x]",
    "a%20b",
    "%2e%2e",
    "...",
    "~",
    "a&b;c",
    "日本",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_a_file_uri_letter_by_letter(name):
    uri = file_uri(f"/data/{name}/ws1")
    assert uri == f"file:///data/{name}/ws1" and file_path(uri) == f"/data/{name}/ws1"
    assert is_lawful(uri) and lies_below(uri, f"file:///data/{name}")
    others = [other for other in ODD if other != name]
    assert not any(lies_below(uri, f"file:///data/{other}") for other in others)


@pytest.mark.parametrize("name", ["..", ".", "a\nb", "a\\b", "a\x00b", "\udcfc"])
def test_what_two_programs_could_read_differently_is_no_root_and_below_none(name):
    uri = file_uri(f"/data/{name}/ws1")
    uri.encode()  # it can be saved and shown
    assert not lies_below(uri, f"file:///data/{name}") and not lies_below(uri, "file:///data")


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("~", "...", "%2e%2e")])
def test_the_encoded_uri_of_an_older_release_is_read_in_one_way(name):
    encoded = Path(f"/data/{name}/ws1").as_uri()
    assert once_encoded(encoded) == f"/data/{name}/ws1"


@pytest.mark.parametrize(
    "uri",
    ["file:///a/%2e%2e/b", "file:///a%2Fb", "file:///a%20b%zz", "file:///plain", "file:///%41"],
)
def test_another_spelling_was_never_ours(uri):
    assert once_encoded(uri) == ""


@pytest.mark.parametrize("root", ["file:///", "file://", "s3://", "/data", "~/x", "file://~/x"])
def test_no_setting_names_the_root_of_everything(root):
    with pytest.raises(ValidationError, match="plainly"):
        TypeAdapter(Uri).validate_python(root)
