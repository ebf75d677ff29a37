"""Postgres goes away, comes back older than it was, has no room or no connection left.

Fault matrix rows 35 and 37-41. What one statement does is in `contract/test_store_postgres_faults`;
here whole installations live through it.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from typing import TYPE_CHECKING

import pytest
from msgspec import Raw

from headway.errors import NoSuchRun
from headway.ids import new_run_id
from headway.wire.commands import EnqueueItem
from headway_ops.local.postgres import PostgresConfig
from support.site import running_site

if TYPE_CHECKING:
    from support.site import Site

pytestmark = pytest.mark.timeout(150)

ARCHIVING = (("wal_level", "replica"), ("restore_command", "false"))


async def _older_copy(site: Site) -> None:
    """Stop it as by a crash, keep a copy of its files, start it again."""
    await site.stop_postgres(signal.SIGQUIT)
    data = site.postgres.data
    await asyncio.to_thread(shutil.copytree, data, data.with_name("older"))
    await site.postgres.start()


async def _set_back(site: Site, *, promote: bool) -> None:
    """The copy takes its place; promoted, it begins a timeline of its own."""
    await site.stop_postgres(signal.SIGQUIT)
    data = site.postgres.data
    owner = data.stat()
    shutil.rmtree(data)
    data.with_name("older").rename(data)
    if promote:
        (data / "recovery.signal").touch()
    for path in (data, *data.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    await site.postgres.start()


@pytest.mark.parametrize(
    "promote",
    [
        pytest.param(False, id="set-back"),
        pytest.param(True, id="promoted", marks=pytest.mark.nightly),
    ],
)
async def test_row_37_a_store_that_lost_its_last_seconds_goes_on_with_what_runs(
    promote: bool,
) -> None:
    config = PostgresConfig(fsync=False, extra=ARCHIVING)
    async with running_site(postgres_config=config) as site:
        site.client.results.poll_first = 0.5
        works = await site.work(3, steps=40)
        await site.saved(works, 2)
        await _older_copy(site)
        copied = await _numbers(site, works)
        # What comes now is lost: checkpoints of attempts that run, and a run.
        item = EnqueueItem(new_run_id(), "quick", Raw(b"{}"), delay=3600)
        (lost,) = await site.client.submit([item])
        assert lost.recorded == "recorded"
        await site.saved(works, max(copied.values()) + 12)
        before = await _numbers(site, works)
        await _set_back(site, promote=promote)
        back = await _numbers(site, works)
        assert all(back[run] < before[run] for run in works)
        # Said to who waits for it; nobody invents a result.
        with pytest.raises(NoSuchRun, match="set back"):
            await lost.result(timeout=30)
        await site.verify(stream=False)
        for run in works:
            kinds = await site.kinds(run)
            # The attempt went on: nothing of it ran twice.
            assert kinds.count("starting") == 1
            assert "lost" not in kinds
            steps = await site.rows(
                "SELECT count(*) AS c, max(number) AS m FROM checkpoints WHERE run = $1", run
            )
            assert steps[0]["m"] <= 40
        engine, agent = site.roles[0].log, site.roles[-1].log
        assert engine.count("epochs are raised") == 1
        assert ("promoted" if promote else "set back") in engine
        assert agent.count("the store lost checkpoints") == len(works)


async def _numbers(site: Site, runs: list[str]) -> dict[str, int]:
    found = await site.rows("SELECT id, ck FROM runs WHERE id = ANY($1)", runs)
    return {r["id"]: r["ck"] for r in found}
