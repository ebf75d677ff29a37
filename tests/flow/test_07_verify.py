"""`headway verify` on a stack where everything has happened, clean and damaged by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headway_ops.verify import Ask, Report, verify
from support import servers
from support.finished import Finished, finish_all

if TYPE_CHECKING:
    from collections.abc import Generator

    from support.servers import Databases


class Stand:
    """What all tests of this module look at: one database, copied by those that damage it."""

    def __init__(self, done: Finished, dsn: str, nats: str) -> None:
        self.done, self.dsn, self.nats = done, dsn, nats


@pytest.fixture(scope="module")
def stand(databases: Databases) -> Generator[Stand]:
    with asyncio.Runner() as runner:
        context = servers.running_nats()
        nats = runner.run(context.__aenter__())
        dsn = runner.run(databases.take())
        done: Finished | None = None
        try:
            done = runner.run(finish_all(nats.url, dsn))
            yield Stand(done, dsn, nats.url)
        finally:
            if done is not None:
                done.close()
            runner.run(context.__aexit__(None, None, None))
            databases.drop(dsn)


def ask(stand: Stand, dsn: str = "") -> Ask:
    return Ask(
        dsn or stand.dsn, settled=True, journals=[stand.done.journal],
        ledgers=[stand.done.ledger], second_look=0.05,
    )  # fmt: skip


async def test_all_promises_hold_after_everything_has_happened(stand: Stand) -> None:
    report: Report = await verify(ask(stand))
    assert report.ok, report.explain()
