"""Takes secrets out of what leaves an installation as a file: pure.

The same values, spellings and patterns as in the agent's redaction of logs, looked for in every
text of a JSON body. All that is not such a text stays byte for byte.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, cast

from headway_engine.agent.redact import MASK, Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class Cleaner:
    """Redacts bodies, and counts in how many texts it found something."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._redactor = Redactor(secrets)
        self.found = 0

    def json(self, body: bytes) -> bytes:
        """The body without secrets. Keys of objects are texts too."""
        if b"\\" not in body:
            # Nearly always there is nothing in it, and one look says so.
            text = body.decode("utf-8", "replace")
            if self._redactor.text(text) == text:
                return body
        return _STRINGS.sub(self._text, body)

    def lines(self, lines: list[str]) -> list[str]:
        """Lines of output, in which a secret may reach over the end of one."""
        clean = self._redactor.lines(lines)
        self.found += sum(a != b for a, b in zip(lines, clean, strict=True))
        return clean

    def _text(self, match: re.Match[bytes]) -> bytes:
        raw = match.group()
        try:
            text = json.loads(raw, strict=False)
        except ValueError:  # no text: whoever reads it will say so
            return raw
        clean = self._redactor.text(text)
        if clean == text:
            return raw
        self.found += 1
        return json.dumps(clean).encode()


def masked(value: Any, path: str) -> Iterator[str]:
    """Where in a value a secret was taken out: `state.auth.key` and the like."""
    if isinstance(value, str):
        if MASK in value:
            yield path
    elif isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if MASK in key:
                yield f"{path}.{key}"
            yield from masked(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(cast("list[Any]", value)):
            yield from masked(inner, f"{path}[{i}]")
