"""Text to words: `!field:value,value` with quotes taken off and stars told from literal ones."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headway.errors import BadQuery

TEXT_LIMIT = 4096
"""Characters of a query."""
TERM_LIMIT = 64
VALUE_LIMIT = 256
"""Values of all terms together."""

_FIELD = re.compile(r"([A-Za-z][A-Za-z_-]*):")


@dataclass(frozen=True, slots=True)
class Piece:
    """One value as it was written."""

    parts: tuple[str, ...]
    """Literal texts; `*` stood between two of them."""
    text: str
    """All of it, quotes taken off, stars as `*`."""
    quoted: bool
    column: int
    regex: bool = False
    """It stood between slashes: `text` is what is between them."""


@dataclass(frozen=True, slots=True)
class Word:
    """One term as it was written."""

    negated: bool
    field: str
    """In lower case; empty for a bare word."""
    pieces: tuple[Piece, ...]
    column: int


def words(text: str) -> list[Word]:
    """The words of a query; raises BadQuery. Works in one pass, without recursion."""
    if len(text) > TEXT_LIMIT:
        raise BadQuery(
            TEXT_LIMIT + 1, f"the query has {len(text)} characters", f"at most {TEXT_LIMIT}"
        )
    found: list[Word] = []
    values = i = 0
    while True:
        while i < len(text) and text[i].isspace():
            i += 1
        if i == len(text):
            return found
        word, i = _word(text, i)
        values += len(word.pieces)
        found.append(word)
        if len(found) > TERM_LIMIT or values > VALUE_LIMIT:
            raise BadQuery(
                word.column, "too many terms or values", f"{TERM_LIMIT} terms, {VALUE_LIMIT} values"
            )


def _word(text: str, start: int) -> tuple[Word, int]:
    i = start
    negated = text[i] == "!"
    i += negated
    if negated and (i == len(text) or text[i].isspace() or text[i] == "!"):
        raise BadQuery(i + 1, "nothing follows the !", "a term, such as !tag:canary")
    field = ""
    if (match := _FIELD.match(text, i)) is not None:
        field, i = match[1].lower(), match.end()
    pieces: list[Piece] = []
    while True:
        piece, i = _piece(text, i)
        if not piece.text and not piece.quoted and not piece.regex:
            what = f"{field}:" if field else "the word"
            raise BadQuery(piece.column, f"a value of {what} is missing", "a value")
        pieces.append(piece)
        if i == len(text) or text[i] != ",":
            return Word(negated, field, tuple(pieces), start + 1), i
        i += 1


def _piece(text: str, start: int) -> tuple[Piece, int]:
    """One value: up to a comma or a space that is in no quotes."""
    if text.startswith("/", start):
        return _regex(text, start)
    parts, plain, quoted, i = [""], "", False, start
    while i < len(text) and text[i] != "," and not text[i].isspace():
        if text[i] == '"':
            inside, i = _quoted(text, i)
            parts[-1] += inside
            plain, quoted = plain + inside, True
        elif text[i] == "*":
            if len(parts) == 1 or parts[-1]:  # several in a row are one
                parts.append("")
            plain += "*"
            i += 1
        else:
            parts[-1] += text[i]
            plain += text[i]
            i += 1
    return Piece(tuple(parts), plain, quoted, start + 1), i


def _regex(text: str, start: int) -> tuple[Piece, int]:
    """What stands between two slashes; a slash in it has a backslash before it."""
    out, i = "", start + 1
    while i < len(text) and text[i] != "/":
        if text[i] == "\\" and i + 1 < len(text):
            out += "/" if text[i + 1] == "/" else text[i : i + 2]
            i += 2
        else:
            out += text[i]
            i += 1
    if i == len(text):
        raise BadQuery(
            start + 1, "the regular expression is not closed",
            "a closing /; a text that begins with / goes in quotes",
        )  # fmt: skip
    i += 1
    if i < len(text) and text[i] != "," and not text[i].isspace():
        raise BadQuery(
            i + 1, f"{text[i : i + 20]!r} after a regular expression",
            "a space or comma; a text that begins with / goes in quotes",
        )  # fmt: skip
    return Piece((out,), out, False, start + 1, True), i


def _quoted(text: str, start: int) -> tuple[str, int]:
    out: list[str] = []
    i = start + 1
    while i < len(text):
        c = text[i]
        if c == '"':
            return "".join(out), i + 1
        if c == "\\":
            i += 1
            if i == len(text) or text[i] not in '"\\':
                raise BadQuery(i + 1, "a backslash in quotes", 'one of \\" and \\\\')
            c = text[i]
        out.append(c)
        i += 1
    raise BadQuery(start + 1, "the quote is not closed", 'a closing "')
