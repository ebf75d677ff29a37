"""The engines: which there are, what each of them does, what nobody does."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headway import subjects
from headway.wire import Malformed, decode
from headway.wire.events import ENGINE_BEAT, EngineBeat
from headway_engine.roles import ALL, ROLES, missing_roles
from headway_ops.checks.finding import Finding, bad, ok

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

BEATS = 1.5
"""Seconds in which every live engine beats."""


async def engines(nc: NatsClient) -> list[Finding]:
    """Which engines there are and what each of them does, by their beats (one a second)."""
    return roles_of(await beating(nc))


async def beating(nc: NatsClient) -> list[EngineBeat]:
    """Every live engine's last beat."""
    beats: dict[str, EngineBeat] = {}

    async def hear(msg: Msg) -> None:
        with contextlib.suppress(Malformed):
            beat = decode(ENGINE_BEAT, msg.data)
            beats[beat.engine] = beat

    sub = await nc.subscribe(subjects.beat_engine(), cb=hear)
    await asyncio.sleep(BEATS)
    await sub.unsubscribe()
    return list(beats.values())


def roles_of(beats: list[EngineBeat]) -> list[Finding]:
    """A line an engine if there are several or their roles are split; what nobody does."""
    if not beats:
        return []
    findings: list[Finding] = []
    split = any(set(b.roles) not in (set(), set(ALL)) for b in beats)
    if split or len(beats) > 1:
        findings = [
            ok("engines", f"{b.engine} {b.version}: {', '.join(b.roles) or 'all roles'}")
            for b in sorted(beats, key=lambda b: b.engine)
        ]
    findings += [
        bad("engines", f"no engine has the role {role}: it {ROLES[role]}",
            f"start one: `headway engine --roles {role}`, or one without --roles")
        for role in missing_roles(b.roles for b in beats)
    ]  # fmt: skip
    return findings
