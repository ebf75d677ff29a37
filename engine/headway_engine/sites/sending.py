"""Enqueues from a hub to a site: checked and kept at the hub, made at the site.

What a site has deployed is known there alone: a task's name and its parameters are checked when the
site takes the command, and a refusal comes back as its answer. The idempotency key is the site's as
well: a command whose key has a run there becomes a duplicate of it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import INLINE_LIMIT, Malformed, decode
from headway.wire.enqueue import ITEM
from headway.wire.sites import SEND, CommandsPage, SendAsk
from headway_engine.checks import Unfit, check_item
from headway_engine.control import ApiRefused
from headway_engine.recorder import Specs
from headway_engine.sites.commands import ENQUEUE, Answer, Command, row_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from headway.wire.enqueue import EnqueueItem
    from headway_engine.control import Asker
    from headway_engine.recorder import Recorder
    from headway_engine.sites.commands import Commands

AT_ONCE = 64
"""Commands that wait for JetStream's word together."""


class Sending:
    """At the hub: the verb `send`."""

    def __init__(
        self, commands: Commands, sites: Sequence[str], now: Callable[[], datetime]
    ) -> None:
        self._commands, self._sites, self._now = commands, sites, now

    async def send(self, asker: Asker, body: bytes) -> CommandsPage:
        """Keep enqueues for a site; where each stands. Safe to repeat: a run's id is the same."""
        ask = decode(SEND, body)
        known(ask.site, self._sites)
        _check_reply(ask, asker)
        at = self._now()
        commands = [
            Command(
                item.run,
                asker.ns,
                asker.user,
                ENQUEUE,
                item.run,
                at,
                at + timedelta(seconds=ask.ttl),
                raw,
                task=item.task,
                key=item.key or "",
                reply=ask.reply,
            )
            for raw, item in ((raw, _checked(bytes(raw), asker.ns, at)) for raw in ask.items)
        ]
        kept: list[Command] = []
        try:
            for first in range(0, len(commands), AT_ONCE):
                part = commands[first : first + AT_ONCE]
                kept += await asyncio.gather(*(self._commands.keep(ask.site, c) for c in part))
        except HeadwayError as e:
            raise ApiRefused(
                "unavailable",
                f"{len(kept)} of {len(commands)} enqueues are kept for site {ask.site}, the next"
                f" one cannot be: {e}; the same request once more adds the missing ones",
            ) from None
        now = self._now()
        return CommandsPage([row_of(ask.site, c, now) for c in kept], now)


def known(site: str, sites: Sequence[str]) -> None:
    """Raises ApiRefused for a site that this hub does not have."""
    if site in sites:
        return
    if not sites:
        raise ApiRefused(
            "refused", "this is no hub: its engines name no `sites` in [engine] of their settings"
        )
    raise ApiRefused("refused", f"no site {site[:64]!r} at this hub: it has {', '.join(sites)}")


def _check_reply(ask: SendAsk, asker: Asker) -> None:
    if not ask.reply:
        return
    if not subjects.is_reply(ask.reply) or ask.reply.split(".")[2] != asker.user:
        raise ApiRefused("bad_request", "reply: expected hw.reply.<your user>.<token>")


def _checked(raw: bytes, ns: str, now: datetime) -> EnqueueItem:
    """What can be said here of an enqueue; raises ApiRefused."""
    try:
        item = decode(ITEM, raw)
        check_item(item, ns, now)
    except Malformed as e:
        raise ApiRefused("malformed", str(e)) from None
    except Unfit as e:
        raise ApiRefused(e.code, str(e)) from None
    if item.payload_ref is not None or len(bytes(item.payload)) > INLINE_LIMIT:
        raise ApiRefused(
            "too_large",
            f"the payload of a run for a site may have {INLINE_LIMIT:,} bytes: larger bodies stay"
            " where they are; enqueue it at the site, or send a reference to your own storage",
        )
    if item.parent is not None or item.root is not None:
        raise ApiRefused("refused", "a run's children are enqueued where it runs, not at a site")
    return item


class Making:
    """At a site: makes the run of an enqueue that its hub has kept."""

    def __init__(self, recorder: Recorder, now: Callable[[], datetime]) -> None:
        self._recorder, self._now = recorder, now

    async def make(self, command: Command) -> Answer:
        """The run, or why not. Its delay, ttl and deadline count from when it was asked for.

        Raises StoreDown. Killed after the commit it is asked again, and finds the run there.
        """
        try:
            item = decode(ITEM, bytes(command.body))
            base = min(command.at, self._now())
            new = await self._recorder.prepare(command.ns, item, command.at, base, "", Specs())
        except Malformed as e:
            return Answer(command.id, "malformed", str(e)[:500])
        except Unfit as e:
            return Answer(command.id, e.code, str(e)[:500])
        (out,) = await self._recorder.commit(command.ns, [new])
        if out.outcome == "rejected":
            return Answer(command.id, out.code, out.reason[:500])
        if out.winner:
            return Answer(command.id, "duplicate", winner=out.winner)
        return Answer(command.id, "recorded")
