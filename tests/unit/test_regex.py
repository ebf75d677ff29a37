"""Regular expressions: what they find, what they cost, what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from headway.query.finding import finder, slim
from headway.query.machine import KNOWN, LOOKS, compiled
from headway.query.regex import LENGTH, BadRegex, read
from support.queries import WORDS, expressions

TEXTS = st.one_of(st.sampled_from(WORDS), st.text('aAR4xeÉÜü /.\\\n"%_', max_size=8))


@settings(max_examples=300)
@given(expressions(), TEXTS)
@example("(ab?)*$", "b")
@example("(a{1,}){2}^", "a")
def test_it_finds_what_python_finds(source: str, text: str) -> None:
    wanted = re.search(source.replace("$", r"\Z"), text, re.DOTALL | re.ASCII)
    assert compiled(source, fold=False).search(text) is (wanted is not None)


@settings(max_examples=200)
@given(expressions(), st.text('aAR4xe /.\\\n"%_', max_size=8))
def test_in_any_case_means_both_cases_of_ascii(source: str, text: str) -> None:
    assume("[^" not in source)  # what Python makes of these differs
    wanted = re.search(source.replace("$", r"\Z"), text, re.DOTALL | re.ASCII | re.IGNORECASE)
    assert compiled(source, fold=True).search(text.lower()) is (wanted is not None)


@settings(max_examples=300)
@given(expressions(), st.text('aAR4xe /.\\\n"%_', max_size=8))
@example("^a+", "aa")
@example("(a+b+){2}$", "abaabbx")
@example("a+(b|c*)a+", "aa")
def test_a_finder_finds_what_the_machine_finds(source: str, text: str) -> None:
    assert finder(source)(text) is compiled(source, fold=True).search(text.lower())


@pytest.mark.parametrize(
    ("source", "found"),
    [("(a+)+$", "a$"), ("a*", ""), ("(a+b*)+", "a"), ("^a+", "^a"), (r"\d{2,9} ms", r"\d\d ms"),
     ("a+^", "a^"), ("(a+b+){2}", "ab+a+b"), ("x*|y+", "|y")],
)  # fmt: skip
def test_what_repeats_at_an_end_is_looked_for_once(source: str, found: str) -> None:
    assert slim(read(source)) == read(found)


def test_a_machine_forgets_what_is_too_much() -> None:
    machine = compiled(r"[^\d]\d+!$", fold=False)
    text = "".join(map(chr, range(0x4E00, 0x4E00 + LOOKS - 3))) + "12!"
    for _ in range(2 * KNOWN // LOOKS + 1):
        assert machine.search(text)


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "(.*a){20}$", "(a+)+b", "a{90}a{0,90}$"])
def test_no_expression_takes_long(source: str) -> None:
    text = "a" * (LOOKS - 1) + "!"
    assert not compiled(source, fold=False).search(text)
    assert not any(map(finder(source), [text] * 200))


def test_the_beginning_of_a_text_is_looked_at() -> None:
    assert compiled("x", fold=False).search("a" * (LOOKS - 1) + "x")
    assert not compiled("x", fold=False).search("a" * LOOKS + "x")


@pytest.mark.parametrize(
    ("source", "at", "says"),
    [
        ("a)", 1, "nothing opened"), ("(a", 0, "not closed"), ("[a", 0, "not closed"),
        ("*a", 0, "nothing before"), ("a**", 2, "a * after"), ("a{3,2}", 1, "lower number first"),
        ("a{x}", 1, "write {2}"), ("a{101}", 1, "up to 100"), ("(?=a)", 0, "no meaning"),
        (r"(a)\1", 3, "no meaning"), ("a\\", 1, "nothing after"), ("[z-a]", 2, "higher to a lower"),
        ("^*", 1, "could be repeated"), ("((a{100}){100}){100}", 0, "states"),
        ("(a*)*b", 4, "may be the empty"), ("(a|)+", 4, "may be the empty"),
        ("(a?$){1,3}", 5, "may be the empty"), ("((^)){2}", 5, "may be the empty"),
        ("(" * 30 + ")" * 30, 20, "groups in each other"),
        ("a" * (LENGTH + 1), LENGTH, "more than"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_where(source: str, at: int, says: str) -> None:
    with pytest.raises(BadRegex, match=re.escape(says)) as caught:
        read(source)
    assert caught.value.at == at


@given(st.text("ab()[]{}|*+?^$\\-,0129.dws", max_size=30))
def test_any_text_is_read_or_refused(source: str) -> None:
    flaw: BadRegex | None = None
    try:
        compiled(source, fold=True).search("ab012")
    except BadRegex as e:
        flaw = e
    assert flaw is None or 0 <= flaw.at <= len(source)
