from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headway.safe import safe_line, safe_text

ANYTHING = st.text(st.characters(codec=None))
HOSTILE = [
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x90q\x9c",
    "abc\rdef",
    "safe\u202egnp.exe",
    "a\u200bb",
    "\ud83d",
    "\U000e0041",
    "\x00",
    "\ufeff",
]


def harmless(character: str) -> bool:
    if character in "\t\n":
        return True
    return unicodedata.category(character) not in {"Cc", "Cs", "Zl", "Zp"} and not (
        0x202A <= ord(character) <= 0x202E or 0x2066 <= ord(character) <= 0x2069
    )


@given(ANYTHING)
@example("".join(HOSTILE))
def test_nothing_dangerous_survives(text: str) -> None:
    shown = safe_text(text)
    assert all(harmless(c) for c in shown)
    shown.encode()


@given(ANYTHING)
def test_making_safe_twice_changes_nothing(text: str) -> None:
    assert safe_text(safe_text(text)) == safe_text(text)


@given(ANYTHING, st.integers(1, 50))
def test_a_line_is_one_line_and_its_source_is_capped(text: str, limit: int) -> None:
    line = safe_line(text, limit)
    assert len(line.splitlines()) <= 1
    assert "\t" not in line
    assert len(line) <= limit * 10  # one character grows to at most ten


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_becomes_visible(text: str) -> None:
    assert "\\" in safe_text(text)


def test_ordinary_text_in_any_script_is_untouched() -> None:
    text = "Grüße, 世界, مرحبا, 🙂\tindented\nnext"
    assert safe_text(text) == text
