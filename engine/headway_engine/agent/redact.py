"""Takes known secret values out of log lines and errors, before they leave the host.

Exact values, their base64 and URL-encoded forms, and a few patterns of well-known tokens. A secret
that a runner's line cut has split over two lines is found too: what could be the beginning of one
waits for what follows.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "[redacted]"
SHORTEST = 6
"""Shorter values are not looked for: they would blank ordinary words."""

_PATTERNS = re.compile(
    r"\bAKIA[0-9A-Z]{16}\b"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
)
_HINTS = ("AKIA", "sk-", "eyJ", "gh")


def forms(values: Iterable[str]) -> list[str]:
    """Every spelling to look for, longest first. Lines of a long secret count each by itself."""
    found: set[str] = set()
    for value in values:
        for part in {value.strip(), *(line.strip() for line in value.splitlines())}:
            if len(part) < SHORTEST:
                continue
            found.update((part, quote(part, safe=""), quote_plus(part)))
            data = part.encode("utf-8", "surrogatepass")
            # A value inside a longer base64 text has three alignments; the middle is what stays.
            for lead in range(3):
                text = base64.b64encode(b"\0" * lead + data).decode()
                start, end = (0, 2, 3)[lead], len(text) - (4 if (lead + len(data)) % 3 else 0)
                for form in (text[start:end], text[start:end].translate({43: 45, 47: 95})):
                    if len(form) >= 8:
                        found.add(form)
    return sorted(found, key=len, reverse=True)


class Redactor:
    """Redacts texts with one set of secrets. Shared by all attempts of an environment class."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = forms(secrets)
        self._known = (
            re.compile("|".join(re.escape(f) for f in self._forms)) if self._forms else None
        )
        self._prefixes = {f[:n] for f in self._forms for n in (4,)}

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._known is not None:
            text = self._known.sub(MASK, text)
        if any(h in text for h in _HINTS):
            text = _PATTERNS.sub(MASK, text)
        return text

    def lines(self, lines: list[str]) -> list[str]:
        """The lines without secrets, those that begin in one line and end in the next included."""
        if self._known is None:
            return [self.text(line) for line in lines]
        joined = "".join(lines)
        crossing = [m.span() for m in self._known.finditer(joined)]
        if not crossing:
            return [self.text(line) for line in lines]
        out: list[str] = []
        at = 0
        for line in lines:
            end = at + len(line)
            kept: list[str] = []
            position = at
            for left, right in crossing:
                if right <= at or left >= end:
                    continue
                if left > position:
                    kept.append(joined[position:left])
                kept.append(MASK)
                position = min(right, end)
            kept.append(joined[position:end])
            out.append(self.text("".join(kept)))
            at = end
        return out

    def open_tail(self, lines: list[str]) -> int:
        """How many lines at the end could be the beginning of a secret: they should wait.

        A beginning shorter than four characters does not count.
        """
        if not self._prefixes or not lines:
            return 0
        longest = len(self._forms[0])
        tail = "".join(lines[-4:])[-longest:]
        for size in range(min(len(tail), longest - 1), 3, -1):
            end = tail[-size:]
            if end[:4] in self._prefixes and any(
                len(f) > size and f.startswith(end) for f in self._forms
            ):
                count, length = 0, 0
                for line in reversed(lines):
                    count, length = count + 1, length + len(line)
                    if length >= size:
                        break
                return count
        return 0


NO_SECRETS = Redactor(())
"""Changes nothing."""
