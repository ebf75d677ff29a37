"""Callers' journals against RUNS: each line is judged by `acks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headway_ops.verify import acks
from headway_ops.verify.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from headway_ops.verify.ask import Ask
    from headway_ops.verify.edgefold import Told
    from headway_ops.verify.edgelog import EdgeLog
    from headway_ops.verify.report import Violation


async def callers(ask: Ask, log: EdgeLog, report: Report, oldest: datetime | None) -> None:
    """Every line of the journals that were given.

    `oldest`: when the oldest enqueue that waits in INGEST came, looked at before RUNS was read;
    None = none. Raises OSError, and as `history`.
    """
    if not ask.journals:
        report.skip("I1", "no journal is given")
        report.skip("I7", "from messages alone: no journal is given")
        return
    waits = None if oldest is None else oldest.timestamp() - acks.SKEW
    for file in ask.journals:
        for batch in acks.read(file, report):
            for ack in batch:
                if not ask.wants(ack.run, ack.ns):
                    continue
                waiting = waits is not None and ack.at >= waits
                run = acks.looked_at(ack)
                wrong = list(_check(ack, log, log.one(run), waiting, report))
                if wrong:
                    # It may have been written after RUNS was read.
                    wrong = list(_check(ack, log, await log.again(ack.ns, run), waiting, None))
                for violation in wrong:
                    report.add(violation)


def _check(
    ack: acks.Ack, log: EdgeLog, told: Told | None, waits: bool, report: Report | None
) -> Iterator[Violation]:
    saved: acks.Saved | None = None
    if told is None:
        stored = acks.Stored(waits=waits)
    else:
        h = log.history(told)
        stored = acks.Stored(
            h.run if h is not None else None, told.hash, told.result_hash, told.removed,
            told.alias, told.refused, waits,
        )  # fmt: skip
        if ack.op == "checkpoint" and (found := told.checkpoints.get(ack.number)) is not None:
            saved = acks.Saved(found[1].sha256, found[1].epoch)
        elif ack.op == "mark" and (mark := told.marks.get(ack.key)) is not None:
            saved = acks.Saved(told.values[ack.key], mark.epoch, mark.status)
    # What is looked at a second time was counted the first time.
    yield from acks.check(ack, stored, saved, report or Report())
