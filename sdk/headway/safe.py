r"""Text from outside made safe for a terminal: nothing in it can move, hide or rewrite anything.

Every string that a task, a broker or another machine gave (names, logs, errors, tags, hosts) passes
through here once, at the edge where it would be shown. What is dangerous becomes visible as
`\xNN` or `\uNNNN`; everything else, all scripts and emoji included, stays as it is.
"""

from __future__ import annotations

import re

# C0 but tab and newline, DEL, C1 (0x9b is an 8-bit CSI), bidirectional and zero-width controls,
# line and paragraph separators, interlinear annotations, tags, lone surrogates.
_DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"
)
_BREAKS = re.compile("[\t\n]")


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_text(text: str) -> str:
    """The text with every control character made visible; tabs and newlines stay."""
    return _DANGEROUS.sub(_visible, text)


def safe_line(text: str, limit: int = 2000) -> str:
    """The text as one safe line of at most `limit` characters; what is cut shows as an ellipsis."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return _DANGEROUS.sub(_visible, _BREAKS.sub(" ", text))
