"""Tasks with bodies of every size and kind, and ends of every kind; run in real runners."""

# ruff: noqa: T201 - output is what some are for
from __future__ import annotations

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from headway import (
    Retry,
    RetryAt,
    RetryIn,
    StopRun,
    Task,
    attempt,
    checkpoint,
    once,
    resume,
    sleep,
    step,
    sync,
    task,
    token,
    usage,
)
from headway.children import start_children


class Held(msgspec.Struct):
    """A state of any size."""

    n: int = 0
    text: str = ""


def _left(folder: str, name: str) -> bool:
    """Did an earlier attempt come here? Now this one has."""
    path = Path(folder) / name
    if path.exists():
        return True
    path.touch()
    return False


def _die() -> None:
    os.kill(os.getpid(), 9)


@task
async def b_echo(value: Any) -> Any:
    return value


def _noted(folder: str, name: str) -> str:
    with (Path(folder) / name).open("a") as file:
        file.write("x")
    return name


@task
async def b_gather(folder: str) -> list[str]:
    """Three steps side by side; the process dies while the third is still open."""

    async def part(name: str) -> str:
        done = _noted(folder, name)
        if name == "c" and not _left(folder, "died"):
            while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - the test makes it
                await asyncio.sleep(0.01)
            _die()
        return done

    return await asyncio.gather(*(step(name, part, name) for name in "abc"))


@task
async def b_size(text: str) -> int:
    return len(text)


@task(isolation="shared")
async def b_shared(text: str) -> str:
    return text


@task
async def b_grows(folder: str, size: int) -> list[Any]:
    state = await resume(Held())
    if state.n == 0:
        await checkpoint("grown", Held(1, "x" * size))
        _die()
    return [attempt().resumed_from, attempt().attempt, state.n, len(state.text)]


@task
async def b_result(size: int) -> str:
    return "r" * size


@task
async def b_steps(folder: str, count: int, size: int) -> int:
    ran = 0

    async def make(i: int) -> str:
        nonlocal ran
        ran += 1
        return f"{i:06d}" + "s" * size

    total = 0
    for start in range(0, count, 100):
        got = await asyncio.gather(
            *(step(f"s-{i:06d}", make, i) for i in range(start, min(start + 100, count)))
        )
        total += sum(int(v[:6]) for v in got)
    if not _left(folder, "all-steps"):
        _die()
    return total * 1_000_000 + ran


@task
async def b_too_large() -> None:
    await checkpoint("first", Held(1))
    await checkpoint("giant", Held(2, "x" * (64 * 1024 * 1024)))


@task
async def b_odd_state(folder: str, text: str) -> str:
    state = await resume(Held())
    if state.n == 0:
        await checkpoint("odd", Held(1, text))
        _die()
    return state.text


class Renamed(msgspec.Struct):
    """What `Held` became after a refactoring."""

    n: int = 0
    body: str = ""


@task
async def b_mismatch(folder: str, migrate: bool) -> str:
    if not _left(folder, "saved"):
        await checkpoint("old", Held(1, "kept"))
        _die()
    if migrate:
        moved = await resume(Renamed(), migrate=lambda old: Renamed(old["n"], old["text"]))
        return moved.body
    return (await resume(Renamed())).body


@task(suspend_after="0.2s")
async def b_sleeps() -> list[int]:
    await step("before", int, 1)
    await sleep("1.2s", key="nap")
    return [attempt().epoch, attempt().attempt]


def _effect(folder: str) -> str:
    path = Path(folder) / "effects"
    with path.open("a") as f:
        f.write(token() + "\n")
    if len(path.read_text().splitlines()) == 1:
        _die()
    return "made"


@task
async def b_once(folder: str) -> str | None:
    return await once("pay", _effect, folder)


@task(timeout="0.4s", grace="0.5s")
async def b_slow() -> None:
    await asyncio.sleep(600)


@task(
    timeout="0.4s",
    grace="0.5s",
    retry=Retry(max_attempts=2, retry_on=(TimeoutError,), min_delay=0.01, max_delay=0.01),
)
async def b_slow_once(folder: str) -> str:
    if _left(folder, "slept"):
        return "in time"
    await asyncio.sleep(600)
    return "never"


@task(grace="5s")
async def b_cleans(folder: str) -> None:
    await checkpoint("working", Held(1))
    try:
        (Path(folder) / "busy").touch()
        await asyncio.Event().wait()
    finally:
        await checkpoint("cleaned", Held(2))
        (Path(folder) / "cleaned").touch()


@task(grace="0.3s")
def b_stubborn(folder: str) -> None:
    (Path(folder) / "busy").touch()
    while True:
        time.sleep(0.05)


@task
async def b_stops() -> None:
    raise StopRun("no use")


@task(retry=Retry(max_attempts=3, min_delay=30, max_delay=60))
async def b_retry_in(folder: str) -> int:
    if not _left(folder, "failed"):
        raise RetryIn(0.1)
    return attempt().attempt


@task(retry=Retry(max_attempts=3, min_delay=30, max_delay=60))
async def b_retry_at(folder: str) -> int:
    if not _left(folder, "failed"):
        raise RetryAt(datetime.now(UTC) + timedelta(seconds=0.2))
    return attempt().attempt


@task
def b_plain(folder: str) -> list[Any]:
    state = sync.resume(Held())
    if state.n == 0:
        sync.checkpoint("one", Held(1, "plain"))
        _die()
    upper = sync.step("upper", str.upper, state.text)
    sync.sleep(0.01, key="nap")
    return [upper, sync.once("pay", str.lower, "PAID")]


@task
async def b_leaf(folder: str, name: str) -> str:
    with (Path(folder) / f"ran-{name}").open("a") as file:
        file.write(f"{attempt().run}\n")
    while not (Path(folder) / "go").exists():  # noqa: ASYNC110 - what users write
        await asyncio.sleep(0.01)
    return name.upper()


@task
async def b_parent(folder: str, names: list[str]) -> list[Any]:
    pid = os.getpid()
    (Path(folder) / "pid").write_text(str(pid))
    return [pid, *(await asyncio.gather(*(b_leaf.call(folder, n) for n in names)))]


@task
async def b_deep(depth: int) -> list[str]:
    me = attempt()
    below = await b_deep.call(depth - 1) if depth else []
    return [f"{me.run} {me.parent}", *below]


@task(isolation="shared")
async def b_large_child(size: int) -> int:
    text = await b_echo.call("x" * size)
    return len(text)


@task(retry=Retry(max_attempts=2, min_delay=0.01, max_delay=0.01))
async def b_broken_child() -> None:
    await b_failing.call()


@task(retry=Retry(max_attempts=1))
async def b_failing() -> None:
    raise ValueError("no good")


@task
async def b_caller(name: str, payload: dict[str, Any]) -> str:
    """Calls what its own version does not know as it is there."""
    other: Task[..., str] = Task(b_leaf.fn, name, b_leaf.spec(), b_leaf.retry)
    item = other.options(step="it").item(("", ""), {})
    item.payload, item.schema = msgspec.Raw(msgspec.json.encode(payload)), ""
    try:
        await start_children([item], str, "it")
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "enqueued"


@task
async def b_conflict(key: str) -> str:
    try:
        await b_echo.options(key=key).enqueue(2)
    except Exception as e:
        return type(e).__name__
    return "enqueued"


@task
def b_plain_parent(value: int) -> list[int]:
    run = sync.enqueue(b_count, value)
    return [sync.call(b_count, value + 1), sync.result(run)]


@task(retry=Retry(max_attempts=3, min_delay=0.01, max_delay=0.01))
async def b_count(number: int) -> int:
    return number


@task
async def b_exits() -> None:
    os._exit(7)


@task
async def b_ticks(count: int) -> int:
    n = await resume(0, type=int)
    while n < count:
        n += 1
        await checkpoint(f"n-{n}", n)
        await asyncio.sleep(0.05)
    return n


@task
async def b_prints(count: int, fail: bool) -> int:
    for i in range(count):
        print("line", i)
    if fail:
        raise StopRun("enough")
    return count


@task(isolation="shared")
async def b_prints_shared(count: int) -> int:
    for i in range(count):
        print("line", i)
    return count


@task(retry=Retry(max_attempts=2, min_delay=0.05, max_delay=0.05, jitter=0.0))
async def b_spends() -> int:
    """Spends in a recorded step, and in each attempt."""

    def ask() -> str:
        usage(tokens_in=100, tokens_out=10, cost_usd=0.5, model="large")
        return "reply"

    await step("ask", ask)
    usage(tokens_in=1, cost_usd=0.25, model="small")
    await checkpoint("asked", Held())
    if attempt().attempt == 1:
        raise ValueError("once more")
    return attempt().attempt


class Turns(msgspec.Struct):
    """Where a run that is exported stands."""

    turn: int = 0
    model: str = "sonnet"
    auth: str = ""
    text: str = ""


@task(retry=Retry(max_attempts=1))
async def b_turns(folder: str, size: int = 0) -> list[str]:
    """Two turns, a letter, and an error unless its model is another one by then."""
    s = await resume(Turns())
    said = [await step("ask-0", str.upper, "hello")]
    if not s.turn:
        usage(tokens_in=10, tokens_out=1, cost_usd=0.25, model="sonnet")
        print("authorised by sk-abcdefghijklmnopqrstuvwxyz")
    while s.turn < 2:
        s.turn += 1
        s.auth, s.text = "sk-abcdefghijklmnopqrstuvwxyz", "x" * size
        await checkpoint(f"turn-{s.turn}", s)
    said.append(str(await once("mail", _noted, folder, "mail")))
    if s.model != "haiku":
        raise ValueError("429 from llm")
    return [*said, s.model, str(attempt().run)]


@task(budget_usd=0.5, retry=Retry(max_attempts=1))
async def b_burns(folder: str, turns: int) -> list[int]:
    """Spends a quarter in each turn: in a step, which is recorded, and saves."""
    n = await resume(0, type=int)
    with (Path(folder) / "attempts").open("a") as file:
        file.write(f"{n}\n")

    def ask() -> int:
        usage(tokens_in=100, cost_usd=0.25, model="m")
        with (Path(folder) / "paid").open("a") as file:
            file.write("x")
        return n

    while n < turns:
        await step(f"ask-{n}", ask)
        n += 1
        await checkpoint(f"n-{n}", n)
    return [n]


def all_tasks() -> list[Any]:
    """The tasks of this module."""
    return [v for k, v in globals().items() if k.startswith("b_")]
