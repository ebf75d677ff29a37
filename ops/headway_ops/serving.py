"""engine, agent: one long-running role in this process, until SIGTERM or Ctrl+C."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from headway.config import Settings
from headway.safe import safe_line
from headway_engine.config import Config, load_config
from headway_engine.roles import check_roles
from headway_ops.say import Exit, Fail
from headway_ops.settings import shown_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


COLLECT = (20_000, 20, 20)
"""Thresholds of Python's cycle collector in a role (by default 700, 10, 10)."""


class _Lines(logging.Formatter):
    """One safe line a record: time, level, logger, message; tracebacks stay readable."""

    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "\n".join(safe_line(line, 8000) for line in text.splitlines())


class _Json(logging.Formatter):
    """One JSON object a line: at (UTC), level, logger, message, and error with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": safe_line(record.getMessage(), 8000),
        }
        if record.exc_info:
            # JSON escapes what a terminal must not see; the lines of a traceback stay lines.
            said["error"] = self.formatException(record.exc_info)[:64_000]
        return json.dumps(said)


def logs() -> None:
    """Logs go to stderr.

    HEADWAY_LOG_LEVEL is debug, info (the default), warning or error; HEADWAY_LOG_FORMAT is text
    (the default) or json.
    """
    level = os.environ.get("HEADWAY_LOG_LEVEL", "info").upper()
    if level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise Fail(f"HEADWAY_LOG_LEVEL={level.lower()!r}", "debug, info, warning or error",
                   Exit.USAGE)  # fmt: skip
    handler = logging.StreamHandler(sys.stderr)
    form = os.environ.get("HEADWAY_LOG_FORMAT", "text").lower()
    if form not in {"text", "json"}:
        raise Fail(f"HEADWAY_LOG_FORMAT={form!r}", "text or json", Exit.USAGE)
    lines = _Lines("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(_Json() if form == "json" else lines)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # At debug it writes out signatures and signed URLs.
    if level == "DEBUG":
        logging.getLogger("botocore").setLevel(logging.INFO)


def settings(path: str) -> Config:
    """The settings of the file, or of the variables alone."""
    return load_config(Path(path) if path else None)


def serve(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end, on uvloop where it is installed."""
    # What is loaded now stays; and records live for moments, in thousands, without cycles: looking
    # through them as often as Python does by itself costs a tenth of the work.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT)
    try:
        import uvloop
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)


def on_stop(stop: Callable[[], object]) -> None:
    """Call it at SIGTERM and Ctrl+C; a second Ctrl+C ends the process at once.

    SIGTERM may come several times: the kernel sends the death signal once for each thread of a
    parent that dies. So only the first one counts, and what cleans up is not cut short.
    """
    loop = asyncio.get_running_loop()
    stopping = False

    def first() -> None:
        nonlocal stopping
        if stopping:
            return
        stopping = True
        loop.remove_signal_handler(signal.SIGINT)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, first)


def with_roles(made: Config, roles: str) -> Config:
    """The settings with `--roles` over them; empty = as they are."""
    if not roles:
        return made
    named = tuple(dict.fromkeys(part.strip() for part in roles.split(",") if part.strip()))
    try:
        check_roles(named)
    except ValueError as e:
        raise Fail(f"--{e}", "see `headway engine --help`", Exit.USAGE) from None
    return structs.replace(made, engine=structs.replace(made.engine, roles=named))


def engine(config: str, roles: str = "", *, with_agent: bool = False) -> None:
    """`headway engine`: until stopped; what ends one of its services ends the process.

    `with_agent`: and what ends the agent. Raises Fail where the settings have none.
    """
    logs()
    made = with_roles(settings(config), roles)
    if with_agent and made.agent is None:
        raise _no_agent()
    nats = Settings(nats_url=made.nats.url).shown_url
    folder = made.edge.folder
    truth = f"edge={folder}" if folder else f"postgres={shown_dsn(made.postgres.dsn)}"
    logging.getLogger("headway.engine").info("engine: nats=%s %s", nats, truth)

    async def main() -> None:
        if with_agent:
            from headway_engine.assembly_both import EngineWithAgent

            one = EngineWithAgent(made)
        else:
            from headway_engine.assembly import Engine

            one = Engine(made)
        on_stop(one.stop)
        await one.run()

    serve(main())


def _no_agent() -> Fail:
    return Fail("the settings have no [agent] section", "give at least agent.state_dir, in a"
                " file (--config) or as HEADWAY_AGENT_STATE_DIR", Exit.USAGE)  # fmt: skip


def agent(config: str) -> None:
    """`headway agent`: until stopped; then it drains. An agent that fails ends the process."""
    from headway_engine.assembly_agent import AgentProcess

    logs()
    made = settings(config)
    if made.agent is None:
        raise _no_agent()

    async def main() -> None:
        one = AgentProcess(made)
        on_stop(one.stop)
        await one.run()

    serve(main())
