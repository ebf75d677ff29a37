"""At the hub: asks a site what became of the commands that it was given, and tells who asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from headway import bus
from headway.errors import HeadwayError
from headway.history import last
from headway.subjects import site_api
from headway.wire import NOTHING, decode, encode
from headway.wire.enqueue import Answers, Recorded
from headway_engine.service import Ticker
from headway_engine.sites.commands import (
    ANSWER,
    DONE,
    DONE_OUTCOMES,
    ENQUEUE,
    Answer,
    Command,
    declared_down,
    done_subject,
    down_stream,
)
from headway_engine.streams import ensure_stream

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

    from headway_engine.post import Post
    from headway_engine.sites.commands import Commands

EVERY = 1.0
PATIENCE = 2.0
"""Seconds that the site gets to answer: it may not have said anything yet."""


class Settler(Ticker):
    """For one site; every engine of the hub has one, and what they write is the same."""

    name = "site-commands"

    def __init__(
        self, nc: NatsClient, site: str, commands: Commands, answers: Post, replicas: int = 1
    ) -> None:
        """`answers`: where callers hear of their enqueues; `replicas`: of its stream."""
        super().__init__(EVERY)
        self._nc, self._site, self._commands, self._answers = nc, site, commands, answers
        self._replicas = replicas
        self._declared = False

    async def once(self) -> float | None:
        """Ask about each that waits, the oldest first; without a link nothing is known."""
        try:
            if not self._declared:
                down = declared_down(self._site, self._replicas)
                await ensure_stream(self._nc, down_stream(self._site), down, [])
                self._declared = True
            for where, seq, command in await self._commands.waiting(self._site):
                answer = await self._answer(command)
                if answer is not None:
                    await self._settle(where, seq, command, answer)
        except HeadwayError:
            self._declared = False  # the link, or this NATS, is away
        return None

    async def _answer(self, command: Command) -> Answer | None:
        where = done_subject(self._site, command)
        api = site_api(self._site)
        found = await last(self._nc, DONE, where, timeout=PATIENCE, api=api)
        return None if found is None else decode(ANSWER, found.data)

    async def _settle(self, where: str, seq: int, command: Command, answer: Answer) -> None:
        over = replace(
            command,
            outcome=answer.outcome,
            message=answer.message,
            winner=answer.winner,
            body=NOTHING,
        )
        try:
            headers = {bus.EXPECTED_LAST: str(seq)}
            await bus.publish_acked(self._nc, where, encode(over), headers)
        except bus.WrongLast:
            return  # another engine has written the same
        if command.verb == ENQUEUE and command.reply:
            told = encode(Answers(recorded=[told_of(over)]))
            self._answers.put(command.reply, told)


def told_of(command: Command) -> Recorded:
    """An enqueue that is over, as its caller hears of it."""
    word: Literal["recorded", "duplicate", "rejected"] = "rejected"
    if command.outcome in DONE_OUTCOMES:
        word = "duplicate" if command.winner else "recorded"
    refused = word == "rejected"
    return Recorded(
        command.run,
        word,
        command.winner,
        command.outcome if refused else "",
        command.message if refused else "",
    )
