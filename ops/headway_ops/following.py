"""run, watch, logs, result: what happens, as it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rich.text import Text

from headway import subjects
from headway.errors import HeadwayError, RunFailed
from headway.lines import LineNumbers, missing_words
from headway.safe import safe_line
from headway.states import TERMINAL
from headway.steadynats import settled
from headway.wire import Malformed, decode
from headway.wire.events import RUN_EVENTS, Event, RunEvents
from headway_ops import dumping, link, render, say, story
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from nats.aio.msg import Msg

    from headway.client import Client
    from headway.follow import RunLog

ENDED = {state.value for state in TERMINAL}
TASK_WIDTH = 12
SHORT_ID = 14
"""Cells of a run id where lines must fit a terminal; `show` takes such a prefix."""
OUTPUT_WITHIN = 5.0
"""Seconds that the line of a run's end waits for its output; missing lines are said sooner."""
KNOWN_RUNS = 100_000
"""Runs whose last event number `watch` remembers, to see gaps."""


def watch(run: str, *, dump: bool, plain: bool, as_json: bool) -> None:
    """Print a run's events to its end (exit 1 if it failed), or those of all runs until Ctrl+C.

    `dump`: all that observers may see, as JSON. `plain`: words alone, in whole lines.
    """
    if not run:
        link.with_client(
            dumping.dump_all
            if dump
            else lambda client: _watch_all(client, plain=plain, as_json=as_json)
        )
        return
    link.prefix_of(run)

    async def work(client: Client) -> str:
        full = await link.known(client, run)
        if dump:
            return await dumping.dump_run(client, full)
        show = _words if plain else say.show
        return await _timeline(client, full, show, plain=plain, as_json=as_json)

    if link.with_client(work) != "SUCCEEDED":
        raise SystemExit(int(Exit.FAILED))


def _words(line: Text) -> None:
    """A line without colours."""
    say.line(line.plain)


async def _timeline(
    client: Client,
    run: str,
    show: Callable[[Text], None],
    *,
    as_json: bool,
    plain: bool = False,
    before_end: Callable[[], Awaitable[None]] | None = None,
) -> str:
    """Show a run's events to its end; the state that it ended in, or "" if its end was not seen.

    `before_end` is awaited before the end is shown.
    """
    since: datetime | None = None
    task = ""
    async for event in client.handle(run).events():
        since = since or event.at
        if event.target in ENDED and before_end is not None:
            await before_end()
        if as_json:
            task = task or await dumping.task_of(client, run)
            say.data({"run": run, "task": task, "event": event})
        else:
            show(story.event_text(event, since, signs=not plain))
            if event.kind == "review":
                say.tell(story.review_hint(run, event.data))
        if event.target in ENDED:
            return event.target
    return ""


class Ticker:
    """Lines for the events of all runs; says where a run's numbers jump."""

    def __init__(self, id_width: int = 26, *, signs: bool = True) -> None:
        self._last: dict[str, int] = {}
        self._width, self._signs = id_width, signs

    def lines(self, body: RunEvents) -> list[Text]:
        """One line an event, each with its run and task."""
        lines: list[Text] = []
        for event in body.events:
            last = self._last.get(body.run)
            if last is not None and event.n <= last:
                continue
            if last is not None and event.n > last + 1:
                lines.append(
                    Text(f"{self._id(body)} ")
                    .append_text(story.gap_text(last + 1, event.n - 1))
                )  # fmt: skip
            self._remember(body.run, event)
            lines.append(self._line(body, event))
        return lines

    def _remember(self, run: str, event: Event) -> None:
        self._last[run] = event.n
        if event.target in ENDED:
            del self._last[run]
        elif len(self._last) > KNOWN_RUNS:
            del self._last[next(iter(self._last))]

    def _id(self, body: RunEvents) -> str:
        return safe_line(body.run, 26)[: self._width]

    def _line(self, body: RunEvents, event: Event) -> Text:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{self._id(body)} ", style="dim")
        task = safe_line(body.task, TASK_WIDTH)
        text.append(f"{task:<{TASK_WIDTH}} ")
        return text.append_text(story.event_text(event, signs=self._signs))


async def _watch_all(client: Client, *, plain: bool, as_json: bool) -> None:
    queue: asyncio.Queue[Msg | None] = asyncio.Queue(10_000)
    missed = 0

    async def on_message(msg: Msg) -> None:
        nonlocal missed
        try:
            queue.put_nowait(msg)
        except asyncio.QueueFull:
            missed += 1

    await client.connection.subscribe(subjects.live_event(client.namespace), cb=on_message)
    await settled(client.connection)
    client.connection.when_back(lambda: say.tell("events in between are not shown"))
    say.tell(f"watching namespace {client.namespace}; Ctrl+C ends")
    narrow = say.console().is_terminal and not plain
    ticker = Ticker(SHORT_ID if narrow else 26, signs=not plain)
    show = _words if plain else say.show
    while True:
        msg = await queue.get()
        if msg is None:
            return
        if missed:
            say.tell(f"... {missed} messages came too fast and are not shown")
            missed = 0
        try:
            body: RunEvents = decode(RUN_EVENTS, msg.data)
        except Malformed as e:
            say.tell(str(e))
            continue
        if as_json:
            for event in body.events:
                say.data({"run": body.run, "task": body.task, "event": event})
        else:
            for line in ticker.lines(body):
                show(line)


def logs(run: str, *, follow: bool, attempt: int, as_json: bool) -> None:
    """Print output; without `follow` what is stored by now."""
    link.prefix_of(run)

    async def work(client: Client) -> None:
        full = await link.known(client, run)
        if follow:
            async for log in client.handle(full).logs():
                if not attempt or log.epoch == attempt:
                    print_log(full, log, as_json=as_json)
        else:
            for log in await stored_logs(client, full, attempt):
                print_log(full, log, as_json=as_json)

    link.with_client(work)


async def stored_logs(client: Client, run: str, attempt: int = 0) -> list[RunLog]:
    """The chunks that LOGS holds now, with the number of lines missing before each."""
    from headway.follow import RunLog
    from headway.follow import stored_logs as stored
    from headway.wire.events import LOG_CHUNK

    found: list[RunLog] = []
    numbered = LineNumbers()
    async for _, epoch, data in stored(client, run, 0, attempt):
        try:
            chunk = decode(LOG_CHUNK, data)
        except Malformed:
            continue
        missing = numbered.missing(epoch, chunk)
        if missing is not None:
            found.append(RunLog(epoch, chunk, missing))
    return found


def print_log(
    run: str, log: RunLog, *, as_json: bool, show: Callable[[str], None] = say.line
) -> None:
    """A chunk's lines; first what is missing before it."""
    if as_json:
        said = {"run": run, "attempt": log.epoch, "missing": log.missing, "chunk": log.chunk}
        say.data(said)
        return
    if log.missing:
        hint = ": print less, or raise it" if log.chunk.dropped else ""
        say.tell(f"... {missing_words(log.missing, log.chunk)}{hint}")
    for line in log.chunk.lines:
        show(line)


def result(run: str, *, wait: bool, timeout: float, as_json: bool) -> None:
    """Print a run's result as JSON; exit 1 if it failed, or has not ended and `wait` is not set.

    `as_json`: an object that names the run, for a failed one too.
    """
    link.prefix_of(run)
    full = ""

    async def work(client: Client) -> Any:
        nonlocal full
        full = await link.run_id(client, run)
        if not wait:
            await _must_have_ended(client, full)
        try:
            return await client.handle(full).result(timeout or None)
        except TimeoutError:
            raise Fail(f"run {full} has not ended within {timeout:g} s") from None

    try:
        value = link.with_client(work)
    except RunFailed as e:
        if not as_json:
            raise
        _print_failure(e, as_json=True)
        raise SystemExit(int(Exit.FAILED)) from None
    say.data({"run": full, "result": value} if as_json else value)


async def _must_have_ended(client: Client, run: str) -> None:
    answer = await client.ask_results([run])
    if answer.ended or run in answer.aliases:
        return
    status = answer.others.get(run, "unknown")
    if status == "unknown":
        raise Fail(f"no run {run}", "headway ls", Exit.REFUSED)
    raise Fail(f"run {run} is {status}: it has no result yet", f"headway result {run} --wait")


async def to_the_end(client: Client, run: str, *, as_json: bool) -> bool:
    """Show timeline and output live, then the result on stdout; False if the run failed."""
    err = say.console(stderr=True)

    async def output() -> None:
        async for log in client.handle(run).logs():
            print_log(run, log, as_json=as_json, show=lambda text: err.print(_indented(text)))

    printing = asyncio.ensure_future(output())

    async def printed() -> None:
        # Its last lines belong before its end; `output` itself knows when there are no more.
        done, _ = await asyncio.wait({printing}, timeout=OUTPUT_WITHIN)
        if not done:
            say.tell("the last lines of its output are still on their way")

    async def moves() -> None:
        await _timeline(
            client, run, lambda line: say.print_on(err, line), as_json=as_json, before_end=printed
        )

    if not await _both(moves(), printing):
        say.tell(f"not followed to its end: headway watch {run}")
    try:
        value = await client.handle(run).result()
    except RunFailed as e:
        _print_failure(e, as_json=as_json)
        return False
    if as_json:
        say.data({"run": run, "result": value})
    else:
        say.data(value, indent=2)
    return True


async def _both(*works: Awaitable[None]) -> bool:
    """Run both to their ends; what one meets is told, not fatal: the result is what counts."""
    done = await asyncio.gather(*works, return_exceptions=True)
    for error in done:
        if isinstance(error, HeadwayError):
            say.tell(str(error))
        elif isinstance(error, BaseException):
            raise error
    return not any(done)


def _indented(text: str) -> Text:
    return Text(f"    | {safe_line(text, 4000)}", style="dim")


def _print_failure(error: RunFailed, *, as_json: bool) -> None:
    if as_json:
        say.data({"run": error.run, "status": error.status, "error": error.error_type,
                  "message": error.error_message})  # fmt: skip
        return
    status = render.status_text(error.status, full=True)
    say.console(stderr=True).print(status.append(f"  {safe_line(error.run, 26)}"))
    if error.traceback:
        say.tell(error.traceback.rstrip())
    elif error.error_type:
        say.tell(f"{error.error_type}: {error.error_message}")
