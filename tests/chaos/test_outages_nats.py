"""NATS goes away, loses what it had, is full, is slow, is changed by hand while it runs.

Fault matrix rows 20-22, 25-29, 33, 34, 53, 56 and 57; rows 20 and 22 under load are in
`flow/test_06_outages`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import bus, subjects
from headway.bus import JetStreamRefused, jsapi
from headway.history import history
from headway.ids import new_run_id
from headway.wire import decode
from headway.wire.commands import EnqueueItem
from headway.wire.events import RUN_EVENTS
from headway_engine import streams
from support.scripted_agent import finish
from support.stacks import stack
from support.wait import until

if TYPE_CHECKING:
    from support.engines import Caller

pytestmark = pytest.mark.timeout(120)


async def a_run_goes_through(caller: Caller) -> str:
    """Enqueued, recorded, run, its end pushed and told in RUNS."""
    run = new_run_id()

    async def sent() -> bool:
        with contextlib.suppress(bus.HeadwayError):
            # The same id again is the same run, wherever the first one got lost.
            await caller.send(EnqueueItem(run, "noop", Raw(b"{}")))
            return True
        return False

    await until(sent, 20, what="JetStream takes it")
    try:
        await until(lambda: run in caller.recorded, 3)
    except AssertionError:
        await until(sent, 20)
    assert (await caller.word(run)).outcome in ("recorded", "duplicate")
    await until(lambda: run in caller.ended, 20, what="its end")
    assert caller.ended[run].status == "succeeded"
    return run


async def told(caller: Caller, run: str) -> list[str]:
    """What RUNS tells of it."""
    subject = subjects.run_event("default", run)
    with contextlib.suppress(bus.HeadwayError):
        return [
            e.kind
            async for m in history(caller.nc, subjects.RUNS, subject)
            for e in decode(RUN_EVENTS, m.data).events
        ]
    return []


async def config_of(caller: Caller, stream: str, consumer: str = "") -> dict[str, Any]:
    """The configuration that is in force; empty if it is not there."""
    verb = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
    try:
        return (await jsapi(caller.nc, verb))["config"]
    except JetStreamRefused:
        return {}


WORK_CONSUMER = subjects.work_consumer("default", "default")
DELETED = [
    *(
        f"STREAM.DELETE.{name}"
        for name in (subjects.INGEST, subjects.WORK, subjects.RUNS, subjects.LOGS)
    ),
    f"CONSUMER.DELETE.{subjects.INGEST}.{subjects.INTAKE_CONSUMER}",
    f"CONSUMER.DELETE.{subjects.WORK}.{WORK_CONSUMER}",
]


async def test_row_57_what_an_operator_deletes_while_it_runs_is_made_again(
    nats: str, database: str
) -> None:
    async with stack(nats, database, watch_every=0.3) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await a_run_goes_through(caller)
        for verb in DELETED:
            _, _, stream, *consumer = verb.split(".")
            await jsapi(caller.nc, verb)
            run = await a_run_goes_through(caller)
            await until(lambda s=stream, c=consumer: config_of(caller, s, *c), what=verb)

            async def whole(run: str = run) -> bool:
                return "succeeded" in await told(caller, run)

            await until(whole, what=f"RUNS tells of it after {verb}")


EDITED = [
    (subjects.INGEST, subjects.INTAKE_CONSUMER, {"max_deliver": 1, "ack_wait": 10**9}),
    (subjects.WORK, WORK_CONSUMER, {"max_deliver": 1, "max_ack_pending": 1}),
    (subjects.INGEST, "", {"discard": "old", "max_bytes": 1000}),
    (subjects.RUNS, "", {"max_age": 10**9}),
]


async def test_row_56_settings_that_an_operator_changes_are_put_right_and_said(
    nats: str, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stack(nats, database, watch_every=0.3) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await a_run_goes_through(caller)
        for stream, consumer, change in EDITED:
            config = await config_of(caller, stream, consumer)
            if consumer:
                verb = f"CONSUMER.CREATE.{stream}.{consumer}"
                if config.get("filter_subject"):
                    verb += f".{config['filter_subject']}"
                body = {"stream_name": stream, "config": config | change, "action": "update"}
            else:
                verb, body = f"STREAM.UPDATE.{stream}", config | change
            await jsapi(caller.nc, verb, body)
            declared = (
                streams.declared()[stream]
                if not consumer
                else streams.intake_consumer()
                if stream == subjects.INGEST
                else streams.work_consumer("default", "default")
            )

            async def right(
                declared: dict[str, Any] = declared, at: tuple[str, str] = (stream, consumer)
            ) -> bool:
                return not streams.differences(declared, await config_of(caller, *at))

            await until(right, what=f"{stream} {consumer} is as declared")
            for setting, value in change.items():
                said = f"{setting}: {value!r}, declared"
                await until(lambda text=said: text in caplog.text, what=said)
        await a_run_goes_through(caller)
