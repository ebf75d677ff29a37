"""How the status of a run looks, everywhere: glyph, its ASCII stand-in, a word, a role of colour.

Command line and console draw from this one table; a role becomes a colour where it is painted.
"""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """One cell, its ASCII stand-in, a word of at most five cells, and a role of colour."""

    glyph: str
    ascii: str
    word: str
    role: str
    """muted | info | wait | warning | review | good | bad | bad-soft."""


LOOKS: dict[str, Look] = {
    "delayed": Look("◷", "@", "DELAY", "muted"),
    "queued": Look("○", "o", "QUE", "muted"),
    "starting": Look("◔", "(", "START", "info"),
    "running": Look("●", "*", "RUN", "info"),
    "waiting": Look("◌", "z", "WAIT", "wait"),
    "retrying": Look("↻", "r", "RETRY", "warning"),
    "review": Look("⚑", "?", "REVW", "review"),
    "cancelling": Look("⊖", "-", "CNCLG", "muted"),
    "succeeded": Look("✓", "+", "DONE", "good"),
    "failed": Look("✗", "x", "FAIL", "bad"),
    "timed_out": Look("⧗", "t", "TIME", "bad-soft"),
    "cancelled": Look("⊘", "c", "CANC", "muted"),
    "expired": Look("∅", "e", "EXPIR", "muted"),
}
UNKNOWN = Look("·", ".", "?", "muted")


def look(status: str) -> Look:
    """The look of a status in either case; one that is not known keeps a neutral one."""
    return LOOKS.get(status.lower(), UNKNOWN)


MARKS: dict[str, tuple[str, str]] = {
    "checkpoint": ("◆", "#"),
    "once": ("◈", "!"),
    "step": ("▪", ":"),
    "cursor": (">", ">"),
    "marked": ("●", "*"),
    "fork": ("↳", "^"),
    "bar": ("█", "="),
    "wait": ("░", "."),
    "failed": ("▒", "%"),
    "backoff": ("┄", "-"),
    "idle": ("≈", "~"),
    "open": ("▾", "-"),
    "closed": ("▸", "+"),
    "new": ("▲", "^"),
    "down": ("▼", "v"),
    "error": ("✗", "x"),
    "dead": ("†", "d"),
    "resumed": ("↻", "r"),
    "live": ("●", "*"),
    "away": ("○", "o"),
    "cut off": ("◌", "o"),
    "to": ("→", ">"),
    "rule": ("─", "-"),
    "times": ("\u00d7", "x"),
    "dot": ("·", "-"),
    "cut": ("…", "~"),
}
"""Other signs of the console: as drawn, and in ASCII. Each is one cell wide."""


def mark(name: str, *, ascii_only: bool) -> str:
    """A sign by its name; KeyError for one that the table lacks."""
    return MARKS[name][ascii_only]


_ASCII = str.maketrans(dict(MARKS.values()) | {look.glyph: look.ascii for look in LOOKS.values()})


def in_ascii(text: str) -> str:
    """A text of ours with its signs in ASCII; what others wrote in it stays as it is."""
    return text.translate(_ASCII)
