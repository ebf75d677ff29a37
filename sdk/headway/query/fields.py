"""The one table of the query language's fields; parser, completion and reference page read it."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from headway.states import FAILURES, LIVE, TERMINAL, RunState


class Kind(Enum):
    """How the values of a field are written."""

    STATUS = "a state in lower case, or live, ended, dead"
    WORD = "the whole text; * stands for anything; /re/"
    ID = "a run id, or the beginning of one"
    TEXT = "a part of the text, in any case; * stands for anything; /re/"
    NUMBER = "a whole number, or one after >, <, >=, <="
    AMOUNT = "dollars, or dollars after >, <, >=, <= such as >0.5"
    DURATION = "a duration after >, <, >=, <= such as >5m, or 1h30m"
    TIME = "2h (ago), 10:00 (the last one, UTC), 2026-01-31 or 2026-01-31T12:00Z"


class Field(NamedTuple):
    """One field. The field without a name is a bare word."""

    name: str
    kind: Kind
    help: str
    example: str
    aliases: tuple[str, ...] = ()


FIELDS: tuple[Field, ...] = (
    Field("status", Kind.STATUS, "where the run is", "status:failed,retrying"),
    Field("task", Kind.WORD, "task id", "task:research-*"),
    Field("queue", Kind.WORD, "queue", "queue:agents"),
    Field("tag", Kind.WORD, "one of its tags", "tag:customer=acme"),
    Field("error", Kind.TEXT, "type and message of the error that it ended with", 'error:"429"'),
    Field("failure", Kind.WORD, "class of that error, if it failed", "failure:RateLimitError"),
    Field("reason", Kind.WORD, "why it is in REVIEW or has failed", "reason:once"),
    Field("attempts", Kind.NUMBER, "attempts that used a retry", "attempts:>2"),
    Field("cost", Kind.AMOUNT, "what it has used, in dollars, as it told", "cost:>0.5"),
    Field("tokens", Kind.NUMBER, "tokens in and out that it has used", "tokens:>100000"),
    Field("priority", Kind.NUMBER, "priority", "priority:>=10"),
    Field("dur", Kind.DURATION, "from its first start to its end, or until now", "dur:>5m"),
    Field("since", Kind.TIME, "created then or later", "since:2h"),
    Field("until", Kind.TIME, "created before", "until:10:00"),
    Field("ckpt", Kind.WORD, "name of its last checkpoint", "ckpt:iteration-7"),
    Field("agent", Kind.WORD, "agent of its open or last attempt", "agent:edge-3"),
    Field("image", Kind.WORD, "version that it is pinned to", "image:r42", ("version",)),
    Field("key", Kind.WORD, "idempotency key", "key:order-17"),
    Field("site", Kind.WORD, "site that owns it; a run of the hub's own has none", "site:berlin"),
    Field("id", Kind.ID, "its id", "id:01JD9K4"),
    Field("parent", Kind.ID, "the run that enqueued it", "parent:01JD9K4"),
    Field("origin", Kind.ID, "the run that it replays", "origin:01JD9K4"),
    Field("job", Kind.WORD, "the replay job that made it", "job:rj_7be1c04d22a0"),
    Field("", Kind.TEXT, "in id, task, tag, error or reason", "acme"),
)
"""In the order of the reference page."""

BY_NAME: dict[str, Field] = {name: f for f in FIELDS for name in (f.name, *f.aliases)}
NAMES: tuple[str, ...] = tuple(sorted(name for name in BY_NAME if name))

STATUS_WORDS: dict[str, frozenset[RunState]] = {
    **{s.status: frozenset({s}) for s in RunState},
    "live": LIVE,
    "ended": TERMINAL,
    "dead": FAILURES,
}
"""Word to states. `dead` means a flag besides: failures that nobody has acknowledged."""


def states_of(words: frozenset[str]) -> frozenset[RunState]:
    """The states that any of the words stands for; an unknown word stands for none."""
    return frozenset(s for word in words for s in STATUS_WORDS.get(word, ()))


def reference() -> str:
    """The table of fields in Markdown, as the operator's manual has it."""
    lines = ["| field | what | value | example |", "| --- | --- | --- | --- |"]
    for f in FIELDS:
        name = ", ".join(f"`{n}:`" for n in (f.name, *f.aliases)) if f.name else "a bare word"
        lines.append(f"| {name} | {f.help} | {f.kind.value} | `{f.example}` |")
    return "\n".join(lines) + "\n"
