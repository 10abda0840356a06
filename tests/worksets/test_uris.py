"""What lies below what: no way of writing a URI leads out of its root."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.uris import is_lawful, lies_below

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
