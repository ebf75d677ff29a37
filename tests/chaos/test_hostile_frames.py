"""Hostile bytes on a runner's socket, with a real agent, engine, NATS and Postgres behind it.

Each case ends as its line says, and a neighbour that saves all the time never notices.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from msgspec import Raw

from headway.errors import RunFailed
from headway.framing import framed
from headway.ids import new_run_id
from headway.wire import DEPTH_LIMIT, FRAME_LIMIT, INLINE_LIMIT, ErrorInfo, encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.frames import (
    Await,
    Checkpoint,
    Enqueue,
    Fail,
    Fetch,
    Finish,
    Log,
    Mark,
    Part,
    Pong,
    Ready,
    RunStarted,
    Wait,
)
from support import body_tasks as t
from support.live import Live, live
from support.puppets import Puppet, Puppets
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

pytestmark = pytest.mark.timeout(240)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def state(p: Puppet, body: bytes, **fields: Any) -> bytes:
    usual: dict[str, Any] = {"number": 1, "name": "n", "sha256": "0" * 64, "size": len(body)}
    frame = Checkpoint(p.slot, p.next(), **usual | fields)
    frame.state = Raw(body)
    return framed(encode(frame))


def mark(p: Puppet, **fields: Any) -> bytes:
    usual: dict[str, Any] = {"key": "k", "kind": "step", "fn": "f", "status": "done"}
    return framed(encode(Mark(p.slot, p.next(), **usual | fields)))


def fail(p: Puppet, **fields: Any) -> bytes:
    usual: dict[str, Any] = {"cause": "error", "error": ErrorInfo("E", "no")}
    return framed(encode(Fail(p.slot, p.next(), **usual | fields)))


def started_as(slot: str) -> Callable[[Puppet], bytes]:
    return lambda _p: framed(f'{{"type":"started","slot":{slot}}}'.encode())


def sent(frame: Callable[[Puppet], Any]) -> Callable[[Puppet], bytes]:
    return lambda p: framed(encode(frame(p)))


def text(body: str | bytes) -> Callable[[Puppet], bytes]:
    raw = body.encode() if isinstance(body, str) else body
    return lambda _p: framed(raw)


VIOLATIONS: dict[str, Callable[[Puppet], bytes]] = {
    # framing
    "a length over the limit": lambda _p: (FRAME_LIMIT + 1).to_bytes(4, "big"),
    "a length of 4 GiB": lambda _p: b"\xff\xff\xff\xff",
    "an empty frame": lambda _p: b"\0\0\0\0",
    "a thousand empty frames": lambda _p: b"\0\0\0\0" * 1000,
    # text
    "bad UTF-8": text(b'{"type":"pong","lag_ms":"\xff\xfe"}'),
    "bad UTF-8 in a body": lambda p: state(p, b'"\xff"'),
    "half a surrogate": text('{"type":"await","slot":1,"seq":1,"key":"\\ud800"}'),
    "a NUL byte": text(b'{"type":"pong"\0}'),
    "an escaped NUL in a key": lambda p: mark(p, key="a\0b"),
    "an escaped NUL in a name": lambda p: state(p, b"1", name="a\0b"),
    "no JSON": text("pong"),
    "JSON and a half": text('{"type":"pong"}{"type"'),
    # depth and size
    "100,000 levels": text(nested(100_000)),
    "100,000 levels in a body": lambda p: state(p, nested(50_000)),
    "levels that only some decoders read": lambda p: state(p, nested(DEPTH_LIMIT + 450)),
    "more levels than are allowed": lambda p: state(p, nested(DEPTH_LIMIT + 1)),
    "a body that should come in parts": lambda p: state(p, b'"' + b"x" * INLINE_LIMIT + b'"'),
    "a key of a megabyte": lambda p: framed(
        encode({"type": "await", "slot": p.slot, "seq": 1, "key": "x" * 1_000_000})
    ),
    # numbers
    "a slot of 400 digits": started_as("1" * 400),
    "a slot of a million digits": started_as("1" * 1_000_000),
    "a negative slot": started_as("-1"),
    "a slot of 64 bits": started_as(str(2**63)),
    "a fractional slot": started_as("1.5"),
    "a slot 1e400": started_as("1e400"),
    "a slot that is true": started_as("true"),
    "NaN": text('{"type":"pong","lag_ms":NaN}'),
    "infinity": text('{"type":"pong","lag_ms":1e999}'),
    "a number over 31 bits": lambda p: state(p, b"1", number=2**31),
    "a negative size": lambda p: state(p, b"1", size=-1),
    "a wait of 1e300 seconds": sent(
        lambda p: Wait(p.slot, p.next(), key="k", kind="sleep", seconds=1e300)
    ),
    "a retry in 1e300 seconds": lambda p: fail(p, retry_in=1e300),
    "a retry a second ago": lambda p: fail(p, retry_in=-1.0),
    "a line number over 53 bits": sent(lambda p: Log(p.slot, 2**60, ["x"])),
    # kinds and types
    "an unknown kind": text('{"type":"nonsense"}'),
    "no kind": text('{"slot":1}'),
    "a frame for a runner": text('{"type":"run","slot":1,"run":"x","epoch":1}'),
    "a list": text("[1,2,3]"),
    "a list as a frame": text('["pong", 1]'),
    "a word": text('"pong"'),
    "an unknown field": text('{"type":"pong","extra":1}'),
    "a run of its own choice": text('{"type":"started","slot":1,"run":"01HOSTILE"}'),
    "text for a number": started_as('"1"'),
    "a mark of a kind that only the engine writes": text(
        '{"type":"mark","slot":1,"seq":1,"key":"k","kind":"enqueue","fn":"f","status":"done",'
        '"value":{"run":"x"}}'
    ),
    "a mark of no kind": lambda p: mark(p, kind="nonsense"),
    "a mark of no status": lambda p: mark(p, status="nonsense"),
    "a wait of no kind": sent(lambda p: Wait(p.slot, p.next(), key="k", kind="nonsense")),  # pyright: ignore[reportArgumentType]  # hostile
    "a failure of no cause": lambda p: fail(p, cause="nonsense"),
    # another state
    "a second hello": text('{"type":"hello","protocol":1,"sdk":"","python":"","pid":1}'),
    "a slot that was never given": sent(lambda p: Finish(p.slot + 1, p.next())),
    "a checkpoint of a slot that was never given": lambda _p: framed(
        b'{"type":"checkpoint","slot":99,"seq":1,"number":1,"name":"n","sha256":"","size":1}'
    ),
    # large bodies
    "a part out of order": sent(lambda _p: Part(blob=7, index=1, data=b"x")),
    "a part of a body that was whole": lambda _p: (
        framed(encode(Part(7, 0, b"x", last=True))) + framed(encode(Part(7, 1, b"x")))
    ),
    "a body that did not come": lambda p: state(p, b"", blob=9),
    "a body that is not whole": lambda p: framed(encode(Part(9, 0, b"x"))) + state(p, b"", blob=9),
    "a thousand bodies": lambda _p: b"".join(framed(encode(Part(n, 0, b"x"))) for n in range(1000)),
    # floods
    "requests that wait for no answer": lambda p: b"".join(
        framed(encode(Enqueue(p.slot, 10_000 + n, "k", item=Raw(b"{}")))) for n in range(3000)
    ),
}


@dataclass
class Site:
    """What a test drives."""

    stack: Live
    puppets: Puppets
    neighbour: Puppet

    async def hostile(self, *, started: bool = True) -> Puppet:
        """A runner with a run, whose code is anybody's."""
        handle = await self.stack.start(t.b_failing)
        puppet = await self.puppets.of(handle.id)
        if started:
            puppet.start()
        return puppet

    async def failure(self, puppet: Puppet) -> RunFailed:
        """How its run failed."""
        assert puppet.run is not None
        with pytest.raises(RunFailed) as e:
            await self.stack.client.handle(puppet.run.run).result(20)
        return e.value

    async def saves(self, count: int = 1) -> None:
        """The neighbour saves: its answers come, and are good."""
        for _ in range(count):
            n = self.neighbour.next()
            ack = await self.neighbour.answer(
                Checkpoint(self.neighbour.slot, n, n, f"n-{n}", f"{n:064x}", 2, Raw(b"{}"))
            )
            assert ack.outcome == "ok", ack


@asynccontextmanager
async def site(nats: str, database: str) -> AsyncGenerator[Site]:
    """A stack with puppets, one of them a neighbour that must not notice anything."""
    puppets = Puppets()
    async with live(nats, database, puppets, agent={"kill_after": 0.1}) as stack:
        handle = await stack.start(t.b_echo, 1)
        neighbour = await puppets.of(handle.id)
        neighbour.start()
        made = Site(stack, puppets, neighbour)
        await made.saves()
        yield made
        await made.saves(3)
        for puppet in puppets.all.values():
            if puppet is not neighbour:
                puppet.stop(1)
        neighbour.send(Finish(neighbour.slot, neighbour.next(), Raw(b"42")))
        assert await handle.result(20) == 42


async def test_whoever_breaks_the_rules_is_ended_and_its_run_says_so(
    nats: str, database: str
) -> None:
    async with site(nats, database) as here:
        for what, attack in VIOLATIONS.items():
            puppet = await here.hostile()
            data = attack(puppet)
            await asyncio.gather(here.saves(2), write(puppet, data))
            await asyncio.wait_for(puppet.gave_up.wait(), 20)
            error = await here.failure(puppet)
            assert (error.status, error.error_type) == ("failed", "ChannelViolation"), what
            assert error.error_message, what
            assert puppet.ended, what
        assert len(here.stack.agent.pool.workers) == 1, "only the neighbour is left"


async def write(puppet: Puppet, data: bytes) -> None:
    puppet.raw(data)
    await puppet.drained()


async def test_words_at_an_odd_time_are_taken_for_what_they_imply(nats: str, database: str) -> None:
    async with site(nats, database) as here:
        early = await here.hostile(started=False)
        assert (await early.answer(Finish(early.slot, early.next(), Raw(b"7")))).outcome == "ok"
        assert early.run is not None
        assert await here.stack.client.handle(early.run.run).result(20) == 7

        saves = await here.hostile(started=False)
        save = Checkpoint(saves.slot, saves.next(), 1, "n", "0" * 64, 1, Raw(b"1"))
        assert (await saves.answer(save)).outcome == "ok"
        gap = Checkpoint(saves.slot, saves.next(), 9, "n", "0" * 64, 1, Raw(b"1"))
        assert (await saves.answer(gap)).outcome == "gap"
        other = Checkpoint(saves.slot, saves.next(), 1, "n", "1" * 64, 1, Raw(b"2"))
        assert (await saves.answer(other)).outcome == "conflict"
        saves.send(RunStarted(saves.slot), RunStarted(saves.slot), Ready(("again",)))
        # The last of two equal names counts, and nothing else is looked at.
        saves.raw(framed(b'{"type":"pong","lag_ms":1,"lag_ms":2.5}'))
        worker = here.stack.agent.pool.workers[saves.spec.name]
        await until(lambda: worker.lag_ms == 2.5)
        # After its end nothing of a run counts.
        assert (await saves.answer(Finish(saves.slot, saves.next(), Raw(b"1")))).outcome == "ok"
        late = Checkpoint(saves.slot, saves.next(), 2, "n", "0" * 64, 1, Raw(b"1"))
        assert (await saves.answer(late)).outcome == "stale_epoch"


async def test_what_only_the_engine_can_judge_is_refused_to_its_sender_alone(
    nats: str, database: str
) -> None:
    async with site(nats, database) as here:
        p = await here.hostile()
        items = {
            b"{}": "malformed",
            b'"x"': "malformed",
            b'{"run":"../../x","task":"b-echo"}': "malformed",
            encode(EnqueueItem(new_run_id(), "b-echo")): "bad_id",
            b'{"run":"01ARZ3NDEKTSV4RRFFQ69G5FAV","task":"hw.>"}': "malformed",
        }
        for n, (item, code) in enumerate(items.items()):
            ack = await p.answer(Enqueue(p.slot, p.next(), f"k{n}", item=Raw(item)))
            assert (ack.outcome, ack.code) == ("rejected", code), item
        assert (await p.answer(Fetch(p.slot, p.next(), "no-such-mark"))).outcome != "ok"
        unknown = await p.answer(Await(p.slot, p.next(), "no-such-child"))
        assert unknown.outcome == "refused"
        # Together these are far more than fits a message: they go in several.
        noise = ErrorInfo("E" * 5000, "\x1b\0" * 30_000, "\x01\u4e2d" * 60_000)
        seqs = [p.next() for _ in range(40)]
        p.send(*[Mark(p.slot, seq, f"m{seq}", "step", "f", "error", error=noise) for seq in seqs])
        await asyncio.gather(here.saves(5), until(lambda: all(s in p.acks for s in seqs), 20))
        assert {p.acks[s].outcome for s in seqs} == {"ok"}
        p.send(Fail(p.slot, p.next(), "error", noise, retry=False))
        error = await here.failure(p)
        assert len(error.error_type) <= 200
        assert len(error.error_message.encode()) <= 8192
        assert "\0" not in error.error_message


async def test_frames_before_the_code_is_loaded_end_the_runner(nats: str, database: str) -> None:
    """A blank runner has no run: what it says of one is nobody's. Nor may it sit silent."""
    async with site(nats, database) as here:
        for early in (
            Finish(1, 1, Raw(b"1")),
            Checkpoint(1, 1, 1, "n", "0" * 64, 1, Raw(b"1")),
            RunStarted(1),
        ):
            known = set(here.puppets.all)
            here.puppets.early = framed(encode(early))
            handle = await here.stack.start(t.b_echo, 2)
            await until(lambda known=known: set(here.puppets.all) - known)
            first = next(p for n, p in here.puppets.all.items() if n not in known)
            await asyncio.wait_for(first.gave_up.wait(), 20)
            assert first.run is None
            # The run itself is innocent: another runner gets it.
            second = await here.puppets.of(handle.id)
            second.start()
            second.send(Finish(second.slot, second.next(), Raw(b"2")))
            assert await handle.result(20) == 2


async def test_silent_and_slow_connections_cost_a_few_files_and_nothing_else(
    nats: str, database: str
) -> None:
    async with site(nats, database) as here:
        puppet = await here.hostile()
        before = psutil.Process().num_fds()
        # One is connected already: all are refused at once.
        mine = [await asyncio.open_unix_connection(puppet.path) for _ in range(200)]
        await asyncio.gather(*(cut_off(reader) for reader, _ in mine))
        for _, writer in mine:
            writer.close()
        # Its own connection gone, a few may wait to be heard; 5 s at most, and no more than 64 KiB.
        assert puppet.writer is not None
        handle = puppet.spec.name
        worker = here.stack.agent.pool.workers[handle]
        assert worker.endpoint is not None
        puppet.writer.transport.abort()
        await until(lambda: worker.conn is None)
        silent = [await asyncio.open_unix_connection(puppet.path) for _ in range(200)]
        await until(lambda: psutil.Process().num_fds() <= before + 200 + 8, what="most are cut")
        for _, writer in silent:
            writer.write(b"\0\0\xff\xff{")
        await here.saves(3)
        for _, writer in silent:
            writer.close()
        await until(lambda: psutil.Process().num_fds() <= before + 4, what="all are gone")


async def cut_off(reader: asyncio.StreamReader) -> None:
    try:
        assert await asyncio.wait_for(reader.read(1), 20) == b""
    except ConnectionError:
        return


async def test_floods_are_slowed_and_memory_stays_flat(nats: str, database: str) -> None:
    async with site(nats, database) as here:
        process = psutil.Process()

        async def flood() -> None:
            slow = await here.hostile()
            await write(slow, framed(encode(Pong(1.0))) * 4_000)
            logs = await here.hostile()
            line = "x" * 1000
            loud = framed(encode(Log(logs.slot, 1, [line] * 900)))
            for _ in range(10):
                await write(logs, loud)
            half = await here.hostile()
            await write(half, (FRAME_LIMIT).to_bytes(4, "big") + b"{" * (FRAME_LIMIT - 1))
            parts = await here.hostile()
            piece = framed(encode(Part(1, 0, b"x" * 500_000)))
            await write(parts, piece)
            for n in range(1, 10):
                await write(parts, framed(encode(Part(1, n, b"x" * 500_000))))
            await here.saves(20)
            for p in (slow, logs, half, parts):
                assert not p.gave_up.is_set(), "an eager one is slowed, not punished"
                p.stop(1)
            await until(lambda: len(here.stack.agent.pool.workers) == 1, 20)

        await flood()
        before = process.memory_info().rss
        await flood()
        grown = process.memory_info().rss - before
        assert grown < 40 * 1024 * 1024, f"{grown / 2**20:.0f} MiB more"
