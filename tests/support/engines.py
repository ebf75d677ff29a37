"""An engine under test, on real servers, and a client by hand that speaks the wire."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw

from headway import bus, subjects
from headway.ids import new_run_id
from headway.wire import decode, encode
from headway.wire.api import API_ANSWER, ApiAnswer
from headway.wire.enqueue import ANSWERS, Ended, EnqueueBatch, EnqueueItem, Recorded
from headway.wire.fleet import Deployment, TaskSpec
from headway_engine.assembly import Engine
from headway_engine.assembly_agent import AgentProcess
from headway_engine.assembly_both import EngineWithAgent
from headway_engine.config import BlobsConfig, Config, EngineConfig, NatsConfig, PostgresConfig
from support.servers import settings_for
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from nats.aio.msg import Msg


def config_for(nats: str, dsn: str, **engine: Any) -> Config:
    """Settings that lead to the servers of a test."""
    return Config(
        NatsConfig(nats, fsynced=True),
        PostgresConfig(dsn),
        BlobsConfig("memory"),
        EngineConfig(**engine),
    )


@asynccontextmanager
async def running_engine(config: Config, **options: Any) -> AsyncGenerator[Engine]:
    """An engine that has started; stopped in the end, its failure raised."""
    engine = Engine(config, **options)
    task = asyncio.create_task(engine.run())
    started = asyncio.create_task(engine.started.wait())
    await asyncio.wait([task, started], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        await task
    try:
        yield engine
    finally:
        engine.stop()
        await task


@asynccontextmanager
async def running_agent(config: Config) -> AsyncGenerator[AgentProcess]:
    """An agent that has registered; drained in the end."""
    agent = AgentProcess(config)
    task = asyncio.create_task(agent.run())
    started = asyncio.create_task(agent.started.wait())
    await asyncio.wait([task, started], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        await task
    try:
        yield agent
    finally:
        agent.stop()
        await task


@asynccontextmanager
async def running_both(config: Config) -> AsyncGenerator[EngineWithAgent]:
    """Both in one process, both started; drained in the end, a failure raised."""
    both = EngineWithAgent(config)
    task = asyncio.create_task(both.run())

    async def ready() -> None:
        await both.engine.started.wait()
        await both.agent.started.wait()

    started = asyncio.create_task(ready())
    await asyncio.wait([task, started], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    started.cancel()
    if task.done():
        await task
    try:
        yield both
    finally:
        both.stop()
        await task


class Caller:
    """A client by hand: enqueues, hears what comes back, asks the api."""

    def __init__(self, nc: bus.Connection, ns: str = "default", user: str = "tester") -> None:
        self.nc, self.ns, self.user = nc, ns, user
        self.reply = subjects.reply(user, secrets.token_hex(6))
        self.recorded: dict[str, Recorded] = {}
        self.ended: dict[str, Ended] = {}
        self.durability = ""

    async def open(self) -> None:
        """Listen for answers."""
        await self.nc.subscribe(self.reply, cb=self._hear)
        await self.nc.flush()

    async def _hear(self, msg: Msg) -> None:
        answers = decode(ANSWERS, msg.data)
        self.durability = answers.durability or self.durability
        self.recorded |= {r.run: r for r in answers.recorded}
        self.ended |= {e.run: e for e in answers.ended}

    async def send(self, *items: EnqueueItem | bytes, reply: str | None = None) -> None:
        """Publish to INGEST and wait for its ack."""
        batch = EnqueueBatch(
            [Raw(i) if isinstance(i, bytes) else Raw(encode(i)) for i in items],
            self.user,
            self.reply if reply is None else reply,
        )
        await bus.publish_acked(self.nc, subjects.ingest(self.ns), encode(batch))

    async def enqueue(self, task: str = "noop", payload: bytes = b"{}", **fields: Any) -> Recorded:
        """One run; waits for *recorded*."""
        run = fields.pop("run", None) or new_run_id()
        await self.send(EnqueueItem(run, task, Raw(payload), **fields))
        return await self.word(run)

    async def word(self, run: str) -> Recorded:
        """The engine's word on an enqueue."""
        await until(lambda: run in self.recorded, what=f"recorded {run}")
        return self.recorded[run]

    async def end(self, run: str) -> Ended:
        """The pushed end of a run."""
        await until(lambda: run in self.ended, what=f"end of {run}")
        return self.ended[run]

    async def api(self, verb: str, body: Any = None, *, ns: str = "") -> Any:
        """The answer's data; an ApiError is raised as AssertionError with its code."""
        answer = await self.api_raw(verb, body, ns=ns)
        assert answer.error is None, answer.error
        return msgspec.json.decode(bytes(answer.data))

    async def api_raw(self, verb: str, body: Any = None, *, ns: str = "") -> ApiAnswer:
        """The envelope."""
        subject = subjects.api(ns or self.ns, self.user, verb)
        msg = await self.nc.request(subject, encode(body) if body else b"", timeout=20)
        return decode(API_ANSWER, msg.data)

    async def deploy(self, *specs: TaskSpec, version: str = "v1") -> None:
        """Register tasks; `noop` if none is given."""
        await self.api("deploy", Deployment(version, list(specs) or [TaskSpec("noop")]))


@asynccontextmanager
async def calling(nats: str, ns: str = "default") -> AsyncGenerator[Caller]:
    """A caller with its own connection."""
    nc = await bus.connect(settings_for(nats), kind="client", ident="tester")
    caller = Caller(nc, ns)
    await caller.open()
    try:
        yield caller
    finally:
        await nc.close()
