"""enqueue, run: parameters from the command line to runs."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway.errors import BadPolicy
from headway.ids import new_run_id
from headway.retry import seconds
from headway.subjects import name
from headway.tags import A_TAG, is_tag
from headway.wire.enqueue import EnqueueItem
from headway.wire.sites import SEND_TTL, SEND_TTL_MAX
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

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
    site: str = ""
    """Of this hub, that shall have the run; empty = the hub itself."""
    site_ttl: str = ""

    @property
    def patience(self) -> float:
        """Seconds that it may wait for its site."""
        if not self.site_ttl:
            return SEND_TTL
        found = seconds(self.site_ttl, "--site-ttl")
        if not self.site:
            raise Fail("--site-ttl goes with --site", "name the site", Exit.USAGE)
        if not 0 < found <= SEND_TTL_MAX:
            raise BadPolicy("--site-ttl", self.site_ttl, "more than zero, at most 7 days")
        return found

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
    if not is_tag(value):
        raise BadPolicy("--tag", value, A_TAG)
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
    return _object(body, "--payload")


def _object(body: bytes, where: str) -> bytes:
    try:
        value: Any = json.loads(body)
    except ValueError as e:
        raise Fail(f"{where} is not JSON: {e}", "'{\"name\": value}'", Exit.USAGE) from None
    if not isinstance(value, dict):
        raise Fail(f"{where} must be a JSON object: parameter name to value", "", Exit.USAGE)
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


def many_of(each: str, count: int, payload: str, parameters: list[str]) -> list[bytes]:
    """The payloads of one command line: of `--each`, or the same one `count` times."""
    if not each:
        return [payload_of(payload, parameters)] * count
    if payload or parameters or count != 1:
        raise Fail("--each goes alone: without --count, --payload and KEY=VALUE", "", Exit.USAGE)
    return payloads_of(each)


def payloads_of(source: str) -> list[bytes]:
    """The payloads of `--each`: a file (or `-`, stdin) with one JSON object a line.

    All lines are looked at before anything is enqueued; Fail names the first wrong one.
    """
    body = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    found: list[bytes] = []
    for number, line in enumerate(body.splitlines(), 1):
        if line.strip():
            found.append(_object(line, f"{source}, line {number}"))
    if not found:
        raise Fail(f"{source} holds no line", "one JSON object a line", Exit.USAGE)
    return found


def enqueue(ask: Ask, payloads: Sequence[bytes], *, as_json: bool) -> None:
    """Enqueue a run for each payload and print their ids as they are recorded.

    Several runs under a key have keys of their own, KEY-1, KEY-2 ..., in the order given: the same
    command once more makes none twice. Ctrl+C and errors say how many were enqueued before.
    """
    _ = ask.item(), ask.patience  # wrong names are told before anything is connected
    several = len(payloads) > 1
    asks = [
        replace(ask, payload=payload, key=f"{ask.key}-{n}" if ask.key and several else ask.key)
        for n, payload in enumerate(payloads, 1)
    ]
    tally = Tally(len(asks))
    try:
        link.with_client(lambda client: _enqueue_all(client, asks, tally, as_json=as_json))
    except BaseException:
        if several:
            say.tell(tally.stopped(ask.key))
        raise
    if tally.waiting and ask.site:
        say.tell(
            f"{tally.waiting} kept for site {ask.site}, which gets them as soon as there is a link:"
            f" headway sites {ask.site}"
        )
    elif tally.waiting:
        say.tell(
            f"{tally.waiting} accepted, not recorded yet: they wait in NATS for the engine and its"
            " store (`headway doctor` says what is away)"
        )


@dataclass(slots=True)
class Tally:
    """How far an enqueue of many has come."""

    total: int
    done: int = 0
    """Acknowledged, their ids are printed."""
    waiting: int = 0
    """Of these: accepted, not recorded yet."""
    sent: int = 0
    """Given to NATS; what is not `done` of these may or may not be there."""

    def stopped(self, key: str) -> str:
        """What a person must know who stopped it in the middle."""
        open_ = self.sent - self.done
        text = f"{self.done:,} of {self.total:,} runs were enqueued"
        if open_:
            text += f"; of {open_:,} more it is not known"
        if self.done == self.total:
            return text
        again = (
            "the same command once more adds the missing ones"
            if key
            else ("with --key NAME such a command can be repeated: none is enqueued twice")
        )
        return f"{text} ({again})"


async def _enqueue_all(client: Client, asks: list[Ask], tally: Tally, *, as_json: bool) -> None:
    with _bar(tally.total) as moved:
        for chunk in batched(asks, CHUNK):
            tally.sent += len(chunk)
            for one, handle in zip(chunk, await _submit(client, chunk), strict=True):
                _print(one, handle, as_json=as_json)
                tally.done += 1
                tally.waiting += handle.recorded == "accepted"
            moved(tally.done)


def batched(asks: list[Ask], size: int) -> Iterator[list[Ask]]:
    """The list in pieces of at most `size`."""
    for start in range(0, len(asks), size):
        yield asks[start : start + size]


def _print(ask: Ask, handle: RunHandle[Any], *, as_json: bool) -> None:
    if as_json:
        say.data({"run": handle.id, "recorded": handle.recorded, "duplicate": handle.duplicate})
        return
    say.line(handle.id)
    if handle.duplicate:
        say.tell(f"the key {ask.key!r} already has this run: nothing new was enqueued")


@contextmanager
def _bar(total: int) -> Generator[Callable[[int], None]]:
    """A progress bar on stderr for what takes several requests; nothing without a terminal."""
    if total <= CHUNK or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("enqueue", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Ids on the same terminal go through the bar's console, else they would tear it.
    same = sys.stdout.isatty()
    console = say.console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=same) as bar:
        line = bar.add_task("", total=total)
        yield lambda done: bar.update(line, completed=done)


async def _submit(client: Client, asks: list[Ask]) -> list[RunHandle[Any]]:
    ask = asks[0]
    if ask.site:
        site = name(ask.site, "site")
        return await client.send(site, [a.item() for a in asks], Any, ttl=ask.patience)
    return await client.submit([ask.item() for ask in asks], Any)


def enqueue_and_follow(ask: Ask, *, as_json: bool) -> None:
    """Enqueue one run, follow it to its end, print its result; exit 1 if it has none."""
    from headway_ops import following, sending

    _ = ask.item(), ask.patience
    run = ""

    async def work(client: Client) -> bool:
        nonlocal run
        (handle,) = await _submit(client, [ask])
        run = handle.id
        if not as_json:
            say.tell(f"run {handle.id}" + (" (its key had it already)" if handle.duplicate else ""))
        if not ask.site:
            return await following.to_the_end(client, handle.id, as_json=as_json)
        await sending.handed_over(client, handle, ask.site)
        if handle.duplicate and not as_json:
            say.tell(f"its key has run {handle.id} there already")
        async with sending.telling_link(client, ask.site):
            return await following.to_the_end(client, handle.id, as_json=as_json)

    try:
        succeeded = link.with_client(work)
    except KeyboardInterrupt:
        if run:
            say.tell(f"the run goes on: headway watch {run}, or headway cancel {run}")
        raise
    if not succeeded:
        raise SystemExit(int(Exit.FAILED))
