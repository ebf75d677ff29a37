"""Attempts in memory for the tests of the verbs: states, calls that can be held up, marks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pydantic

from headway import (
    task,
)
from headway.context import AttemptInfo, Context
from headway.runner.attempt import Attempt
from headway.testing import MemoryCalls, MemoryRun, Saved
from headway.wire.rpc import MarkRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.wire.frames import Ack, Fail, Finish


class State(msgspec.Struct):
    """A state."""

    n: int = 0


class Renamed(msgspec.Struct):
    """The same with its field renamed."""

    count: int = 0


@dataclass
class Data:
    """As a dataclass."""

    n: int = 0


class Model(pydantic.BaseModel):
    """As a model."""

    n: int = 0


class Slow(MemoryCalls):
    """Answers only when it is told to."""

    def __init__(self, run: MemoryRun, epoch: int) -> None:
        super().__init__(run, epoch)
        self.frames: list[Any] = []
        self.held: list[tuple[asyncio.Future[Ack], asyncio.Future[Ack]]] = []
        self.hold = False

    def save(self, frame: Any, body: bytes = b"") -> asyncio.Future[Ack]:
        """Record; keep the answer back while `hold`."""
        self.frames.append(frame)
        answer = super().save(frame, body)
        if not self.hold:
            return answer
        kept: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.held.append((kept, answer))
        return kept

    def release(self) -> None:
        """Answer what was held."""
        self.hold = False
        for kept, answer in self.held:
            kept.set_result(answer.result())


def prepared(
    marks: list[MarkRecord] | None = None, *, epoch: int = 2, state: bytes = b"", schema: str = ""
) -> tuple[Context, Slow]:
    run = MemoryRun()
    calls = Slow(run, epoch)
    number = 1 if state else 0
    if state:
        run.checkpoints.append(Saved(1, "before", state, schema))
    info = AttemptInfo(run.id, "t", epoch, 1, 3, number, root=run.id)
    return Context(info, calls, marks=marks or [], state=state, schema=schema), calls


async def execute(
    fn: Callable[[], Any], marks: list[MarkRecord] | None = None, **fields: Any
) -> tuple[Finish | Fail, Any, Slow]:
    """The function as one attempt: its last frame, its value, what it sent."""
    ctx, calls = prepared(marks, **fields)
    ending = await Attempt(ctx, task(id="t")(fn), grace=1).execute(b"{}")
    assert ending is not None
    return ending[0], ending[2], calls


def once_mark(status: str, **fields: Any) -> MarkRecord:
    return MarkRecord(key="k", kind="once", fn="effect", status=status, epoch=1, **fields)


def statuses(calls: Slow) -> list[str]:
    return [f.status for f in calls.frames if hasattr(f, "status")]


def lambda_free(body: Callable[[], Any]) -> Callable[[], Any]:
    async def fn() -> None:
        await body()

    return fn


def lambda_free_value(body: Callable[[], Any]) -> Callable[[], Any]:
    async def fn() -> Any:
        return await body()

    return fn
