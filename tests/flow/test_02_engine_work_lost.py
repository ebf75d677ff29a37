"""WORK acknowledges before it writes: a killed nats-server may forget what it was given."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from nats.errors import Error as NatsError

from headway import subjects
from headway.bus import jsapi
from support.scripted_agent import finish
from support.stacks import stack
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

    from headway_ops.local.nats import NatsServer

pytestmark = pytest.mark.timeout(240)


def messages(server: NatsServer) -> Path:
    """Where WORK's messages lie, while the server stands."""
    (found,) = server.directory.glob(f"store/**/streams/{subjects.WORK}/msgs")
    return found


async def test_work_that_a_nats_server_forgot_is_given_out_again(
    nats_server: NatsServer, database: str, tmp_path: Path
) -> None:
    async with stack(nats_server.url, database) as (_, caller, agent):
        agent.script = finish()
        await agent.start()
        await caller.end((await caller.enqueue()).run)

        async def serves() -> bool:
            try:
                return bool(await caller.api("info"))
            except (NatsError, AssertionError):
                return False

        await agent.stop()  # it lives on, and pulls nothing
        await nats_server.stop()
        place = messages(nats_server)
        shutil.copytree(place, tmp_path / "msgs")
        await nats_server.start()
        await until(serves, what="the engine is back")
        run = (await caller.enqueue()).run

        async def given() -> bool:
            info = await jsapi(caller.nc, f"STREAM.INFO.{subjects.WORK}")
            return int(info["state"]["messages"]) == 1

        await until(given, what="the run lies in WORK")
        await nats_server.stop()
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "msgs", place)
        await nats_server.start()
        await until(serves, what="the engine is back")
        await agent.start()
        # The consumer's ack floor never reaches a number that nobody delivers.
        await until(lambda: run in caller.ended, 20, what="the run's end")
