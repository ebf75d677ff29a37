"""Hostile bodies at the engine's doors: every verb, every field, a real engine and store behind it.

Each request has an answer, and the engine that gave it goes on.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from nats.errors import TimeoutError as NoAnswer

from headway import subjects
from headway.wire import encode
from headway.wire.fleet import TaskSpec
from support.engines import calling, config_for, running_engine
from support.stacks import agent_on

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headway.bus import Connection

pytestmark = pytest.mark.timeout(240)

GOLDEN = Path(__file__).parents[1] / "unit" / "golden"
RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"
HOSTILE: tuple[Any, ...] = (
    "\0", "a\0b", "\x1b[2J", "x" * 100_000, "", "'; DROP TABLE runs; --", "%", "*", "hw.>", "../..",
    -1, 0, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 1e308, -1e308, True, None, [], ["\0"], {},
    {"\0": 1},
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", RUN,
)  # fmt: skip
RAW = (
    b"", b"\xff", b"\x00", b"null", b"[]", b"{", b"[" * 100_000, b'{"a":1e999}', b"9" * 100_000,
    b'{"run":"\\ud800"}',
)  # fmt: skip
API = {
    "runs": "RunsQuery", "run": "RunAsk", "events": "RunAsk", "checkpoints": "RunAsk",
    "state": "StateAsk", "why": "RunAsk", "result": "ResultsAsk", "cancel": "CancelAsk",
    "resume": "ResumeAsk", "replay": "ReplayAsk", "queue-set": "QueueAsk", "deploy": "Deployment",
    "agent-drain": "DrainAsk", "blob-put": "BlobPut", "blob-url": "BlobUrl", "blob-done": "BlobUrl",
    "blob-get": "BlobGet", "bulk": "BulkAsk", "plan-rows": "SourcesAsk",
    "send": "SendAsk", "commands": "CommandsAsk", "tag": "TagAsk",
}  # fmt: skip
RPC = {
    "register": "Register", "beat": "Beat", "claim": "Claim", "load": "Load", "save": "Saves",
    "report": "Reports", "enqueue": "Children", "ends": "ChildrenAsk", "blob_put": "PutPart",
    "blob_url": "UrlAsk", "blob_done": "UrlAsk", "blob_get": "GetPart", "child_get": "GetPart",
}  # fmt: skip


def golden() -> dict[str, Any]:
    """Struct name to the value that was agreed on, of all modules of the wire."""
    lines = [n for f in sorted(GOLDEN.glob("*.txt")) for n in f.read_text().splitlines()]
    return {k: json.loads(v) for k, _, v in (line.partition(" ") for line in lines)}


def bodies(good: Any) -> Iterator[bytes]:
    """The good body, and each of its fields replaced by each hostile value; then no body at all."""
    yield encode(good)
    for path in paths(good):
        for value in HOSTILE:
            yield json.dumps(replaced(good, path, value)).encode()
    yield from RAW


def inside(value: Any) -> list[tuple[Any, Any]]:
    """Keys and values of an object, the first item of an array."""
    if isinstance(value, dict):
        return list(cast("dict[str, Any]", value).items())
    return list(enumerate(cast("list[Any]", value)))[:1] if isinstance(value, list) else []


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    for key, inner in inside(value):
        yield from paths(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    if not path:
        return by
    if isinstance(value, dict):
        whole = cast("dict[str, Any]", value)
        return whole | {path[0]: replaced(whole.get(path[0]), path[1:], by)}
    first, *rest = cast("list[Any]", value)
    return [replaced(first, path[1:], by), *rest]


async def asked(nc: Connection, subject: str, body: bytes) -> bytes:
    """The answer; the body is in the error when there is none."""
    try:
        return (await nc.request(subject, body, timeout=8)).data
    except NoAnswer:
        raise AssertionError(f"no answer on {subject} to {body[:300]!r}") from None


async def all_answered(nc: Connection, wanted: list[tuple[str, bytes]]) -> int:
    """Ask for all of it, some at once."""
    gate = asyncio.Semaphore(32)

    async def one(subject: str, body: bytes) -> None:
        async with gate:
            answer = await asked(nc, subject, body)
            assert answer.startswith(b"{"), (subject, body[:300], answer[:300])

    await asyncio.gather(*(one(s, b) for s, b in wanted))
    return len(wanted)


async def test_each_request_is_answered_whatever_is_in_it(nats: str, database: str) -> None:
    made = config_for(nats, database, api_workers=4)
    known = golden()
    async with (
        running_engine(made) as engine,
        calling(nats) as caller,
        agent_on(nats, "mallory") as agent,
    ):
        await caller.deploy(TaskSpec("noop"))
        first = await caller.enqueue("noop")
        shapes = golden()
        api = [
            (subjects.api("default", "tester", verb), body)
            for verb, struct in API.items()
            for body in bodies(shapes[struct])
        ]
        assert await all_answered(caller.nc, api) > 1000
        rpc = [
            (subjects.rpc("default", "mallory", verb), body)
            for verb, struct in RPC.items()
            for body in bodies(replaced(known[struct], ("agent",), "mallory"))
        ]
        assert await all_answered(agent.nc, rpc) > 1000
        # Nothing of it has ended the engine or touched anybody's run.
        assert (await caller.api("run", {"run": first.run}))["row"]["run"] == first.run
        assert (await caller.enqueue("noop")).outcome == "recorded"
        assert engine.ready()


async def test_each_enqueue_is_answered_and_the_next_one_works(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database)) as engine, calling(nats) as caller:
        await caller.deploy(TaskSpec("noop"))
        good = golden()["EnqueueItem"] | {"payload_ref": None, "task": "noop"}
        good = {k: v for k, v in good.items() if v is not None}
        items = list(bodies(good))
        for at in range(0, len(items), 200):
            batch = b",".join(i for i in items[at : at + 200] if is_json(i))
            body = b'{"items":[' + batch + b'],"client":"c","reply":""}'
            if len(body) < 900_000:
                await caller.nc.publish(subjects.ingest("default"), body)
        for raw in RAW:
            await caller.nc.publish(subjects.ingest("default"), raw)
        assert (await caller.enqueue("noop")).outcome == "recorded"
        assert engine.ready()


def is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
