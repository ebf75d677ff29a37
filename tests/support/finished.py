"""Runs of every kind on the whole stack, with journal and ledger: what the checker looks at."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headway import journal
from headway.errors import RunFailed
from headway.wire.fleet import QueueAsk, QueueRow
from headway.wire.steering import ResumeAsk
from headway_ops.verify import Ask, Report, verify
from support import body_tasks as tasks
from support.live import live, live_config
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from support.live import Live

LARGE = 200_000
"""Bytes that lie in blobs."""


@dataclass
class Finished:
    """What became of it all. `folder` is removed by `close`."""

    folder: Path
    runs: dict[str, str] = field(default_factory=dict[str, str])
    """By what it shows."""
    beside: list[Report] = field(default_factory=list[Report])
    """What the checker said while everything was going on."""

    @property
    def journal(self) -> Path:
        """Of the client and of all runners."""
        return self.folder / "journal"

    @property
    def ledger(self) -> Path:
        """Of the effects of `b_once`."""
        return self.folder / "ledger"

    def tell(self, run: str, key: str, token: str, epoch: int, policy: str = "raise") -> None:
        """One more line in the ledger."""
        line = {"run": run, "key": key, "token": token, "epoch": epoch, "policy": policy}
        with self.ledger.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.folder, ignore_errors=True)


@asynccontextmanager
async def journaling(path: Path) -> AsyncGenerator[None]:
    """This process and the runners that it starts write a journal."""
    os.environ[journal.VARIABLE] = str(path)
    journal.open_journal(str(path))
    try:
        yield
    finally:
        del os.environ[journal.VARIABLE]
        journal.open_journal("")


async def finish_all(nats: str, database: str) -> Finished:
    """Start a stack, let everything happen, stop it. What is left is at rest."""
    done = Finished(Path(tempfile.mkdtemp(prefix="hwv")))
    async with (
        journaling(done.journal),
        live(nats, database, blobs="objects", lease=3.0, beat_every=1.0) as stack,
    ):
        watching = asyncio.create_task(_watch(done, Ask(
            live_config(nats, database, "objects"), journals=[done.journal],
            second_look=0.1, patience=3.0,
        )))  # fmt: skip
        done.runs = await _all(stack, done)
        watching.cancel()
        await asyncio.wait([watching])

        async def told() -> bool:
            return not stack.engine.broker or not await _waiting(database)

        await until(told, 20, what="the outbox is empty", every=0.1)
    return done


async def _watch(done: Finished, ask: Ask) -> None:
    """Check again and again, beside what goes on."""
    while True:
        done.beside.append(await verify(ask))
        await asyncio.sleep(0.5)


async def _waiting(database: str) -> int:
    import asyncpg

    conn: Any = await asyncpg.connect(database)
    try:
        return int(await conn.fetchval("SELECT count(*) FROM outbox"))
    finally:
        await conn.close()


async def _all(stack: Live, done: Finished) -> dict[str, str]:
    def room(name: str) -> str:
        path = done.folder / name
        path.mkdir()
        return str(path)

    await stack.client.api("queue-set", QueueAsk("default", limit=6), QueueRow)
    busy = Path(room("cancel"))
    children = Path(room("children"))
    (children / "go").touch()
    plan: dict[str, tuple[Any, ...]] = {
        "echo": (tasks.b_shared, "hello"),
        "large": (tasks.b_grows, room("large"), LARGE),
        "small": (tasks.b_grows, room("small"), 10),
        "result": (tasks.b_result, LARGE),
        "sleeps": (tasks.b_sleeps,),
        "once": (tasks.b_once, room("once")),
        "plain": (tasks.b_plain, room("plain")),
        "timeout": (tasks.b_slow,),
        "retries": (tasks.b_broken_child,),
        "parent": (tasks.b_parent, str(children), ["a", "b"]),
        "cancelled": (tasks.b_cleans, str(busy)),
        "prints": (tasks.b_prints_shared, 30),
    }
    handles = {name: await stack.start(task, *rest) for name, (task, *rest) in plan.items()}
    handles["delayed"] = await stack.start(tasks.b_echo, 1, delay="1h", key="later")
    handles["early"] = await stack.start(tasks.b_echo, 1, delay="1h")
    handles["keyed"] = await stack.start(tasks.b_shared, "y", key="k-1")
    duplicate = await stack.start(tasks.b_shared, "y", key="k-1")
    assert duplicate.duplicate
    await handles["early"].cancel("no more")
    await until(lambda: (busy / "busy").exists(), 20, what="the run to cancel is busy")
    await handles["cancelled"].cancel("enough")
    held = await stack.in_state(handles["once"], "review")
    mark = next(m for m in held.events if m.kind == "once")
    done.tell(held.row.run, "pay", mark.data["token"], mark.epoch)

    async def end(name: str) -> None:
        with suppress(RunFailed):
            await handles[name].result(40)

    waited = set(handles) - {"delayed", "once"}
    await asyncio.gather(*(end(name) for name in waited))
    handles["replay"] = await stack.client.replay(handles["plain"].id)
    await end("replay")
    await stack.client.resume(ResumeAsk(handles["once"].id, once={"pay": "done"}))
    await end("once")
    return {name: handle.id for name, handle in handles.items()}
