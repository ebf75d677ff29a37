"""NATS: version, JetStream's limits, the streams, the clock."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headway import bus, subjects
from headway.errors import HeadwayError
from headway_engine.declared import declared
from headway_engine.streams import drift
from headway_ops.checks.finding import Finding, bad, clock, note, ok

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

MIN_NATS = (2, 15, 1)
PAYLOAD = 1_000_000
"""Bytes that one message must hold: batches and bodies are cut to about 1 MiB."""


async def nats(nc: NatsClient) -> list[Finding]:
    """Version, JetStream, and whether the streams are as declared."""
    v = nc.connected_server_version
    findings = [nats_version(f"{v.major}.{v.minor}.{v.patch}"), *payload(nc.max_payload)]
    try:
        info = await bus.jsapi(nc, "INFO", timeout=2.0)
    except HeadwayError as e:
        return [*findings, bad("nats", f"JetStream: {e}", "write `jetstream {}` into its config,"
                               " or give this user permission for $JS.API.INFO")]  # fmt: skip
    need = sum(max(0, int(config.get("max_bytes", 0))) for config in declared(None).values())
    findings += jetstream(info, need)
    findings += [
        note("streams", line, "an engine puts it right at its next start")
        for line in await drift(nc)
    ] or [ok("streams", "as declared")]
    return findings + await _clock(nc)


def nats_version(shown: str) -> Finding:
    """nats-server before 2.15.1 skips fsyncs although it is told to do them."""
    try:
        version = tuple(int(part.partition("-")[0]) for part in shown.split(".")[:3])
    except ValueError:
        return note("nats", f"version {shown!r} is not known", "use nats-server 2.15.1 or newer")
    if version < MIN_NATS:
        need = ".".join(map(str, MIN_NATS))
        return bad("nats", f"nats-server {shown} is too old", f"install {need} or newer")
    return ok("nats", f"nats-server {shown}")


def payload(most: int) -> list[Finding]:
    """Does a message of ours fit?"""
    if most >= PAYLOAD:
        return []
    return [bad("nats", f"max_payload is {most:,} bytes: batches and states do not fit",
                "set `max_payload: 1MB` in nats-server's config and reload it")]  # fmt: skip


def jetstream(info: dict[str, Any], need: int) -> list[Finding]:
    """The account's bounds (-1 = the server's) and how full it is.

    `need`: bytes that the streams reserve; with less NATS refuses to make them.
    """
    limits: dict[str, Any] = info.get("limits") or {}
    most, used = int(limits.get("max_storage", -1)), int(info.get("storage", 0))
    if most < 0:
        return [ok("jetstream", f"{_mb(used)} stored, no limit of the account")]
    what = f"{_mb(used)} of {_mb(most)} stored"
    todo = "raise max_file_store (or the account's max_file), look why messages wait"
    if most < need:
        return [bad("jetstream", f"{what}: the streams reserve {_mb(need)}", todo)]
    if used > most * 0.95:
        return [bad("jetstream", f"{what}: enqueues are refused soon", todo)]
    return [note("jetstream", what, todo) if used > most * 0.8 else ok("jetstream", what)]


def _mb(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


async def _clock(nc: NatsClient) -> list[Finding]:
    before = time.time()
    try:
        info = await bus.jsapi(nc, f"STREAM.INFO.{subjects.INGEST}")
        then = datetime.fromisoformat(str(info["ts"])).timestamp()
    except (HeadwayError, KeyError, ValueError):
        return []  # no such stream yet: said by `streams`
    after = time.time()
    return clock("nats", then - (before + after) / 2, (after - before) / 2)
