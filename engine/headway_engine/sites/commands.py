"""What a hub asks of its sites: kept at the hub until the site has said what became of it.

A command is one message of the hub's stream for that site, `down.<site>.<run>.<id>`; what became
of it replaces it there (`settling`). The site reads them over the link, carries each out by its own
api, keeps the answer in its stream DONE under the command's id, and never takes a command twice
whose answer it has (`obeying`). Killed between the two it asks its api again, where each of these
verbs is safe to repeat.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from headway import bus, subjects
from headway.errors import HeadwayError
from headway.history import history, last
from headway.ids import new_run_id
from headway.texts import age
from headway.wire import NOTHING, Instant, decode, decoder, encode
from headway.wire.sites import SEND_TTL, CommandRow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from nats.aio.client import Client as NatsClient

    from headway_engine.control import Asker

DONE = "DONE"
ENQUEUE = "enqueue"
VERBS = frozenset({"cancel", "resume", "replay", "tag"})
"""What a hub may ask of a site's run; each is safe to repeat at the site's api."""
TTL = timedelta(seconds=SEND_TTL)
"""So long a command waits for its site, unless an enqueue says otherwise."""
DONE_OUTCOMES = frozenset({"ok", "already", "recorded", "duplicate"})
_DAY = 24 * 3600 * 1_000_000_000
DOWN_BYTES = 64 * 1024 * 1024
"""Of what is kept for one site; beyond that commands for it are refused."""
_FAILED = 1000
"""Of those that a site did not do, so many are told of; the oldest go first."""
_REMEMBERED = 50_000
"""Enqueues of the last days whose fate is known without a request."""


class Command(Struct, omit_defaults=True):
    """One command, and, when it is over, what became of it."""

    id: str
    ns: str
    user: str
    verb: str
    run: str
    at: Instant
    until: Instant
    body: Raw = NOTHING
    """Of the request; gone when the command is over."""
    outcome: str = ""
    """Empty = it waits. One of `DONE_OUTCOMES`, `expired`, or the code of a refusal."""
    message: str = ""
    task: str = ""
    """Of an enqueue."""
    key: str = ""
    winner: str = ""
    """Of an enqueue with `duplicate`: the run that holds the key."""
    reply: str = ""
    """Of an enqueue: where its caller hears of it."""


class Answer(Struct, omit_defaults=True):
    """What became of a command; the site's word, in DONE."""

    id: str
    outcome: str
    message: str = ""
    winner: str = ""


class _Named(Struct):
    request: str = ""
    new_run: str = ""


COMMAND, ANSWER = decoder(Command), decoder(Answer)
_NAMED = decoder(_Named)


def down_stream(site: str) -> str:
    """The hub's stream for one site: a site is let read its own and no other's."""
    return subjects.site_stream("DOWN", site)


def declared_down(site: str, replicas: int = 1) -> dict[str, Any]:
    """Its configuration; as safe as its server makes it, since nobody else has the commands."""
    return {
        "name": down_stream(site),
        "description": f"site {site}: commands, and what became of them",
        "subjects": [f"down.{site}.>"],
        "storage": "file",
        "num_replicas": replicas,
        "retention": "limits",
        "discard": "new",
        "max_bytes": DOWN_BYTES,
        "max_age": 7 * _DAY,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
    }


def declared_done() -> dict[str, Any]:
    """A site's answers; they outlive the commands."""
    return {
        "name": DONE,
        "description": "what became of the hub's commands",
        "subjects": ["hw.done.>"],
        "storage": "file",
        "num_replicas": 1,
        "retention": "limits",
        "discard": "old",
        "max_bytes": 128 * 1024 * 1024,
        "max_age": 14 * _DAY,
        "max_msgs_per_subject": 1,
        "allow_direct": True,
    }


def subject(site: str, command: Command) -> str:
    """Where a command stands; the id may be a caller's own word, so only its letters count."""
    ident = "".join(c for c in command.id if c.isalnum() or c in "-_")[:64] or "none"
    return f"down.{site}.{command.run}.{ident}"


def done_subject(site: str, command: Command) -> str:
    """Where the site keeps its answer."""
    return subject(site, command).replace("down.", "hw.done.", 1)


class Commands:
    """The hub's side: gives commands, and knows those that wait.

    What waits is held in memory, read on at each look: that costs one request for a site.
    """

    def __init__(self, nc: NatsClient, sites: Sequence[str], now: Callable[[], datetime]) -> None:
        self._nc, self._sites, self._now = nc, sites, now
        self._seen: dict[str, int] = {}
        self._open: dict[str, dict[str, tuple[int, Command]]] = {}
        """By site, then by subject."""
        self._failed: dict[str, dict[str, Command]] = {}
        """By site, then by subject: what a site has refused, or heard of too late."""
        self._sent: dict[str, tuple[str, Command]] = {}
        """Enqueues by run."""
        self._lock = asyncio.Lock()

    # --- giving

    async def give(self, site: str, asker: Asker, verb: str, run: str, body: bytes) -> Command:
        """Keep a command; asked for twice (by its own id) it is one. Raises as `publish_acked`."""
        named = decode(_NAMED, body)
        at = self._now()
        ident = named.request or named.new_run or new_run_id()
        return await self.keep(
            site, Command(ident, asker.ns, asker.user, verb, run, at, at + TTL, Raw(body))
        )

    async def keep(self, site: str, command: Command) -> Command:
        """Keep it, or find what was kept under its id before. Raises as `publish_acked`."""
        where = subject(site, command)
        try:
            await bus.publish_acked(
                self._nc, where, encode(command), {bus.EXPECTED_LAST: "0"}, again=True
            )
        except bus.WrongLast:
            # Its answer was lost, or it is asked again.
            found = await last(self._nc, down_stream(site), where)
            return command if found is None else decode(COMMAND, found.data)
        return command

    # --- looking

    async def waiting(self, site: str) -> list[tuple[str, int, Command]]:
        """Those that are not over: (subject, sequence, command), the oldest first."""
        await self._read_on(site)
        found = self._open.get(site, {})
        return sorted(((s, q, c) for s, (q, c) in found.items()), key=lambda one: one[1])

    async def failed(self, site: str) -> list[Command]:
        """Those of the last days that the site did not do, the oldest first."""
        await self._read_on(site)
        return sorted(self._failed.get(site, {}).values(), key=lambda command: command.at)

    async def _read_on(self, site: str) -> None:
        """Read what is new. Raises HeadwayError; then the next look begins anew."""
        async with self._lock:
            try:
                await self._read(site)
            except HeadwayError:
                self._seen.pop(site, None)
                self._open.pop(site, None)
                self._failed.pop(site, None)
                raise

    async def _read(self, site: str) -> None:
        waits, failed = self._open.setdefault(site, {}), self._failed.setdefault(site, {})
        first = self._seen.get(site, 0) + 1
        read = history(self._nc, down_stream(site), f"down.{site}.*.*", first)
        async with aclosing(read):
            async for stored in read:
                self._seen[site] = stored.seq
                command = decode(COMMAND, stored.data)
                if command.outcome:
                    waits.pop(stored.subject, None)
                else:
                    waits[stored.subject] = (stored.seq, command)
                if command.outcome and command.outcome not in DONE_OUTCOMES:
                    failed[stored.subject] = command
                if command.verb == ENQUEUE:
                    self._sent[command.run] = (site, command)
        while len(failed) > _FAILED:
            del failed[next(iter(failed))]
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]

    async def sent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[str, Command]]:
        """Of these runs those that were to be made at a site: where, and the command."""
        for site in self._sites:
            await self._read_on(site)
        found = {run: self._sent[run] for run in runs if run in self._sent}
        return {run: one for run, one in found.items() if one[1].ns == ns}

    async def about(self, run: str, site: str = "") -> list[tuple[str, Command]]:
        """(site, command) of the last days on this run, the oldest first; of all sites if empty."""
        found: list[tuple[str, Command]] = []
        for name in [site] if site else self._sites:
            read = history(self._nc, down_stream(name), f"down.{name}.{run}.*")
            async with aclosing(read):
                async for stored in read:
                    found.append((name, decode(COMMAND, stored.data)))  # noqa: PERF401 - it has to be closed
        return sorted(found, key=lambda one: one[1].at)


def state_of(command: Command, now: datetime) -> str:
    """As in `CommandRow.state`."""
    if command.outcome in DONE_OUTCOMES:
        return "done"
    if command.outcome:
        return "expired" if command.outcome == "expired" else "refused"
    return "overdue" if now > command.until else "waiting"


def row_of(site: str, command: Command, now: datetime) -> CommandRow:
    """What an asker sees of a command."""
    over = state_of(command, now) in ("refused", "expired")
    return CommandRow(
        site,
        command.verb,
        command.run,
        command.at,
        command.until,
        state_of(command, now),
        command.id,
        command.user,
        command.task,
        command.key,
        command.winner,
        command.outcome if over else "",
        command.message,
    )


def in_words(command: Command, now: datetime) -> str:
    """Where a command is."""
    head = f"{command.verb} by {command.user} {age(command.at, now)} ago"
    match state_of(command, now):
        case "done" if command.winner:
            return f"{head}: its key has run {command.winner} at the site already"
        case "done":
            return f"{head}: the site did it"
        case "refused" | "expired":
            return f"{head}: the site did not do it ({command.message or command.outcome})"
        case "overdue":
            return (
                f"{head}: its time is over, the site will not do it any more; whether it did it"
                " before is known when there is a link"
            )
        case _:
            return f"{head} waits for the site, until {command.until:%Y-%m-%d %H:%M} UTC"
