"""Which way runners reach an agent: the order, what is refused, and what the message says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from headway_engine.agent.config import AgentConfig
from headway_engine.agent.ways import Chosen, NoWay, choose, remember, remembered
from headway_engine.runtime import Way
from headway_engine.runtime.reach import bind_for, can_bind, elsewhere

if TYPE_CHECKING:
    from headway_engine.runtime import Runtime

CLOSED = Way("10.0.0.1", "10.0.0.1", "channel")
OPEN = Way("10.0.0.2", "10.0.0.2", "egress", opens=True)


class Host:
    """A machine where some ways work."""

    def __init__(self, *works: Way, unix: bool = False) -> None:
        self.works, self.unix = works, unix
        self.asked: list[str] = []

    async def reach(self, folder: Path) -> str:
        """Sockets."""
        self.asked.append("unix")
        return "" if self.unix else "no such file"

    async def ways(self, address: str) -> list[Way]:
        """Both, in the wrong order."""
        return [Way(address, address)] if address else [OPEN, CLOSED]

    async def reach_tcp(self, way: Way, port: int) -> str:
        """One address."""
        self.asked.append(f"{way.dial}:{port}")
        return "" if way in self.works else "refused"


async def chosen(host: Host, last: Chosen | None = None, **options: object) -> Chosen:
    config = AgentConfig(state_dir="s", **options)  # pyright: ignore[reportArgumentType]
    runtime = cast("Runtime", host)
    return await choose(config, runtime, Path("s/ch"), last or Chosen())


async def test_sockets_come_first_and_nothing_else_is_tried():
    host = Host(CLOSED, unix=True)
    assert await chosen(host) == Chosen()
    assert host.asked == ["unix"]


async def test_without_sockets_the_network_that_leads_nowhere_is_preferred():
    host = Host(CLOSED, OPEN)
    assert (await chosen(host)).way == CLOSED
    assert host.asked == ["unix", "10.0.0.1:0"]


async def test_a_network_with_access_to_the_outside_needs_a_word_of_the_operator():
    with pytest.raises(NoWay, match="open_network = true"):
        await chosen(Host(OPEN))
    assert (await chosen(Host(OPEN), open_network=True)).way == OPEN


async def test_sockets_alone_means_no_tcp():
    host = Host(CLOSED)
    with pytest.raises(NoWay, match="host_channel_dir"):
        await chosen(host, channel="unix")
    assert host.asked == ["unix"]


async def test_tcp_alone_means_no_sockets():
    assert (await chosen(Host(CLOSED, unix=True), channel="tcp")).way == CLOSED


async def test_where_nothing_works_the_message_has_what_was_tried_and_what_to_do():
    with pytest.raises(NoWay) as e:
        await chosen(Host(), channel_port=7000)
    for part in (
        "channel_address",
        "channel_port",
        "unix sockets: no such file",
        "TCP to 10.0.0.1",
    ):
        assert part in str(e.value)


async def test_the_way_of_living_runners_comes_first_with_its_port():
    host = Host(CLOSED, OPEN, unix=True)
    last = Chosen(OPEN, 4711)
    assert await chosen(host, last, open_network=True) == last
    assert host.asked == ["10.0.0.2:4711"]


async def test_a_way_that_is_no_more_is_no_reason_not_to_start():
    host = Host(unix=True)
    assert (await chosen(host, Chosen(CLOSED, 4711))).way is None


async def test_a_named_address_is_the_only_one_that_is_tried():
    named = Way("host.example", "host.example")
    host = Host(named)
    assert (await chosen(host, channel_address="host.example")).way == named
    assert host.asked == ["unix", "host.example:0"]


def test_a_decision_is_kept_and_a_damaged_one_is_none(tmp_path: Path):
    assert remembered(tmp_path) == Chosen()
    remember(tmp_path, Chosen(CLOSED, 80))
    assert remembered(tmp_path) == Chosen(CLOSED, 80)
    (tmp_path / "channel.json").write_text("{")
    assert remembered(tmp_path) == Chosen()


@pytest.mark.parametrize(
    ("url", "system", "why"),
    [
        ("unix:///var/run/docker.sock", "Debian", ""),
        ("tcp://10.1.2.3:2376", "Debian", "another host"),
        ("ssh://me@there", "Debian", "another host"),
        ("unix:///home/me/.docker/desktop/docker.sock", "Docker Desktop", "virtual machine"),
    ],
)
def test_without_an_image_the_engine_says_where_it_is(url: str, system: str, why: str):
    assert why in elsewhere(url, system)
    assert bool(why) == bool(elsewhere(url, system))


def test_an_address_of_ours_is_listened_on_and_another_one_everywhere():
    assert can_bind("127.0.0.1")
    assert not can_bind("192.0.2.7")
    assert bind_for("127.0.0.1") == "127.0.0.1"
    assert bind_for("192.0.2.7") == "0.0.0.0"
    assert bind_for("2001:db8::7") == "::"
