"""Reads LOGS for the checker: line numbers of every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway import subjects
from headway.history import history
from headway.ids import is_run_id
from headway.wire import Malformed, decode
from headway.wire.events import LOG_CHUNK
from headway_ops.verify.logs import Lines
from headway_ops.verify.report import Violation

if TYPE_CHECKING:
    from headway.bus import Connection
    from headway_ops.verify.ask import Ask
    from headway_ops.verify.report import Report


async def logs(ask: Ask, nc: Connection, report: Report) -> None:
    """Line numbers of every attempt. Raises as `history`."""
    lines = Lines()
    filter_ = f"hw.log.{ask.ns or '*'}.{ask.run or '*'}.*"
    async for message in history(nc, subjects.LOGS, filter_):
        run = subjects.run_of(message.subject)
        if not is_run_id(run) or not ask.wants(run):
            continue
        epoch = subjects.epoch_of_log(message.subject)
        try:
            chunk = decode(LOG_CHUNK, message.data)
        except Malformed:
            what = f"message {message.seq} of LOGS does not read"
            report.add(Violation("I20", run, what, 0, epoch))
            continue
        for violation in lines.chunk(run, epoch, chunk, report):
            report.add(violation)
    if lines.lost:
        report.note("I20", f"{lines.lost} lines were lost on the way; readers see gaps")
