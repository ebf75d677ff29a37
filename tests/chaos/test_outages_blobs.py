"""The blob store is down, slow, cuts bodies short or lies (fault matrix row 49)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from headway.wire.steering import ResumeAsk
from headway_engine.agent import bodies, handover
from headway_engine.config import BlobsConfig
from support import body_tasks as t
from support.fakes3 import FakeS3
from support.live import live
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.live import Live

LARGE = 700 * 1024


def on(s3: FakeS3) -> BlobsConfig:
    return BlobsConfig(
        "s3", "b", endpoint=s3.endpoint, access_key="k", secret_key="s", direct=False
    )


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_PAUSE", 0.01)


async def kinds(stack: Live, run: str) -> list[str]:
    return [e.kind for e in await stack.events(run)]


async def refs_without_blob(dsn: str, s3: FakeS3) -> list[str]:
    """Keys that a row names and the store does not have."""
    conn: Any = await asyncpg.connect(dsn)
    try:
        rows = await conn.fetch(
            "SELECT ref FROM payloads WHERE ref IS NOT NULL UNION ALL"
            " SELECT ref FROM checkpoints WHERE ref IS NOT NULL UNION ALL"
            " SELECT ref FROM results WHERE ref IS NOT NULL"
        )
    finally:
        await conn.close()
    keys = [json.loads(r["ref"])["key"] for r in rows]
    return [key for key in keys if key not in s3.objects]


async def test_row_49_a_blob_store_that_does_not_answer_costs_time_and_no_try(
    nats: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with FakeS3() as s3, live(nats, database, blobs=on(s3)) as stack:
        s3.faults["GET"] = "500"
        run = await stack.start(t.b_size, "p" * LARGE)

        async def given_back_often() -> bool:
            # More often than a run may be claimed without a start.
            return (await kinds(stack, run.id)).count("given_back") >= 6

        # Later it has its time: on a busy machine even a body that is there takes longer.
        with monkeypatch.context() as impatient:
            impatient.setattr(handover, "PATIENCE", 0.2)
            await until(given_back_often, 90, every=0.1)
        assert (await run.detail()).row.status.lower() in ("queued", "starting")
        s3.heal()
        assert await run.result(60) == LARGE
        # A state that cannot be written is not named by any row, and is written later.
        s3.faults["PUT"] = "500"
        grows = await stack.start(t.b_grows, str(tmp_path), LARGE)
        await until(lambda: s3.failed["PUT"] >= 3, 60)
        assert "checkpoint" not in await kinds(stack, grows.id)
        s3.heal()
        assert await grows.result(60) == [1, 1, 1, LARGE]
        assert await refs_without_blob(database, s3) == []


async def test_row_49_a_body_that_is_not_what_was_written_is_read_again(
    nats: str, database: str, tmp_path: Path
) -> None:
    async with FakeS3() as s3, live(nats, database, blobs=on(s3)) as stack:
        s3.pause = 0.1
        for fault in ("corrupt", "truncate", "short", "slow"):
            before = s3.failed["GET"]
            s3.faults["GET"], s3.times["GET"] = fault, 1
            assert await stack.result(t.b_grows, str(tmp_path), LARGE) == [1, 1, 1, LARGE], fault
            assert s3.failed["GET"] == before + 1


async def test_row_49_a_body_that_stays_damaged_waits_for_a_person(
    nats: str, database: str
) -> None:
    async with FakeS3() as s3, live(nats, database, blobs=on(s3)) as stack:
        s3.faults["GET"] = "corrupt"
        run = await stack.start(t.b_size, "q" * LARGE)
        detail = await stack.in_state(run, "review")
        assert detail.row.reason == "blob"
        assert "damaged" in detail.why
        assert "started" not in [e.kind for e in detail.events]
        s3.heal()
        await stack.client.api("resume", ResumeAsk(run.id), dict[str, Any])
        assert await run.result(60) == LARGE
