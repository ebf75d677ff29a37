"""enqueue, run: parameters from the command line to runs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.errors import BadPolicy
from headway.ids import new_run_id
from headway.retry import seconds
from headway.subjects import name
from headway.wire.commands import EnqueueItem
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client, RunHandle

CHUNK = 1000
"""Runs in one request."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What was asked for on the command line."""

    task: str
    payload: bytes
    key: str = ""
    delay: str = ""
    tags: tuple[str, ...] = ()
    queue: str = ""
    priority: int = 0

    def item(self) -> EnqueueItem:
        """A run with a fresh id; the payload carries no schema stamp, so the engine checks it."""
        return EnqueueItem(
            run=new_run_id(),
            task=name(self.task, "task"),
            payload=Raw(self.payload),
            queue=name(self.queue, "queue") if self.queue else None,
            key=self.key or None,
            priority=_priority(self.priority),
            delay=seconds(self.delay, "--delay") if self.delay else 0.0,
            tags=tuple(map(_tag, self.tags)),
        )


def _tag(value: str) -> str:
    if not value.strip():
        raise BadPolicy("--tag", value, "a word, not blank")
    return value


def _priority(value: int) -> int:
    if not -1000 <= value <= 1000:
        raise BadPolicy("--priority", value, "-1000 to 1000")
    return value


def payload_of(payload: str, parameters: list[str]) -> bytes:
    """The JSON object of a run's parameters; Fail says what is wrong with it."""
    if payload and parameters:
        raise Fail("--payload and KEY=VALUE do not go together", code=Exit.USAGE)
    if not payload:
        return json.dumps(dict(map(_parameter, parameters)), ensure_ascii=False).encode()
    if payload == "@-":
        body = sys.stdin.buffer.read()
    elif payload.startswith("@"):
        body = Path(payload[1:]).read_bytes()
    else:
        body = payload.encode("utf-8", "surrogateescape")
    try:
        value: Any = json.loads(body)
    except ValueError as e:
        raise Fail(f"--payload is not JSON: {e}", code=Exit.USAGE) from None
    if not isinstance(value, dict):
        raise Fail("--payload must be a JSON object: parameter name to value", code=Exit.USAGE)
    return body.strip()


def _parameter(word: str) -> tuple[str, Any]:
    """`n=3` is a number, `name=ana` and `name="3"` are texts, `list=[1,2]` is a list."""
    key, equals, text = word.partition("=")
    if not equals or not key.isidentifier():
        raise Fail(f"{word!r} is no parameter", "write KEY=VALUE, or --payload", Exit.USAGE)
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text


def enqueue(ask: Ask, count: int, *, as_json: bool) -> None:
    """Enqueue `count` runs and print their ids."""
    ask.item()  # wrong names are told before anything is connected
    handles = link.with_client(lambda client: _submit(client, ask, count))
    for handle in handles:
        if as_json:
            say.data({"run": handle.id, "recorded": handle.recorded, "duplicate": handle.duplicate})
        else:
            say.line(handle.id)
            if handle.duplicate:
                say.tell(f"the key {ask.key!r} already has this run: nothing new was enqueued")
    waiting = sum(handle.recorded == "accepted" for handle in handles)
    if waiting:
        say.tell(
            f"{waiting} accepted, not recorded yet: they wait in NATS for the engine and its store"
            " (`headway doctor` says what is away)"
        )


async def _submit(client: Client, ask: Ask, count: int) -> list[RunHandle[Any]]:
    handles: list[RunHandle[Any]] = []
    for start in range(0, count, CHUNK):
        items = [ask.item() for _ in range(min(CHUNK, count - start))]
        handles += await client.submit(items, Any)
    return handles


def enqueue_and_follow(ask: Ask, *, as_json: bool) -> None:
    """Enqueue one run, follow it to its end, print its result; exit 1 if it has none."""
    from headway_ops import following

    ask.item()

    async def work(client: Client) -> bool:
        (handle,) = await _submit(client, ask, 1)
        if not as_json:
            say.tell(f"run {handle.id}" + (" (its key had it already)" if handle.duplicate else ""))
        return await following.to_the_end(client, handle.id, as_json=as_json)

    if not link.with_client(work):
        raise SystemExit(int(Exit.FAILED))
