"""cancel, resume and ack by query: count, confirm, then page after page in the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal, NamedTuple

from headway.wire.steering import BulkAsk, BulkPage
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from headway.client import Client

FEW = 10
"""Up to so many runs a plain yes is enough."""
SHOWN = 5
_PAST = {"cancel": "cancelled", "resume": "resumed", "ack": "acknowledged"}

Verb = Literal["cancel", "resume", "ack"]


class Consent(NamedTuple):
    """What the user said beforehand."""

    yes: bool = False
    expect: int | None = None
    dry_run: bool = False


class Sum(NamedTuple):
    """All pages of a request together."""

    as_of: datetime
    matched: int
    done: int
    already: int
    refused: dict[str, str]
    runs: list[str]


def bulk(
    verb: Verb, query: str, consent: Consent, reason: str = "", *, as_json: bool = False
) -> None:
    """Count what the query means, ask, do it. Ctrl+C stops it between two pages.

    Raises Fail: 3 if the count is not the expected one, 4 without consent, 1 if runs were refused.
    """
    ask = BulkAsk(verb, query, dry_run=True, reason=reason)
    counted = link.with_client(lambda client: _pages(client, ask))
    if consent.expect is not None and counted.matched != consent.expect:
        raise Fail(
            f"{counted.matched} runs match, not {consent.expect}: nothing was done",
            "--dry-run, then --expect with the new number", Exit.CHANGED,
        )  # fmt: skip
    if consent.dry_run or not counted.matched:
        _told(verb, counted, as_json=as_json, dry=True)
        return
    if not as_json:
        _told(verb, counted, as_json=False, dry=True)
    refusal = unconfirmed(verb, counted.matched, consent, _asked)
    if refusal is not None:
        raise refusal
    ask = BulkAsk(verb, query, as_of=counted.as_of, reason=reason)
    done = link.with_client(lambda client: _pages(client, ask))
    _told(verb, done, as_json=as_json, dry=False)
    if done.refused:
        raise SystemExit(int(Exit.FAILED))


def unconfirmed(
    verb: str, count: int, consent: Consent, asked: Callable[[str], str | None]
) -> Fail | None:
    """Why it must not be done; None = go on. `asked` gives what is typed, None without a person."""
    if consent.yes and (count <= FEW or consent.expect == count):
        return None
    if consent.yes:
        todo = f"--yes --expect {count}"
        return Fail(f"{count} runs: more than {FEW} need the number too", todo, Exit.REFUSED)
    wanted = "yes" if count <= FEW else str(count)
    typed = asked(f"{verb} {count} runs? Type {wanted} to go on: ")
    if typed is None:
        todo = "--yes" + (f" --expect {count}" if count > FEW else "")
        return Fail("nobody is there to confirm it", todo, Exit.REFUSED)
    if typed.strip().lower() != wanted:
        return Fail("not confirmed: nothing was done", "", Exit.REFUSED)
    return None


def _asked(prompt: str) -> str | None:
    if not sys.stdin.isatty():
        return None
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline()


async def _pages(client: Client, ask: BulkAsk) -> Sum:
    """Every page; each is done in the engine before the next one is asked for."""
    matched = done = already = 0
    refused: dict[str, str] = {}
    runs: list[str] = []
    while True:
        page = await client.api("bulk", ask, BulkPage)
        matched, done = matched + page.matched, done + page.done
        already += page.already
        refused |= page.refused
        runs += page.runs[: max(0, SHOWN - len(runs))]
        ask.as_of, ask.after = page.as_of, page.next
        if not page.next:
            return Sum(page.as_of, matched, done, already, refused, runs)


def _told(verb: Verb, found: Sum, *, as_json: bool, dry: bool) -> None:
    if as_json:
        say.data(found._asdict() | {"verb": verb, "dry_run": dry})
        return
    if dry:
        say.tell(f"{found.matched} runs would be {_PAST[verb]}")
        for run in found.runs:
            say.tell(f"  {run}")
        if found.matched > len(found.runs):
            say.tell(f"  and {found.matched - len(found.runs)} more")
        return
    parts = [f"{found.done} {_PAST[verb]}"]
    parts += [f"{found.already} were so already"] if found.already else []
    parts += [f"{len(found.refused)} refused"] if found.refused else []
    say.tell(", ".join(parts))
    for run, why in list(found.refused.items())[:SHOWN]:
        say.tell(f"  {run}: {why}")
