r"""Text from outside made safe for a terminal: nothing in it can move, hide or rewrite anything.

Every string that a task, a broker or another machine gave (names, logs, errors, tags, hosts) passes
through here once, at the edge where it would be shown. What is dangerous becomes visible as
`\xNN` or `\uNNNN`; everything else, all scripts and emoji included, stays as it is.
"""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1 (0x9b is an 8-bit CSI), bidirectional, zero-width and invisible
# characters, line and paragraph separators, interlinear annotations, tags and the variation
# selectors that carry hidden text, lone surrogates.
_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e01ef\ud800-\udfff]"
)
# What stands on one letter; heaped up it covers the lines above and below.
_HEAP = re.compile(
    "([\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u20d0-\u20ff\ufe20-\ufe2f]{8})"
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u064b-\u065f\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u20d0-\u20ff\ufe20-\ufe2f]+"
)
_BREAKS = re.compile("[\t\n]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_text(text: str) -> str:
    """The text with every control character made visible; tabs and newlines stay.

    Of more than eight marks on one letter the rest is cut off.
    """
    return _HEAP.sub(r"\1…", _DANGEROUS.sub(_visible, text))


def safe_line(text: str, limit: int = 2000) -> str:
    """The text as one safe line of at most `limit` characters; what is cut shows as an ellipsis."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return safe_text(_BREAKS.sub(" ", text))


FAILURE_LIMIT = 120


def failure_class(type_name: str) -> str:
    """What failures are grouped by: the error's type as one safe, short line, never empty."""
    return safe_line(type_name, FAILURE_LIMIT)[:FAILURE_LIMIT].strip() or "Error"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def safe_json(text: str) -> str:
    """JSON with every dangerous character as an escape of JSON: the same value, for any terminal.

    Newlines of an indented text stay.
    """
    return _DANGEROUS.sub(_escaped, text)
