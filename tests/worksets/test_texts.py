"""Texts of strangers: whatever they hold, what leaves can be stored, shown and read."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worksets.texts import MAX_LINE, MAX_LISTED, MAX_TEXT, few, line, listed, plain

ODD = st.sampled_from([
    "\0", "\x07", "\x1b", "\x1b[31m", "\x1b[", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\",
    "\x1bP", "\x9b2J", "\x9d", "\x9c", "\x85", "\x7f", "\r", "\r\n", "\n", "\t", "\u202e", "\u2066",
    "\u200b", "\ufeff", "\u2028", "\ufffe", "\ud800", "\U000e0041", "\u3164", "\u00a0", "é",
    "漢", "\U0001f600", "x" * 3000,
])  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters()),
    st.lists(st.one_of(ODD, st.text(st.characters(), max_size=5))).map("".join),
)
BOUNDS = st.integers(0, 3 * MAX_LINE)
PLAIN_ASCII = st.text(st.sampled_from([chr(n) for n in range(0x20, 0x7F)] + ["\n", "\t"]))


def fit(text):
    """Whether anybody can store, show and read it."""
    text.encode("utf-8")
    return not any(
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        for char in text
        if char not in "\n\t"
    )


@given(TEXTS, BOUNDS)
def test_whatever_comes_in_what_leaves_is_fit_and_bounded(text, longest):
    told = plain(text, longest)
    assert fit(told) and len(told) <= longest
    assert all(len(part) <= MAX_LINE for part in told.split("\n"))
    assert plain(told, longest) == told
    one = line(text, longest)
    assert fit(one) and len(one) <= longest and "\n" not in one and "\t" not in one
    assert line(one, longest) == one


@given(PLAIN_ASCII)
def test_plain_ascii_that_fits_is_left_as_it_is(text):
    assert plain(text) == text
    assert line(text) == text.replace("\n", " ").replace("\t", " ")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\0b", "a␀b"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jall", "all"),
        ("\x1b\x1b[31m[31mred", "␛[31mred"),
        ("\x1b]0;never ended, and all that follows", "0;never ended, and all that follows"),
        ("10 %\r20 %\r\ndone", "10 %\n20 %\ndone"),
        ("user\u202egpj.exe", "user�gpj.exe"),
        ("\ud800 \ufffe \x85 \x7f \b", "� � � ␡ ␈"),
        ("1\u00a0000\u3000漢字 é \U0001f600", "1 000 漢字 é \U0001f600"),
    ],
)
def test_what_cannot_be_shown_is_seen_to_have_been_there(text, shown):
    assert plain(text) == shown


def test_of_what_is_too_long_both_ends_are_kept_and_it_says_how_much_is_not():
    cut = plain("b" + "x" * 5_000_000 + "e")
    assert len(cut) <= MAX_LINE and cut[0] == "b" and cut[-1] == "e"
    left_out = 5_000_002 - cut.count("x") - 2
    assert f"{left_out} characters left out" in cut
    many = plain("\n".join(f"line {n}" for n in range(100_000)))
    assert len(many) <= MAX_TEXT and many.startswith("line 0\n") and many.endswith("\nline 99999")
    assert "characters left out" in many


@pytest.mark.parametrize(
    "part", ["\x1b[", "\x1b]", "\x9d", "\x1b[0", "\x1b[ ", "\0", "é", "\r", "\n"]
)
def test_no_text_takes_long(part):
    began = time.process_time()
    plain(part * 300_000)
    plain(part + "0" * 500_000 + part + " " * 500_000)
    assert time.process_time() - began < 5


@given(st.lists(st.text(max_size=3), max_size=60))
def test_a_long_list_is_told_by_its_beginning_and_a_count(items):
    made = []
    told = listed(items, lambda item: made.append(item) or item, about="f: ")
    rest = len(items) - MAX_LISTED
    assert told[:MAX_LISTED] == made == items[:MAX_LISTED], "no more are made than are told"
    assert told[MAX_LISTED:] == ([f"f: and {rest} more"] if rest > 0 else [])


def test_names_on_one_line():
    assert few("abc") == "a, b, c" and few(iter("abc"), 1) == "a and 2 more" and few([]) == ""
