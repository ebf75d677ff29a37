"""Tags of a run: what may be one, how many there may be, and how they change. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from headway.wire import clean_text

if TYPE_CHECKING:
    from collections.abc import Iterable

TAG_LIMIT = 256
"""Characters of a tag."""
TAGS_LIMIT = 32
"""Tags that a run is given, or has after it was tagged."""
A_TAG = f"1 to {TAG_LIMIT} characters, not blank, without NUL"
"""What a tag is, in words."""


def is_tag(text: str) -> bool:
    """True if every store keeps it, and a person can see and ask for it."""
    return len(text) <= TAG_LIMIT and text.strip() != "" and clean_text(text)


def flaw_of_tags(tags: Iterable[str]) -> str:
    """Why one of these is no tag, with its name; empty = all are."""
    for tag in tags:
        if not is_tag(tag):
            return f"{tag[:80]!r} is no tag: {A_TAG}"
    return ""


def retagged(tags: tuple[str, ...], add: Iterable[str], remove: Iterable[str]) -> tuple[str, ...]:
    """The tags afterwards: those that stay in their order, then the new ones, each once."""
    gone = frozenset(remove)
    return tuple(dict.fromkeys((*(tag for tag in tags if tag not in gone), *add)))


class Retag(NamedTuple):
    """A change of tags that is meant for any run."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @classmethod
    def of(cls, add: str | Iterable[str], remove: str | Iterable[str]) -> Retag:
        """From one tag or several."""
        return cls(*((one,) if isinstance(one, str) else tuple(one) for one in (add, remove)))

    @property
    def flaw(self) -> str:
        """Why it can be done to no run; empty = it can."""
        if not self.add and not self.remove:
            return "no tag to add or to remove"
        if both := sorted(set(self.add) & set(self.remove)):
            return f"{both[0]!r} is to be added and to be removed: one of them"
        if max(len(self.add), len(self.remove)) > TAGS_LIMIT:
            return f"at most {TAGS_LIMIT} tags at once"
        return flaw_of_tags((*self.add, *self.remove))

    def __str__(self) -> str:
        """As an operator writes it: `+late -canary '+two words'`."""
        words = [*(f"+{tag}" for tag in self.add), *(f"-{tag}" for tag in self.remove)]
        return " ".join(map(shlex.quote, words))
