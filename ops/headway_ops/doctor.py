"""What is wrong with this installation, and what to do: one check, one line.

Every probe stands alone and is bounded in time, so that the answer is complete while NATS, Postgres
or the engine is down: the findings then say so.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from headway import bus
from headway.client import Client
from headway.config import Settings, from_environment
from headway.errors import HeadwayError
from headway.safe import safe_line
from headway.wire.api import Info
from headway.wire.fleet import AgentRow
from headway_ops import link, say
from headway_ops.checks import host
from headway_ops.checks.broker import nats
from headway_ops.checks.containers import PATIENCE, PROBE_PATIENCE, channel, docker
from headway_ops.checks.database import postgres
from headway_ops.checks.edge import edge as at_edge
from headway_ops.checks.engines import engines
from headway_ops.checks.finding import LIMIT, Finding, bad, clock, note, ok, probe
from headway_ops.say import Exit
from headway_ops.settings import edge_folder

if TYPE_CHECKING:
    from collections.abc import Iterable


def run(*, as_json: bool) -> None:
    """Print all findings; exit 1 if one is bad."""
    say.quiet_library()
    findings = asyncio.run(look(from_environment()))
    if as_json:
        say.rows(findings)
    else:
        show(findings)
    if any(f.state == "bad" for f in findings):
        raise SystemExit(int(Exit.FAILED))


def show(findings: Iterable[Finding]) -> None:
    """One line a finding, what to do below it."""
    styles = {"ok": "green", "note": "yellow", "bad": "bold red"}
    grid = Table.grid(padding=(0, 1))
    for finding in findings:
        what = Text(safe_line(finding.what, 400))
        if finding.todo:
            what.append(f"\ndo: {safe_line(finding.todo, 400)}", style="bold")
        state = Text(finding.state, style=styles[finding.state])
        grid.add_row(state, Text(finding.name, style="bold"), what)
    say.show(grid)


async def look(settings: Settings) -> list[Finding]:
    """All findings, in the order of the path of a run."""
    here = [*host.look(), where(settings)]
    containers, (broker, rest) = await asyncio.gather(_containers(), _broker_and_behind(settings))
    return [*here, *broker, *rest, *containers]


async def _containers() -> list[Finding]:
    # It bounds each answer by itself, and there are three.
    found = await probe("docker", docker, 4 * PATIENCE, late=note)
    if not any(f.state == "ok" for f in found):
        return found  # nobody there who could start a container
    return [*found, *await probe("channel", channel, PROBE_PATIENCE, late=note)]


def where(settings: Settings) -> Finding:
    """Which installation is meant, and who said so."""
    return ok("settings", link.asked(settings))


async def _broker_and_behind(settings: Settings) -> tuple[list[Finding], list[Finding]]:
    try:
        nc = await bus.connect(
            replace(settings, connect_timeout=min(settings.connect_timeout, LIMIT)),
            kind="client",
            ident=settings.user,
        )
    except HeadwayError as e:
        unknown = "not asked: NATS is not reachable"
        store = [] if edge_folder() else await probe("postgres", lambda: postgres(None))
        return [bad("nats", str(e), "start nats-server, or `headway up`")], [
            *store,
            note("engine", unknown),
            note("agents", unknown),
        ]
    try:
        broker, shared = await asyncio.gather(
            probe("nats", lambda: nats(nc)), probe("engines", lambda: engines(nc))
        )
        client = await Client.open(settings)
        try:
            before = time.time()
            info, why = await _info(client)
            after = time.time()
            edge = info.store == "edge" if info is not None else bool(edge_folder())
            look = partial(at_edge, nc, info) if edge else partial(postgres, info)
            store = await probe("edge" if edge else "postgres", look)
            if info is None:
                todo = "start one (`headway engine`, or `headway up`)"
                todo += "" if edge else ", or look at Postgres"
                rest = [bad("engine", why, todo), *shared]
                agents = [note("agents", "not asked: no engine answers")]
            else:
                ahead = info.now.timestamp() - (before + after) / 2
                rest = [engine(info), *clock("engine", ahead, (after - before) / 2), *shared]
                agents = [note("agents", "not asked: the engine's store does not answer")]
                if info.store_ok:
                    agents = await probe("agents", lambda: agents_of(client))
            if info is not None:
                broker = confined(broker)
            return broker, [*store, *rest, *agents]
        finally:
            await client.close()
    finally:
        await nc.close()


def confined(broker: list[Finding]) -> list[Finding]:
    """An engine answers, so JetStream works: that we may not look at it is no fault."""
    todo = "ask as a user of the engine's account"
    return [
        note("jetstream", "not looked at: this user may not", todo)
        if f.what.startswith("JetStream: ") else f
        for f in broker
    ]  # fmt: skip


async def _info(client: Client) -> tuple[Info | None, str]:
    """An engine's word on itself, or why there is none (nobody there, or its store is away)."""
    try:
        async with asyncio.timeout(LIMIT):
            return await client.api("info", None, Info), ""
    except HeadwayError as e:
        return None, str(e)
    except TimeoutError:
        return None, f"no engine answers within {LIMIT:g} s"


def engine(info: Info) -> Finding:
    """Is its store writable, and what is *accepted* worth?"""
    what = f"{info.engine} {info.version}, store {info.store}, NATS {info.durability}"
    if not info.store_ok:
        where = "NATS" if info.store == "edge" else "Postgres"
        return bad("engine", f"{what}: its store does not answer", f"look at {where}")
    if info.durability not in {"fsynced", "replicated"}:
        return note(
            "engine",
            f"{what}: an accepted enqueue may be lost by a power cut",
            "set `jetstream { sync_interval: always }` in nats-server's config",
        )
    return ok("engine", what)


async def agents_of(client: Client) -> list[Finding]:
    """Agents alive, degraded, lost."""
    rows = await client.api("agents", None, list[AgentRow])
    alive = [row for row in rows if row.alive]
    if not alive:
        return [bad("agents", "no agent is alive: nothing starts", "start one: `headway agent`")]
    findings = [
        ok("agents", f"{row.agent} on {row.host}: {row.runtime}, {row.open} of {row.slots} slots,"
           f" queues {', '.join(row.queues)}")
        for row in alive if not row.degraded and not row.drain
    ]  # fmt: skip
    findings += [
        note("agents", f"{row.agent} on {row.host} drains, said {row.drain_by}",
             f"`headway agents drain {row.agent} --undo` when it may take runs again")
        for row in alive if row.drain
    ]  # fmt: skip
    findings += [
        bad("agents", f"{row.agent} on {row.host}: {row.degraded}", "look at its log")
        for row in alive if row.degraded
    ]  # fmt: skip
    return findings
