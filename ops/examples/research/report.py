"""Writes the report: quotes with their sources, ranked. Nothing in it was made up."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools import Notes, Quote


def write_report(notes: Notes, ranked: list[Quote], planner: str) -> str:
    """The report as Markdown: answers first, then what was searched, then how it was made."""
    parts = [f"# {notes.question}"]
    parts += [_answer(q) for q in ranked] or ["Nothing in the corpus answers this question."]
    parts.append("## Searched")
    parts.append("\n".join(f"- `{query}`" for query in notes.queries) or "- nothing")
    parts.append(f"Opened: {', '.join(f'`{o}`' for o in notes.opened) or 'nothing'}.")
    parts.append(f"{planner}; {notes.turn} turns; stopped: {notes.why or 'turn limit'}.")
    return "\n\n".join(parts) + "\n"


def _answer(quote: Quote) -> str:
    name = f"{quote.source}.{quote.title}".rstrip(".")
    body = textwrap.dedent(_without_marks(quote.text)).strip("\n")
    lines = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
    return f"**{name}** (`{quote.source}:{quote.line}`)\n\n{lines}"


def _without_marks(text: str) -> str:
    """A docstring without its triple quotes, its first line indented like the rest."""
    return re.sub(r'^(\s*)[rRuU]?(?:"""|\'\'\')|\s*(?:"""|\'\'\')\s*$', r"\1", text)
