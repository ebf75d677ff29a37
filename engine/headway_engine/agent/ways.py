"""How runners reach this agent: unix sockets, or TCP at some address. Found out, not guessed.

At each start probe containers try the ways in order; while runners of the last start live, its way
first: a restart within the lease must come back to the port and the address that they know.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headway.errors import HeadwayError
from headway.wire import encode
from headway_engine.agent.certificate import own_certificate
from headway_engine.agent.sockets import TcpEndpoints, UnixEndpoints, is_loopback
from headway_engine.runtime import Way

if TYPE_CHECKING:
    from pathlib import Path

    from headway_engine.agent.config import AgentConfig
    from headway_engine.agent.conns import Endpoints
    from headway_engine.runtime import Runtime

log = logging.getLogger("headway.agent")

FILE = "channel.json"
CHANNELS = "ch"
"""The folder of all sockets, in the state folder."""


class NoWay(HeadwayError):
    """Runners do not reach this agent."""

    code = "no_way"


class Chosen(Struct, frozen=True):
    """What was decided: `way` None = unix sockets."""

    way: Way | None = None
    port: int = 0


_CHOSEN = msgspec.json.Decoder(Chosen)


def remembered(state: Path) -> Chosen:
    """The decision of the last start, or that of a first one."""
    try:
        return _CHOSEN.decode((state / FILE).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return Chosen()


def remember(state: Path, chosen: Chosen) -> None:
    """For the next start; a crash in the middle keeps the earlier one."""
    new = (state / FILE).with_suffix(".new")
    new.write_bytes(encode(chosen))
    new.replace(state / FILE)


def in_order(ways: list[Way], last: Way | None) -> list[Way]:
    """The last one first if it is still there; those that keep `none` closed before others."""
    ordered = sorted(ways, key=lambda w: w.opens)
    return sorted(ordered, key=lambda w: w != last)


async def choose(config: AgentConfig, runtime: Runtime, channels: Path, last: Chosen) -> Chosen:
    """The way that works now; raises NoWay with what was tried and what to do."""
    tried: list[str] = []
    if config.channel != "tcp" and (config.channel == "unix" or last.way is None):
        if not (why := await runtime.reach(channels)):
            return Chosen(port=last.port)
        if config.channel == "unix":
            raise NoWay(
                f"containers do not reach this agent's sockets: {why}. The agent must run on the"
                " host of the Docker engine; in a container, mount its channel directory from that"
                ' host and name it in agent.host_channel_dir; or set agent.channel = "tcp"'
            )
        tried.append(f"unix sockets: {why}")
    port = config.channel_port or last.port
    for way in in_order(await runtime.ways(config.channel_address), last.way):
        if why := await runtime.reach_tcp(way, port):
            tried.append(f"TCP to {way.dial}: {why}")
        elif way.opens and not config.open_network:
            raise NoWay(
                f"containers reach this agent at {way.dial} alone, from a network with access to"
                " the outside, so tasks with network `none` would have it too. Allow that with"
                " agent.open_network = true, or run the agent on the host of the Docker engine"
                f" ({'; '.join(tried)})"
            )
        else:
            return Chosen(way, port)
    if config.channel == "auto" and last.way is not None:
        # The last start's TCP does not work any more: the host may have changed.
        return await choose(config, runtime, channels, Chosen(port=last.port))
    raise NoWay(
        "containers do not reach this agent: name an address of this host that they can dial in"
        f" agent.channel_address, and let its firewall pass agent.channel_port ({'; '.join(tried)})"
    )


async def open_endpoints(
    config: AgentConfig, runtime: Runtime, state: Path, *, keep: bool
) -> Endpoints:
    """Decide, listen and remember; raises NoWay, BadEndpoint, NoCertificate, RuntimeUnavailable.

    `keep`: runners of the last start live, so its way is tried first.
    """
    channels = state / CHANNELS
    unix = UnixEndpoints(channels)
    # The probe puts its socket there.
    await unix.start()
    last = remembered(state)
    if not keep:
        last = Chosen(port=last.port)
    chosen = await choose(config, runtime, channels, last)
    if chosen.way is None:
        remember(state, chosen)
        return unix
    await unix.close()
    way = chosen.way
    tls = None if is_loopback(way.dial) else own_certificate(state)
    endpoints = TcpEndpoints(way, chosen.port, tls)
    try:
        await endpoints.start()
    except OSError as e:
        if config.channel_port:
            raise NoWay(
                f"cannot listen on {way.bind} port {config.channel_port} (agent.channel_port): {e}"
            ) from e
        # Somebody has the port of the last start: living runners are lost, new ones work.
        endpoints = TcpEndpoints(way, 0, tls)
        await endpoints.start()
    remember(state, replace(chosen, port=endpoints.port))
    log.info(
        "containers dial %s:%d%s", way.dial, endpoints.port,
        ", in a network with access to the outside" if way.opens else "",
    )  # fmt: skip
    return endpoints
