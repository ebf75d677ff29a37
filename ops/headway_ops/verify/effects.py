"""The effect ledger (I9): what happened outside, against the once marks. Pure but for the file.

A ledger is a file of JSON lines, one for each time that an effect was carried out:

    {"token":"..","run":"01..","key":"mail","epoch":2,"at":1764000000.1,"kind":"mail"}

`token` is what `headway.token()` gave; lines without one are left out. `policy` ("raise") may say
that the block asks for at most once. Time is not looked at, since clocks differ: an attempt with a
higher epoch than that of the done mark came after it, whenever its effect arrived.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from headway_ops.verify.lines import Lines
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from headway_ops.verify.facts import Event, History
    from headway_ops.verify.report import Report


class Effect(msgspec.Struct):
    """One line."""

    run: str
    key: str = ""
    token: str = ""
    epoch: int = 0
    at: float = 0.0
    kind: str = ""
    policy: str = ""
    data: dict[str, Any] = {}

    @property
    def at_most_once(self) -> bool:
        """The block has the policy `raise`."""
        return "raise" in (self.policy, self.data.get("policy"))


_EFFECT = msgspec.json.Decoder(Effect)

Ledger = dict[str, dict[str, list[Effect]]]
"""Run to key to its effects."""


def read(paths: Iterable[Path], report: Report) -> Ledger:
    """All effects with a token, by run and key. Raises OSError. Held in memory."""
    ledger: Ledger = defaultdict(lambda: defaultdict(list))
    lines = Lines(paths, _EFFECT)
    for effect in lines:
        if effect.token:
            ledger[effect.run][effect.key].append(effect)
    if lines.bad:
        report.note("I9", f"{lines.bad} lines of the ledger do not read")
    return ledger


def check(h: History, effects: dict[str, list[Effect]], report: Report) -> Iterator[Violation]:
    """The effects of one run against its events."""
    if h.holes:
        return
    tokens = {m.key: m.token for m in h.marks if m.kind == "once"}
    for key, done in effects.items():
        report.count("I9", len(done))
        story = [e for e in h.events if e.data.get("key") == key and e.kind in ("once", "resolved")]
        yield from _one(h, key, done, story)
        token = tokens.get(key)
        for effect in done:
            if token and effect.token != token:
                yield Violation("I9", h.run.id, f"once {key!r} had the token {effect.token}, its"
                                f" mark has {token}", 0, effect.epoch)  # fmt: skip


def _one(h: History, key: str, effects: list[Effect], story: list[Event]) -> Iterator[Violation]:
    run = h.run.id
    done = next((e for e in story if _is_done(e)), None)
    copied = any(m.key == key and m.status == "done" and m.epoch == 0 for m in h.marks)
    epochs = sorted({effect.epoch for effect in effects})
    found: list[Violation] = []
    for epoch in epochs:
        times = sum(effect.epoch == epoch for effect in effects)
        claim = next((e for e in h.events if e.kind == "starting" and e.epoch == epoch), None)
        n, what = 0, ""
        if claim is None:
            what = "in an attempt that was never claimed"
        elif copied:
            n, what = claim.n, "and it was done in the run that this one replays"
        elif done is not None and claim.n > done.n:
            n, what = claim.n, f"again after its done mark of event {done.n}"
        elif times > 1:
            n, what = claim.n, f"{times} times in one attempt"
        if what:
            found.append(Violation("I9", run, f"once {key!r} ran {what}", n, epoch))
    if not found and any(effect.at_most_once for effect in effects):
        found += _at_most_once(h, key, epochs, story)
    yield from found


def _is_done(e: Event) -> bool:
    return "done" in (e.data.get("status"), e.data.get("decision"))


def _at_most_once(
    h: History, key: str, epochs: list[int], story: list[Event]
) -> Iterator[Violation]:
    """Policy `raise`: started is durable before the effect, and only a person allows another."""
    for epoch in epochs:
        if not any(e.kind == "once" and e.epoch == epoch for e in story):
            yield Violation("I9", h.run.id, f"once {key!r} ran without its started mark", 0, epoch)
    for older, newer in itertools.pairwise(epochs):
        if not any(_allows(e, older, newer) for e in story):
            yield Violation("I9", h.run.id, f"once {key!r} asks for at most once; it ran in epochs"
                            f" {older} and {newer}, and nobody allowed that", 0,
                            newer)  # fmt: skip


def _allows(e: Event, older: int, newer: int) -> bool:
    if e.kind == "resolved":
        return e.data.get("decision") == "rerun" and e.epoch >= older
    failed = e.data.get("status") == "failed" and e.data.get("error") == "NotExecuted"
    return failed and older <= e.epoch < newer
