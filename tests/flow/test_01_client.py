"""The client against real NATS and an engine in miniature."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from headway import bus
from headway import client as client_module
from headway.client import Client
from headway.errors import (
    BadPayload,
    KeyConflict,
    NoSuchRun,
    NotReachable,
    NotRecorded,
    QueueFull,
    Refused,
    RunFailed,
    SomeRefused,
    TooLarge,
)
from headway.ids import encode as encode_id
from headway.ids import new_run_id
from headway.wire import encode
from headway.wire.api import Done
from headway.wire.enqueue import Ended
from headway.wire.fleet import QueueAsk
from headway_engine import streams
from headway_engine.declared import Limits
from support.proxy import Proxy
from support.responder import Responder, fail, item, succeed
from support.wait import never, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from headway.config import Settings
    from headway.wire.runs import ResultsAnswer
    from headway_ops.local.nats import NatsServer


@pytest_asyncio.fixture
async def engine(settings: Settings) -> AsyncGenerator[Responder]:
    async with Responder(settings) as responder:
        yield responder


@pytest_asyncio.fixture
async def client(engine: Responder, settings: Settings) -> AsyncGenerator[Client]:
    async with await Client.open(replace(settings, request_timeout=1.0)) as c:
        yield c


async def test_an_enqueue_is_recorded_and_its_result_is_pushed(
    client: Client, engine: Responder
) -> None:
    (run,) = await client.submit([item()], dict[str, int])
    assert run.recorded == "recorded"
    assert run.durability == "fsynced"
    waiting = asyncio.create_task(run.result())
    await until(lambda: run.id in engine.items)
    await engine.end(succeed(engine.items[run.id]))
    assert await waiting == {"x": 1}
    assert ("tester", "result") not in engine.asked, "pushed, not polled"


async def test_what_is_enqueued_at_the_same_moment_travels_in_one_message(
    client: Client, engine: Responder
) -> None:
    handles = await asyncio.gather(*(client.submit([item()]) for _ in range(50)))
    assert len({h.id for (h,) in handles}) == 50
    assert engine.messages == 1
    assert client.outbox.messages == 1


async def test_a_big_batch_is_cut_into_messages_that_the_server_takes(
    client: Client, engine: Responder
) -> None:
    many = [item() for _ in range(1700)]
    wide = [item(b'"' + b"x" * 100_000 + b'"') for _ in range(20)]
    handles = await client.submit(many + wide)
    assert all(h.recorded == "recorded" for h in handles)
    assert len(engine.items) == 1720
    assert engine.messages >= 6


async def test_a_duplicate_key_gives_the_handle_of_the_winner(
    client: Client, engine: Responder
) -> None:
    (first,) = await client.submit([item(key="k")])
    (second,) = await client.submit([item(key="k")])
    assert second.duplicate
    assert not first.duplicate
    assert second.id == first.id != second.enqueued_id
    waiting = [asyncio.create_task(h.result()) for h in (first, second)]
    await engine.end(succeed(engine.items[first.id]))
    assert await asyncio.gather(*waiting) == [{"x": 1}] * 2


async def test_a_refused_enqueue_is_a_typed_error(client: Client) -> None:
    with pytest.raises(BadPayload, match=r"\$\.x"):
        await client.submit([item(tags=("refuse",))])
    await client.submit([item(key="k")])
    with pytest.raises(KeyConflict):
        await client.submit([item(b'{"x":2}', key="k")])


async def test_one_refused_of_many_does_not_hide_the_others(
    client: Client, engine: Responder
) -> None:
    engine.end_with = succeed
    with pytest.raises(SomeRefused) as e:
        await client.submit([item(), item(tags=("refuse",)), item()])
    assert len(e.value.refused) == 1
    good, bad, other = e.value.handles
    assert await good.result() == await other.result() == {"x": 1}
    with pytest.raises(BadPayload):
        await bad.result()


async def test_a_silent_engine_means_accepted_and_recorded_may_follow(
    client: Client, engine: Responder
) -> None:
    engine.open.clear()
    client.settings = replace(client.settings, request_timeout=0.2)
    (run,) = await client.submit([item()])
    assert run.recorded == "accepted"
    engine.open.set()
    await until(lambda: run.recorded == "recorded")


async def test_accepted_is_not_silent_where_a_power_cut_may_lose_it(
    client: Client, engine: Responder
) -> None:
    engine.durability = "lazy"
    engine.silent = True
    client.settings = replace(client.settings, request_timeout=0.2)
    with pytest.raises(NotRecorded) as e:
        await client.submit([item()])
    engine.silent = False
    (run,) = e.value.handles
    await engine.end(succeed(engine.items[run.id]))
    assert await run.result() == {"x": 1}


async def test_a_full_ingest_is_queue_full_and_nothing_waits(settings: Settings) -> None:
    nc = await bus.connect(settings, kind="engine", ident="e")
    await streams.ensure_streams(nc, limits=Limits(ingest_bytes=500))
    async with await Client.open(settings) as client:
        with pytest.raises(QueueFull):
            await client.submit([item(b'"' + b"x" * 1000 + b'"')])
    await nc.close()


async def test_without_an_engine_the_error_names_the_server(settings: Settings) -> None:
    async with await Client.open(replace(settings, request_timeout=0.2)) as client:
        with pytest.raises(NotReachable, match=r"nats://127\.0\.0\.1:\d+"):
            await client.submit([item()])


async def test_a_lost_push_is_asked_for_in_one_request_for_all(
    client: Client, engine: Responder
) -> None:
    handles = await client.submit([item() for _ in range(20)])
    client.results.poll_first = 0.05
    waiting = [asyncio.create_task(h.result()) for h in handles]
    await engine.end(*(succeed(engine.items[h.id]) for h in handles), push=False)
    await asyncio.gather(*waiting)
    assert engine.asked.count(("tester", "result")) < 5


async def test_results_pushed_while_away_are_asked_for_after_the_reconnect(
    client: Client, engine: Responder, nats_server: NatsServer
) -> None:
    client.results.poll_first = 1000
    (run,) = await client.submit([item()])
    waiting = asyncio.create_task(run.result())
    engine.ended[run.id] = succeed(engine.items[run.id])
    nats_server.kill()
    await nats_server.start()
    async with asyncio.timeout(20):
        assert await waiting == {"x": 1}


async def test_an_enqueue_whose_ack_was_lost_is_sent_again_and_is_the_same_run(
    engine: Responder, settings: Settings, nats_server: NatsServer
) -> None:
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with await Client.open(
            replace(settings, nats_url=url, request_timeout=300)
        ) as client:
            proxy.half_open()
            submitting = asyncio.create_task(client.submit([item()]))
            await until(lambda: engine.items)
            proxy.heal()
            proxy.reset()
            async with asyncio.timeout(20):  # at the reconnect, not at the timeout
                (run,) = await submitting
            assert run.recorded == "recorded"
            assert list(engine.items) == [run.id]


async def test_a_request_whose_connection_broke_is_asked_again_at_once(
    engine: Responder, settings: Settings, nats_server: NatsServer
) -> None:
    async with Proxy(nats_server.port) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with await Client.open(
            replace(settings, nats_url=url, request_timeout=300)
        ) as client:
            proxy.blackhole()
            asking = asyncio.create_task(client.info())
            await never(asking.done, during=0.05)
            proxy.heal()
            proxy.reset()
            async with asyncio.timeout(20):
                assert (await asking).engine == "mini"


async def test_any_run_can_be_waited_for_by_its_id(client: Client, engine: Responder) -> None:
    (run,) = await client.submit([item()])
    async with await Client.open(client.settings) as other:
        other.results.poll_first = 1000
        waiting = asyncio.create_task(other.handle(run.id, dict[str, int]).result())
        await until(lambda: ("tester", "result") in engine.asked)
        await engine.end(succeed(engine.items[run.id]))
        async with asyncio.timeout(20):  # by its live event, not by the poll
            assert await waiting == {"x": 1}
        assert await other.result(run.id) == {"x": 1}


async def test_a_run_that_failed_raises_what_it_raised(client: Client, engine: Responder) -> None:
    engine.end_with = fail
    (run,) = await client.submit([item()])
    with pytest.raises(RunFailed) as e:
        await run.result()
    assert (e.value.status, e.value.error_type, e.value.traceback) == (
        "failed", "ValueError", "trace",
    )  # fmt: skip


async def test_waiting_has_a_time_limit_and_can_be_taken_up_again(
    client: Client, engine: Responder
) -> None:
    (run,) = await client.submit([item()])
    with pytest.raises(TimeoutError, match=run.id):
        await run.result(timeout=0.05)
    await engine.end(succeed(engine.items[run.id]))
    assert await run.result(timeout=5) == {"x": 1}


async def test_an_unknown_run_is_not_waited_for_forever(client: Client) -> None:
    old = encode_id(int(time.time() * 1000) - 3_600_000, 5)
    with pytest.raises(NoSuchRun):
        await client.handle(old).result(timeout=5)


async def test_a_recorded_run_that_the_store_has_lost_is_not_waited_for_forever(
    client: Client, engine: Responder
) -> None:
    client.results.poll_first = 0.05
    (run,) = await client.submit([item()])
    del engine.items[run.id]  # the database was set back
    with pytest.raises(NoSuchRun, match="set back"):
        await run.result(timeout=5)


async def test_a_run_that_is_recorded_while_its_end_is_asked_for_is_not_taken_for_lost(
    client: Client, engine: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.open.clear()
    client.settings = replace(client.settings, request_timeout=0.2)
    (run,) = await client.submit([item()])
    assert run.recorded == "accepted"
    client.settings = replace(client.settings, request_timeout=5.0)
    client.results.poll_first = 0.05
    ask, late = client.results._ask, asyncio.Event()  # pyright: ignore[reportPrivateUsage]

    async def slow(runs: list[str]) -> ResultsAnswer:
        answer = await ask(runs)  # the engine does not know it yet
        if not late.is_set():
            assert answer.others == {run.id: "unknown"}
            engine.open.set()
            await until(lambda: run.recorded == "recorded")
            late.set()
        return answer

    monkeypatch.setattr(client.results, "_ask", slow)
    waiting = asyncio.create_task(run.result(timeout=20))
    await late.wait()
    await engine.end(succeed(engine.items[run.id]))
    assert await waiting == {"x": 1}


async def test_large_payloads_and_results_go_through_blobs(
    client: Client, engine: Responder
) -> None:
    body = encode({"text": "y" * 1_300_000})
    (run,) = await client.submit([item(body)])
    stored = engine.items[run.id]
    assert bytes(stored.payload) == b""
    assert stored.payload_ref is not None
    assert engine.blobs[stored.payload_ref.key] == body
    ref = engine.keep("result", body)
    await engine.end(Ended(run.id, "succeeded", result_ref=ref))
    assert (await run.result())["text"] == "y" * 1_300_000


async def test_a_payload_over_the_limit_is_refused_before_anything_is_sent(
    client: Client, engine: Responder
) -> None:
    with pytest.raises(TooLarge):
        await client.submit([item(b'"' + b"x" * (16 * 1024 * 1024) + b'"')])
    assert not engine.asked


async def test_a_busy_engine_is_asked_again(client: Client, engine: Responder) -> None:
    engine.busy = 2
    assert (await client.info()).engine == "mini"
    engine.busy = 1000
    with pytest.raises(NotReachable, match="cannot answer info now"):
        await client.info()


async def test_refusals_of_commands_are_typed(client: Client) -> None:
    with pytest.raises(NoSuchRun):
        await client.run(new_run_id())
    with pytest.raises(Refused, match="queue-set"):
        await client.api("queue-set", QueueAsk("q"), Done)


async def test_a_run_that_was_only_accepted_can_be_cancelled(
    client: Client, engine: Responder
) -> None:
    engine.open.clear()
    client.settings = replace(client.settings, request_timeout=0.2)
    (run,) = await client.submit([item()])
    assert (await run.cancel("changed my mind")).outcome == "ok"
    assert engine.cancelled == [run.id]


async def test_there_is_one_client_per_process_and_loop(
    engine: Responder, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_NATS_URL", settings.nats_url)
    first, second = await asyncio.gather(
        client_module.default_client(), client_module.default_client()
    )
    assert first is second

    def elsewhere() -> Client:
        return asyncio.run(client_module.default_client())

    other = await asyncio.to_thread(elsewhere)
    assert other is not first
    assert other.connection.is_closed, "its loop has ended"
    await first.close()
    again = await client_module.default_client()
    assert again is not first
    await again.close()


async def run_script(tmp_path: Path, settings: Settings, text: str) -> tuple[str, str, int]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT_START + text)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-X", "dev", str(script),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"HEADWAY_NATS_URL": settings.nats_url, "PATH": "/usr/bin"},
    )  # fmt: skip
    out, err = await process.communicate()
    return out.decode(), err.decode(), process.returncode or 0


SCRIPT_START = """
import asyncio, os, msgspec
from headway.client import default_client
from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem

async def one():
    c = await default_client()
    i = EnqueueItem(run=new_run_id(), task='t', payload=msgspec.Raw(b'{}'))
    (h,) = await c.submit([i])
    return c.id, await h.result()
"""


async def test_a_script_ends_cleanly_without_closing_its_client(
    engine: Responder, settings: Settings, tmp_path: Path
) -> None:
    engine.end_with = succeed
    text = "print(asyncio.run(one())[1])\n"
    assert await run_script(tmp_path, settings, text) == ("{}\n", "", 0)


async def test_a_forked_child_gets_a_client_of_its_own(
    engine: Responder, settings: Settings, tmp_path: Path
) -> None:
    engine.end_with = succeed
    text = """
async def main():
    # It is blocked on purpose while its child lives.
    asyncio.get_running_loop().slow_callback_duration = 60
    print((await one())[0], flush=True)
    pid = os.fork()
    if pid == 0:
        print(asyncio.run(one())[0], flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print((await one())[0], flush=True)

asyncio.run(main())
"""
    out, err, code = await run_script(tmp_path, settings, text)
    assert (err, code) == ("", 0)
    mine, childs, mine_again = out.split()
    assert mine == mine_again != childs
