"""A search index in memory: words, and BM25 over them. No library needed for some 10,000 texts."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter, defaultdict
from functools import lru_cache

K1, B = 1.4, 0.75
"""BM25: how fast a repeated word stops counting, and how much a long text is discounted."""
TITLE_WEIGHT = 4
"""A word in the title counts as often as this many in the text."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_STOP_TEXT = """
a an and any are as at be been but by can could did do does doing done for from get gets got had
has have having how i if in into is it its itself just let me might more most must my no not of on
one only or other our out over own same shall should so some such than that the their them then
there these they this those to too under up use used using very was we were what when where which
while who whom why will with without would you your self return returns param none true false way
work works mean means happen happens
"""
_STOP = frozenset(_STOP_TEXT.split())


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A word without its plainest English endings: `waiting`, `waits` and `waited` meet."""
    for ending in ("ings", "ing", "edly", "ed", "ies", "es", "s", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 3 and word.endswith(("e", "y")) else word


def words(text: str) -> list[str]:
    """The words of a text in order, lower case, without stop words; `TimeoutError` gives two."""
    found = (w.lower() for w in _WORD.findall(text))
    return [w for w in found if len(w) > 1 and w not in _STOP]


def terms(text: str) -> list[str]:
    """The stems that are indexed and compared."""
    return [stem(w) for w in words(text)]


class Index:
    """BM25 over (title, text) pairs (Robertson and Zaragoza, 2009)."""

    def __init__(self, texts: list[tuple[str, str]]) -> None:
        self._postings: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self._lengths: list[int] = []
        for number, (title, text) in enumerate(texts):
            counts = Counter(terms(text))
            self._lengths.append(counts.total())
            for term in set(terms(title)):
                counts[term] += TITLE_WEIGHT
            for term, count in counts.items():
                self._postings[term].append((number, count))
        self._mean = sum(self._lengths) / max(1, len(self._lengths))

    def rarity(self, term: str) -> float:
        """How much a stem tells: near 0 if every text has it; 0 if none has."""
        holding, total = len(self._postings.get(term, ())), len(self._lengths)
        return math.log(1 + (total - holding + 0.5) / (holding + 0.5)) if holding else 0.0

    def search(self, query: str, count: int) -> list[tuple[int, float]]:
        """Numbers and scores of the best texts, best first; equal scores in order of number."""
        scores: defaultdict[int, float] = defaultdict(float)
        for term in sorted(set(terms(query))):
            rarity = self.rarity(term)
            for number, times in self._postings.get(term, ()):
                length = 1 - B + B * self._lengths[number] / self._mean
                scores[number] += rarity * times * (K1 + 1) / (times + K1 * length)
        return heapq.nsmallest(count, scores.items(), key=lambda item: (-item[1], item[0]))
