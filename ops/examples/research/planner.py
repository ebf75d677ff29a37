"""Decides what to do next. Without a model: by keywords, found terms and a stopping rule.

`plan_offline` is honest arithmetic, no imitation of a model. `pick_planner` takes the model of
model.py when there is a key for it and its library is installed.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING

from corpus import shared_corpus
from index import stem, terms, words
from msgspec import Struct
from tools import QUOTE_LINES, Finish, Move, Notes, Open, Page, Search, Take

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OPEN_AT_ONCE, ENOUGH_QUOTES, MOST_QUERIES = 2, 5, 4
OFFLINE = "planned offline, no model"


class Plan(Struct, frozen=True):
    """One turn: what it is for, in words, and the moves."""

    aim: str
    moves: list[Move]


def keywords(question: str) -> list[str]:
    """The words of the question that tell most, in the order of the question."""
    index, seen = shared_corpus().index, dict[str, str]()
    for word in words(question):
        seen.setdefault(stem(word), word)
    known = [s for s in seen if index.rarity(s) > 0]
    best = set(sorted(known, key=index.rarity, reverse=True)[:8])
    return [word for s, word in seen.items() if s in best]


def best_passage(question: str, page: Page) -> Take | None:
    """The documentation of an open page if it is short, else its best paragraph.

    None if nothing there has a word of the question.
    """
    index, wanted = shared_corpus().index, set(terms(question))
    prose = page.lines[: page.prose]
    empty = [i for i, line in enumerate(prose) if not line.strip()]
    ends = [len(prose)] if len(prose) <= QUOTE_LINES else [*empty, len(prose)]
    best, most, start = None, 0.0, 0
    for end in ends:
        held = set(terms("\n".join(prose[start:end]))) & wanted
        worth = sum(index.rarity(t) for t in held)
        if worth > most:
            best, most = Take(page.source, page.first + start, page.first + end - 1), worth
        start = end + 1
    return best


def refined_query(notes: Notes) -> str | None:
    """The question's best words and two terms that keep turning up in what was found; or None.

    A term that a query held already is not taken again, so that this comes to an end.
    """
    index = shared_corpus().index
    asked = {t for q in [notes.question, *notes.queries] for t in terms(q)}
    counts: Counter[str] = Counter()
    spelled: dict[str, str] = {}
    for quote in notes.quotes:
        for word in words(f"{quote.title} {quote.text}"):
            term = stem(word)
            if term not in asked and len(term) > 2:
                counts[term] += 1
                spelled.setdefault(term, word)
    best = sorted(counts, key=lambda t: (-counts[t] * index.rarity(t), t))[:2]
    if not best:
        return None
    return " ".join([*keywords(notes.question)[:4], *(spelled[t] for t in best)])


def plan_offline(notes: Notes) -> Plan:
    """The next turn: search, open the best hits, take the best passages, refine, stop."""
    takes = [t for page in notes.desk if (t := best_passage(notes.question, page))]
    if not notes.queries:
        query = " ".join(keywords(notes.question)) or notes.question
        return Plan(f"search for {query!r}", [Search(query)])
    if takes:
        return Plan(f"take {len(takes)} quotes", list(takes))
    if len(notes.quotes) >= ENOUGH_QUOTES:
        return Plan("stop", [Finish(f"{len(notes.quotes)} quotes are enough")])
    query = refined_query(notes) if len(notes.queries) < MOST_QUERIES else None
    if query and (not notes.hits or len(notes.opened) >= OPEN_AT_ONCE * len(notes.queries)):
        return Plan(f"refine: {query!r}", [Search(query)])
    if notes.hits:
        chosen = notes.hits[:OPEN_AT_ONCE]
        return Plan(f"open {len(chosen)} hits", [Open(h.source, h.line) for h in chosen])
    return Plan("stop", [Finish("nothing more to open")])


def uses_model() -> bool:
    """True if there is a key for a model and the library of requirements.txt is installed."""
    return bool(os.environ.get("ANTHROPIC_API_KEY")) and find_spec("pydantic_ai") is not None


async def plan_by_rules(notes: Notes) -> Plan:
    """`plan_offline` in a thread: the first call reads the whole corpus."""
    return await asyncio.to_thread(plan_offline, notes)


def pick_planner() -> tuple[str, Callable[[Notes], Awaitable[Plan]]]:
    """Who plans, for the report, and the function."""
    if uses_model():
        from model import MODEL, plan_with_model  # imports its library, so only if wanted

        return f"planned by {MODEL}", plan_with_model
    return OFFLINE, plan_by_rules
