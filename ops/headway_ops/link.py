"""The command line's one connection: settings found, client made, closed at the end."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, TypeVar

from headway.client import Client
from headway.config import from_environment
from headway.discovery import client_file
from headway.errors import HeadwayError, NotAllowed, NotReachable, Refused
from headway.ids import is_run_id
from headway.wire.runs import RunAsk, RunDetail
from headway_ops import say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from headway.config import Settings

T = TypeVar("T")

PREFIX = 6
"""Shortest prefix of a run id that is looked up."""


def with_client(work: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, do the work, close. Ctrl+C ends it; raises NotReachable if nobody answers."""
    refusals = say.quiet_library()

    settings = from_environment()

    async def main() -> T:
        client = await Client.open(settings)
        server = client.connection.shown_url
        # Requests go on by themselves; whoever watches must not think that nothing happens.
        unhook = client.connection.when_away(
            lambda: say.tell(f"the connection to {server} broke; trying again, Ctrl+C ends")
        )
        client.connection.when_back(lambda: say.tell("connected again"))
        try:
            return await work(client)
        finally:
            unhook()
            await client.close()

    try:
        return asyncio.run(main())
    except (Fail, HeadwayError) as e:
        if say.explain(e).code in {Exit.REFUSED, Exit.NO_LINK}:
            e.add_note(f"asked: {asked(settings)}")
            if isinstance(e, NotAllowed):
                e.add_note(say_who_may(e.subject))
            elif refusals:
                e.add_note(f"NATS refused: {refusals[-1]}")
                e.add_note("look at user and password in the URL, and at what the user may do")
        raise


def say_who_may(subject: str) -> str:
    """Which users of `headway nats config` have the right that is missing."""
    from headway_ops.access.rights import who_may

    kinds = who_may(subject)
    return f"{' and '.join(kinds)} may do that" if kinds else "no user of yours may do that"


def asked(settings: Settings) -> str:
    """Which server, which namespace, and who chose it: on a shared machine it may be another's."""
    return f"{settings.shown_url}, namespace {settings.namespace} ({source()})"


def source(start: Path | None = None) -> str:
    """Where the server's address comes from, seen from a folder (the working directory)."""
    if name := os.environ.get("HEADWAY_CONTEXT"):
        return f"the context {name}"
    if os.environ.get("HEADWAY_NATS_URL"):
        return "from HEADWAY_NATS_URL"
    file = client_file(start)
    if file is not None:
        return f"from {file}"
    return "the default: no `headway up` runs in this folder or above"


def prefix_of(text: str) -> str:
    """What the user typed as an id or a prefix of one; Fail if it is neither."""
    shown = text.strip().upper()
    if len(shown) < PREFIX or not shown.isalnum() or len(shown) > 26:
        raise Fail(
            f"{text!r} is no run id and no prefix of one ({PREFIX} to 26 letters and digits)",
            "headway ls",
            Exit.USAGE,
        )
    return shown


async def detail(client: Client, text: str) -> RunDetail:
    """The run with this id or unique prefix."""
    return await client.api("run", RunAsk(prefix_of(text)), RunDetail)


async def known(client: Client, text: str) -> str:
    """The full id of a run that the engine knows; without an engine a full id is taken as it is.

    Its stored output and events can be read from NATS alone, so an absent engine is no reason to
    stop; a run that does not exist would be waited for without end.
    """
    shown = prefix_of(text)
    if not is_run_id(shown):
        return await run_id(client, shown)
    try:
        answer = await client.ask_results([shown])
    except (NotReachable, Refused) as e:
        say.tell(f"is there such a run? The engine does not say: {e}")
        return shown
    if (refusal := answer.refused.get(shown)) is not None:
        raise Fail(f"run {shown} was refused: {refusal.reason or refusal.code}", "", Exit.REFUSED)
    if answer.others.get(shown) == "unknown":
        raise Fail(f"no run {shown} is recorded", "headway ls", Exit.REFUSED)
    return answer.aliases.get(shown, shown)


async def run_id(client: Client, text: str) -> str:
    """The full id; a full one is not looked up."""
    shown = prefix_of(text)
    return shown if is_run_id(shown) else (await detail(client, shown)).row.run
