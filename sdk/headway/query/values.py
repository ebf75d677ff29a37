"""Values: from how they are written to what they mean, by the kind of their field, and back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from difflib import get_close_matches
from typing import TYPE_CHECKING

from headway.errors import BadQuery
from headway.query.fields import STATUS_WORDS, Field, Kind
from headway.query.regex import BadRegex, read
from headway.query.tree import (
    Ago,
    Amount,
    Clock,
    Duration,
    Moment,
    Number,
    Pattern,
    Prefix,
    Regex,
    Status,
)

if TYPE_CHECKING:
    from headway.query.tokens import Piece
    from headway.query.tree import Compare, Value

_COMPARED = re.compile(r"(>=|<=|>|<|=|)(.*)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_DOLLARS = re.compile(r"\$?([0-9]{1,9})(?:\.([0-9]{1,6}))?", re.ASCII)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PARTS = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3}))?(ms|s|m|h|d|w)", re.ASCII)
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,3})?(?:ms|s|m|h|d|w)){1,8}", re.ASCII)
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?", re.ASCII)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[T ][0-9:.,]+(?:Z|[+-][0-9:]+)?)?", re.ASCII)
_ID = re.compile(r"[0-9A-Za-z]{1,26}", re.ASCII)
SLASH = "\\/"
"""As it is written in a regular expression."""
_BARE = re.compile(r"[A-Za-z0-9_=.@+-][A-Za-z0-9_=.@+/#-]*", re.ASCII)
_COMPARES: dict[str, Compare] = {"": "=", "=": "=", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
DURATION_MS = 3_200_000_000_000
"""About a hundred years."""


def value_of(field: Field, piece: Piece) -> Value:
    """What a piece means for this field; raises BadQuery."""
    if piece.regex:
        return _regex(field, piece)
    match field.kind:
        case Kind.STATUS:
            return _status(piece)
        case Kind.WORD | Kind.TEXT:
            return _pattern(field, piece)
        case Kind.ID:
            if _ID.fullmatch(piece.text) is None:
                raise _bad(piece, f"{field.name}: {piece.text[:40]!r}", field.kind.value)
            return Prefix(piece.text.upper())
        case Kind.NUMBER:
            op, rest = _compared(piece)
            if _INTEGER.fullmatch(rest) is None:
                raise _bad(piece, f"{field.name}: {rest[:40]!r} is no number", field.kind.value)
            return Number(op, int(rest))
        case Kind.AMOUNT:
            op, rest = _compared(piece)
            if (found := _DOLLARS.fullmatch(rest)) is None:
                raise _bad(piece, f"{field.name}: {rest[:40]!r} is no amount", field.kind.value)
            return Amount(op, int(found[1]) * 1_000_000 + int(f"{found[2] or '':0<6}"))
        case Kind.DURATION:
            op, rest = _compared(piece)
            ms = _milliseconds(rest)
            if ms is None:
                raise _bad(piece, f"{field.name}: {rest[:40]!r} is no duration", field.kind.value)
            return Duration(op, ms)
        case Kind.TIME:
            found = _time(piece.text)
            if found is None:
                raise _bad(piece, f"{field.name}: {piece.text[:40]!r} is no time", field.kind.value)
            return found


def written(value: Value) -> str:
    """The value as canonical text: `value_of` reads it back."""
    match value:
        case Status(word):
            return word
        case Pattern(parts):
            return "*".join(_literal(p) for p in parts) if parts != ("",) else '""'
        case Regex(source):
            return f"/{source.replace('/', SLASH)}/"
        case Prefix(text):
            return text
        case Number(op, number):
            return f"{'' if op == '=' else op}{number}"
        case Amount(op, micros):
            whole, part = divmod(micros, 1_000_000)
            text = f"{whole}.{part:06}".rstrip("0").rstrip(".")
            return f"{'' if op == '=' else op}{text}"
        case Duration(op, ms):
            return f"{'' if op == '=' else op}{_span(ms)}"
        case Ago(ms):
            return _span(ms)
        case Clock(at):
            return at.isoformat("seconds" if at.second else "minutes")
        case Moment(at):
            return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _bad(piece: Piece, what: str, expected: str, suggestion: str = "") -> BadQuery:
    return BadQuery(piece.column, what, expected, suggestion)


def _status(piece: Piece) -> Status:
    word = piece.text.lower()
    if word in STATUS_WORDS:
        return Status(word)
    near = get_close_matches(word, STATUS_WORDS, 1)
    raise _bad(
        piece, f"no status {piece.text[:40]!r}", ", ".join(STATUS_WORDS), near[0] if near else ""
    )


def _regex(field: Field, piece: Piece) -> Regex:
    if field.kind not in (Kind.WORD, Kind.TEXT):
        raise _bad(piece, f"{field.name}: a regular expression", field.kind.value)
    if "\x00" in piece.text or any("\ud800" <= c <= "\udfff" for c in piece.text):
        raise _bad(piece, "NUL or a lone surrogate", "text that can be stored")
    if not piece.text:
        raise _bad(piece, "an empty expression is found in every text", "some letters")
    try:
        read(piece.text)
    except BadRegex as e:
        raise BadQuery(
            piece.column + 1 + e.at, e.what, "an expression such as /time.?out/"
        ) from None
    return Regex(piece.text)


def _pattern(field: Field, piece: Piece) -> Pattern:
    if "\x00" in piece.text or any("\ud800" <= c <= "\udfff" for c in piece.text):
        raise _bad(piece, "NUL or a lone surrogate", "text that can be stored")
    if field.kind is Kind.TEXT and not "".join(piece.parts):
        raise _bad(piece, "an empty text is in every run", "some letters")
    return Pattern(piece.parts)


def _compared(piece: Piece) -> tuple[Compare, str]:
    match = _COMPARED.fullmatch(piece.text)
    return (_COMPARES[match[1]], match[2]) if match else ("=", piece.text)


def _milliseconds(text: str) -> int | None:
    if _DURATION.fullmatch(text) is None:
        return None
    total = 0
    for whole, part, unit in _PARTS.findall(text):
        total += int(whole) * _UNITS[unit] + int(f"{part:0<3}") * _UNITS[unit] // 1000
    return total if total <= DURATION_MS else None


def _time(text: str) -> Value | None:
    ms = _milliseconds(text)
    if ms is not None:
        return Ago(ms)
    if (clock := _CLOCK.fullmatch(text)) is not None:
        try:
            return Clock(time(int(clock[1]), int(clock[2]), int(clock[3] or 0)))
        except ValueError:
            return None
    if _DATE.fullmatch(text) is None:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = (at.replace(tzinfo=UTC) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    # The first and last days of the calendar are where other libraries stop.
    return Moment(at) if 1900 <= at.year <= 9000 else None


def _span(ms: int) -> str:
    out = ""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        number, ms = divmod(ms, _UNITS[unit])
        # A week is written in days, as people say it.
        if number and unit == "w":
            ms += number * _UNITS["w"]
        elif number:
            out += f"{number}{unit}"
    return out or "0s"


def _literal(text: str) -> str:
    if not text or _BARE.fullmatch(text) is not None:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
