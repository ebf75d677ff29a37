"""What the agent can do in a turn: search, open, take a quote, finish. And the notes it keeps.

A planner (or a model) answers with moves; `use` carries one out. Quotes are copied from the corpus
here, never from what a model wrote: a quote in the report is really in that file at that line.
"""

from __future__ import annotations

from pathlib import Path

from corpus import Section, shared_corpus
from index import terms
from msgspec import Struct, field

HITS, PAGE_LINES, QUOTE_LINES = 6, 60, 12


class Search(Struct, tag="search", tag_field="tool", frozen=True):
    """Search the corpus for a few words; gives documents with line numbers, best first."""

    query: str


class Open(Struct, tag="open", tag_field="tool", frozen=True):
    """Open a document at a line; gives its text with line numbers. Read before you take."""

    source: str
    line: int


class Take(Struct, tag="take", tag_field="tool", frozen=True):
    """Keep lines first..last of an open page as a quote that helps to answer the question."""

    source: str
    first: int
    last: int


class Finish(Struct, tag="finish", tag_field="tool", frozen=True):
    """Stop: the notes answer the question, or nothing more can be found."""

    why: str


Move = Search | Open | Take | Finish


class Hit(Struct, frozen=True):
    """A search result."""

    source: str
    title: str
    line: int
    score: float
    beginning: str


class Page(Struct, frozen=True):
    """An opened piece of a document; `lines` begin at line number `first`."""

    source: str
    title: str
    first: int
    lines: list[str]
    prose: int
    """How many of the lines are documentation; the code that it describes follows them."""
    path: str


class Quote(Struct, frozen=True):
    """A note: words from the corpus and where they stand."""

    source: str
    title: str
    line: int
    text: str
    path: str


class Notes(Struct):
    """The agent's state: all that it knows. This is what a checkpoint saves, so it grows."""

    question: str
    turn: int = 0
    plan: str = ""
    """What the last turn was for, in words."""
    queries: list[str] = field(default_factory=list[str])
    opened: list[str] = field(default_factory=list[str])
    """`source:line` of each opened page."""
    hits: list[Hit] = field(default_factory=list[Hit])
    """Results that were not opened yet, best first."""
    desk: list[Page] = field(default_factory=list[Page])
    """Pages opened in the last turn."""
    quotes: list[Quote] = field(default_factory=list[Quote])
    trouble: list[str] = field(default_factory=list[str])
    """Moves that could not be carried out, and why."""
    why: str = ""
    """Why it stopped."""
    done: bool = False


def search(query: str) -> list[Hit]:
    """The best sections for the words."""
    return [
        Hit(
            s.source, s.title, s.line, round(score, 2), " ".join(s.text.split())[:120].strip("\"' ")
        )
        for s, score in shared_corpus().search(query, HITS)
    ]


def open_page(source: str, line: int) -> Page | None:
    """The section at that line with the code below it; None if there is none."""
    section = shared_corpus().find(source, line)
    if section is None:
        return None
    prose = min(section.last - section.line + 1, PAGE_LINES)
    lines = _lines(section)
    return Page(section.source, section.title, section.line, lines, prose, section.path)


def _lines(section: Section) -> list[str]:
    """The section's text; for a source file also some of the code that it describes."""
    lines = section.text.split("\n")
    if section.path.endswith(".py") and len(lines) < PAGE_LINES:
        whole = Path(section.path).read_text("utf-8", "replace").splitlines()
        lines += whole[section.last : section.line - 1 + PAGE_LINES]
    return lines[:PAGE_LINES]


def quote(desk: list[Page], move: Take) -> Quote | None:
    """Copy lines from a page that lies on the desk; None if no page there has them."""
    pages = [
        p
        for p in desk
        if p.source == move.source and p.first <= move.first < p.first + len(p.lines)
    ]
    if not pages or move.last < move.first:
        return None
    page = max(pages, key=lambda p: p.first)  # pages may overlap: the nearest heading names it
    start = move.first - page.first
    text = "\n".join(page.lines[start : start + min(move.last - move.first + 1, QUOTE_LINES)])
    return Quote(page.source, page.title, move.first, text, page.path)


def take(notes: Notes, found: list[Hit] | Page | Quote | None, move: Move) -> None:
    """Put what a move gave into the notes."""
    match found:
        case list():
            assert isinstance(move, Search)
            notes.queries.append(move.query)
            seen = {(h.source, h.line) for h in notes.hits}
            new = [h for h in found if (h.source, h.line) not in seen]
            unread = [h for h in new if f"{h.source}:{h.line}" not in notes.opened]
            notes.hits = sorted([*notes.hits, *unread], key=lambda h: -h.score)
        case Page():
            notes.opened.append(f"{found.source}:{found.first}")
            notes.desk.append(found)
            notes.hits = [
                h for h in notes.hits if (h.source, h.line) != (found.source, found.first)
            ]
        case Quote():
            if found not in notes.quotes:
                notes.quotes.append(found)
        case None:
            notes.trouble.append(f"turn {notes.turn}: {move!r} found nothing")


def rank(question: str, quotes: list[Quote]) -> list[Quote]:
    """The quotes, best first: those that hold the rarer words of the question, in few words."""
    index, wanted = shared_corpus().index, set(terms(question))

    def worth(quote: Quote) -> float:
        held = terms(f"{quote.source} {quote.title}") * 2 + terms(quote.text)
        hits = [t for t in held if t in wanted]
        told = sum(index.rarity(t) * (1 + 0.1 * min(hits.count(t), 5)) for t in set(hits))
        return told / (1 + len(held) / 400)

    return sorted(quotes, key=worth, reverse=True)
