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
from headway.wire.commands import ResumeAsk
from support import body_tasks as tasks
from support.live import live
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
        done.runs = await _all(stack, done)

        async def told() -> bool:
            return not stack.engine.broker or not await _waiting(database)

        await until(told, 20, what="the outbox is empty", every=0.1)
    return done


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

    busy = Path(room("cancel"))
    children = Path(room("children"))
    (children / "go").touch()
    plan: dict[str, tuple[Any, ...]] = {
        "echo": (tasks.b_echo, [1, 2]),
        "large": (tasks.b_grows, room("large"), LARGE),
        "small": (tasks.b_grows, room("small"), 10),
        "result": (tasks.b_result, LARGE),
        "shared": (tasks.b_shared, "x"),
        "sleeps": (tasks.b_sleeps,),
        "once": (tasks.b_once, room("once")),
        "plain": (tasks.b_plain, room("plain")),
        "timeout": (tasks.b_slow,),
        "timeout-again": (tasks.b_slow_once, room("again")),
        "stops": (tasks.b_stops,),
        "fails": (tasks.b_failing,),
        "retry-in": (tasks.b_retry_in, room("retry-in")),
        "retries": (tasks.b_broken_child,),
        "parent": (tasks.b_parent, str(children), ["a", "b"]),
        "cancelled": (tasks.b_cleans, str(busy)),
    }
    handles = {name: await stack.start(task, *rest) for name, (task, *rest) in plan.items()}
    handles["delayed"] = await stack.start(tasks.b_echo, 1, delay="1h", key="later")
    handles["early"] = await stack.start(tasks.b_echo, 1, delay="1h")
    handles["keyed"] = await stack.start(tasks.b_echo, 2, key="k-1")
    duplicate = await stack.start(tasks.b_echo, 2, key="k-1")
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
