"""Commands from a hub to a site: kept at the hub until the site has said what became of them.

A command is one message of the hub's stream DOWN, `down.<site>.<run>.<id>`; what became of it
replaces it there. The site reads them over the link, carries each out by its own api, keeps the
answer in its stream DONE under the command's id, and never takes a command twice whose answer it
has. Killed between the two it asks its api again, where each of these verbs is safe to repeat.
"""

from __future__ import annotations

import contextlib
from contextlib import aclosing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct

from headway import bus
from headway.errors import HeadwayError
from headway.history import history, last, next_after
from headway.ids import new_run_id
from headway.texts import age
from headway.wire import NOTHING, Instant, Malformed, decode, decoder, encode
from headway_engine.control import Asker
from headway_engine.service import Ticker
from headway_engine.store import StoreDown
from headway_engine.streams import ensure_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from nats.aio.client import Client as NatsClient

    from headway_engine.control import Handler

DOWN, DONE = "DOWN", "DONE"
VERBS = frozenset({"cancel", "resume", "replay"})
"""What a hub may ask of a site; each is safe to repeat at the site's api."""
TTL = timedelta(days=1)
"""So long a command waits for its site."""
EVERY = 1.0
_DAY = 24 * 3600 * 1_000_000_000


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
    outcome: str = ""
    """Empty = it waits. `ok`, `already`, `expired`, or the code of a refusal."""
    message: str = ""


class Answer(Struct, omit_defaults=True):
    """What became of a command; the site's word, in DONE."""

    id: str
    outcome: str
    message: str = ""


class _Said(Struct):
    outcome: str = "ok"
    message: str = ""


class _Named(Struct):
    request: str = ""
    new_run: str = ""


COMMAND, ANSWER = decoder(Command), decoder(Answer)
_SAID, _NAMED = decoder(_Said), decoder(_Named)


def declared_down() -> dict[str, Any]:
    """The hub's stream of commands; fsynced as its server says, since nobody else has them."""
    return {
        "name": DOWN,
        "description": "commands for sites, and what became of them",
        "subjects": ["down.>"],
        "storage": "file",
        "num_replicas": 1,
        "retention": "limits",
        "discard": "new",
        "max_bytes": 128 * 1024 * 1024,
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


class Commands:
    """The hub's side: give commands, and tell of those about a run."""

    def __init__(self, nc: NatsClient, now: Callable[[], datetime]) -> None:
        self._nc, self._now = nc, now

    async def give(self, site: str, asker: Asker, verb: str, run: str, body: bytes) -> Command:
        """Keep a command; asked for twice (by its own id) it is one. Raises as `publish_acked`."""
        named = decode(_NAMED, body)
        at = self._now()
        ident = named.request or named.new_run or new_run_id()
        command = Command(ident, asker.ns, asker.user, verb, run, at, at + TTL, Raw(body))
        # If it was given before, its answer was lost.
        with contextlib.suppress(bus.WrongLast):
            await bus.publish_acked(
                self._nc, subject(site, command), encode(command), {bus.EXPECTED_LAST: "0"}
            )
        return command

    async def about(self, site: str, run: str) -> list[Command]:
        """Commands of the last days on this run, the oldest first."""
        found: list[Command] = []
        read = history(self._nc, DOWN, f"down.{site}.{run}.>")
        async with aclosing(read):
            async for stored in read:
                found.append(decode(COMMAND, stored.data))  # noqa: PERF401 - it has to be closed
        return found


def subject(site: str, command: Command) -> str:
    """Where a command stands; the id may be a caller's own word, so only its letters count."""
    ident = "".join(c for c in command.id if c.isalnum() or c in "-_")[:64] or "none"
    return f"down.{site}.{command.run}.{ident}"


def in_words(command: Command, now: datetime) -> str:
    """Where a command is."""
    head = f"{command.verb} by {command.user} {age(command.at, now)} ago"
    if command.outcome in ("ok", "already"):
        return f"{head}: the site did it"
    if command.outcome:
        return f"{head}: the site did not do it ({command.message or command.outcome})"
    if now > command.until:
        return f"{head}: its time is over, the site will not do it any more"
    return f"{head} waits for the site, until {command.until:%Y-%m-%d %H:%M} UTC"


class Settler(Ticker):
    """At the hub: asks a site what became of the commands that it was given."""

    name = "site-commands"

    def __init__(self, nc: NatsClient, site: str) -> None:
        super().__init__(EVERY)
        self._nc, self._site = nc, site
        self._seen = 0
        self._waiting: dict[str, tuple[int, Command]] = {}
        self._declared = False

    async def once(self) -> float | None:
        """Read what is new in DOWN, then ask the site about each that waits."""
        try:
            if not self._declared:
                await ensure_stream(self._nc, DOWN, declared_down(), [])
                self._declared = True
            await self._read()
            for where, (seq, command) in list(self._waiting.items()):
                answer = await self._answer(command)
                if answer is not None:
                    command.outcome, command.message = answer.outcome, answer.message
                    headers = {bus.EXPECTED_LAST: str(seq)}
                    await bus.publish_acked(self._nc, where, encode(command), headers)
        except bus.WrongLast:
            pass  # another engine has written the same
        except HeadwayError:
            self._seen, self._declared = 0, False  # the link, or this NATS, is away
            self._waiting.clear()
        return None

    async def _read(self) -> None:
        read = history(self._nc, DOWN, f"down.{self._site}.>", self._seen + 1)
        async with aclosing(read):
            async for stored in read:
                self._seen = stored.seq
                command = decode(COMMAND, stored.data)
                if command.outcome:
                    self._waiting.pop(stored.subject, None)
                else:
                    self._waiting[stored.subject] = (stored.seq, command)

    async def _answer(self, command: Command) -> Answer | None:
        found = await last(
            self._nc, DONE, done_subject(self._site, command), api=f"$JS.{self._site}.API"
        )
        return None if found is None else decode(ANSWER, found.data)


def done_subject(site: str, command: Command) -> str:
    """Where the site keeps its answer."""
    return subject(site, command).replace("down.", "hw.done.", 1)


class Obeying(Ticker):
    """At a site: takes the hub's commands over the link, each once, in their order."""

    name = "hub-commands"

    def __init__(
        self,
        nc: NatsClient,
        site: str,
        hub: str,
        table: dict[str, Handler],
        now: Callable[[], datetime],
    ) -> None:
        """`hub`: the JetStream domain of the hub; `table`: the verbs of this site's own api."""
        super().__init__(EVERY)
        self._nc, self._site, self._api = nc, site, f"$JS.{hub}.API"
        self._table, self._now = table, now
        self._seen = 0
        self._declared = False
        self.obeyed = 0

    async def once(self) -> float | None:
        """Take the next command; without a link there is none."""
        try:
            if not self._declared:
                await ensure_stream(self._nc, DONE, declared_done(), [])
                self._declared = True
            found = await next_after(
                self._nc, DOWN, f"down.{self._site}.>", self._seen, api=self._api
            )
            if found is None:
                return None
            await self._take(found.data)
            self._seen = found.seq
        except StoreDown:
            raise
        except HeadwayError:
            self._seen, self._declared = 0, False  # the link is down: look at all of them again
            return None
        return 0

    async def _take(self, data: bytes) -> None:
        try:
            command = decode(COMMAND, data)
        except Malformed:
            return
        where = done_subject(self._site, command)
        if command.outcome or await last(self._nc, DONE, where) is not None:
            return
        answer = await self._obey(command)
        await bus.publish_acked(self._nc, where, encode(answer))
        self.obeyed += 1

    async def _obey(self, command: Command) -> Answer:
        if self._now() > command.until:
            return Answer(command.id, "expired", "its time was over when the link was back")
        if command.verb not in VERBS:
            return Answer(command.id, "not_served", f"{command.verb}: a site does not do that")
        asker = Asker(command.ns, f"{command.user}@hub")
        try:
            done = await self._table[command.verb](asker, bytes(command.body))
        except StoreDown:
            raise
        except HeadwayError as e:
            return Answer(command.id, e.code, str(e)[:500])
        said = decode(_SAID, encode(done))
        return Answer(command.id, said.outcome, said.message[:500])
