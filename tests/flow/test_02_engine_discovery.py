"""The api is found and counted as a NATS micro service: raw requests as `nats micro` sends."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from headway import subjects
from headway._version import __version__
from headway_engine.counters import COUNTED
from support.engines import Caller, calling, config_for, running_engine
from support.wait import until

if TYPE_CHECKING:
    from nats.aio.msg import Msg


async def asked(caller: Caller, subject: str) -> dict[str, Any]:
    """The first answer."""
    return json.loads((await caller.nc.request(subject, b"", timeout=5)).data)


async def test_every_engine_answers_a_ping_and_can_be_asked_by_its_id(
    nats: str, database: str
) -> None:
    async with (
        running_engine(config_for(nats, database, id="e1")),
        running_engine(config_for(nats, database, id="e2")),
        calling(nats) as caller,
    ):
        found: list[dict[str, Any]] = []

        async def hear(msg: Msg) -> None:
            found.append(json.loads(msg.data))

        for subject in ("$SRV.PING", "$SRV.PING.headway"):
            found.clear()
            inbox = caller.nc.new_inbox()
            sub = await caller.nc.subscribe(inbox, cb=hear)
            await caller.nc.publish(subject, b"", reply=inbox)
            await until(lambda: len(found) == 2, what=subject)
            await sub.unsubscribe()
            assert {p["id"] for p in found} == {"e1", "e2"}
        assert found[0] | {"id": ""} == {
            "type": "io.nats.micro.v1.ping_response",
            "name": "headway",
            "id": "",
            "version": __version__,
            "metadata": {},
        }
        assert (await asked(caller, "$SRV.PING.headway.e2"))["id"] == "e2"


async def test_info_names_an_endpoint_per_verb_on_its_subject(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database, id="e1")), calling(nats) as caller:
        info = await asked(caller, "$SRV.INFO.headway.e1")
        assert info["type"] == "io.nats.micro.v1.info_response"
        endpoints = {e["name"]: e for e in info["endpoints"]}
        assert {"runs", "cancel", "queue-set", "info"} <= endpoints.keys()
        for name, endpoint in endpoints.items():
            assert endpoint["queue_group"] == subjects.ENGINE_QUEUE
            # What is shown is what answers.
            subject = endpoint["subject"].replace("*", "default", 1).replace("*", caller.user, 1)
            answer = json.loads((await caller.nc.request(subject, b"{}", timeout=5)).data)
            assert (answer.get("error") or {}).get("code") != "not_served", name


async def test_stats_count_requests_errors_and_time_by_verb(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database, id="e1")), calling(nats) as caller:
        for _ in range(3):
            await caller.api("agents")
        assert (await caller.api_raw("run", {"run": "?"})).error is not None
        assert (await caller.api_raw("dance")).error is not None
        stats = await asked(caller, "$SRV.STATS.headway.e1")
        assert stats["type"] == "io.nats.micro.v1.stats_response"
        by_name = {e["name"]: e for e in stats["endpoints"]}
        agents, run = by_name["agents"], by_name["run"]
        assert (agents["num_requests"], agents["num_errors"], agents["last_error"]) == (3, 0, "")
        assert agents["average_processing_time"] == agents["processing_time"] // 3 > 0
        assert (run["num_requests"], run["num_errors"]) == (1, 1)
        assert run["last_error"].startswith("bad_request: run:")
        assert "dance" not in by_name


async def test_stats_say_what_was_refused_and_repeated(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database, id="e1")), calling(nats) as caller:
        await caller.deploy()
        first = await caller.enqueue(key="k")
        assert (await caller.enqueue(key="k")).winner == first.run
        assert (await caller.enqueue(run=first.run, key="k")).outcome == "recorded"
        assert (await caller.enqueue(payload=b'{"other":1}', key="k")).code == "key_conflict"
        counted = (await asked(caller, "$SRV.STATS.headway.e1"))["metadata"]
        assert counted.keys() == COUNTED.keys()
        seen = {name: number for name, number in counted.items() if number != "0"}
        assert seen == {"duplicate_enqueue": "1", "duplicate_delivery": "1", "key_conflict": "1"}


async def test_discovery_answers_inboxes_only(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database, id="e1")) as engine, calling(nats) as c:
        heard: list[Msg] = []

        async def hear(msg: Msg) -> None:
            heard.append(msg)

        await c.nc.subscribe("hw.wake.test", cb=hear)
        await c.nc.publish("$SRV.INFO.headway", b"", reply="hw.wake.test")
        await asked(c, "$SRV.INFO.headway")
        await asyncio.gather(*(s.passed.next() for s in engine.services if s.name == "beat"))
        assert heard == []
