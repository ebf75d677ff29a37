"""Creates, updates or checks the streams, consumers and buckets that `declared` names.

All through the raw JSON API. What was changed by hand shows up in `drift()`; `doctor`
prints it. Nothing is ever deleted here.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.request import urlopen

import msgspec

from headway import subjects
from headway.bus import JetStreamRefused, jsapi
from headway.errors import HeadwayError
from headway_engine.declared import (
    Config,
    Limits,
    declared,
    declared_edge,
    intake_consumer,
    work_consumer,
)

if TYPE_CHECKING:
    from nats.aio.client import Client as NatsClient

log = logging.getLogger("headway.engine.streams")

MIN_SERVER = (2, 15, 1)
"""Older servers skip fsyncs although `sync_interval: always` is set."""

_NO_STREAM = 10059
_NO_CONSUMER = 10014
_EXISTS = 10058
_NO_ROOM = 10047


class ServerTooOld(HeadwayError):
    """This nats-server is too old: install 2.15.1 or newer."""

    code = "server_too_old"


class NotDurable(HeadwayError):
    """This nats-server acknowledges before it has fsynced: set `sync_interval: always`."""

    code = "not_durable"


class WrongMode(HeadwayError):
    """This NATS keeps runs as the other mode does: start the engine in that one."""

    code = "wrong_mode"


class PayloadTooSmall(HeadwayError):
    """Messages of this NATS are too small for batches and states: set max_payload to 1MB."""

    code = "payload_too_small"


MIN_PAYLOAD = 1_000_000
"""Bytes that one message must hold: batches and bodies are cut to about 1 MiB."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `ensure_streams` found out about the NATS it talks to."""

    server: str
    """The nats-server's version."""
    durability: str
    """What *accepted* is worth: `fsynced`, `replicated` or `lazy` (DECISIONS C5)."""
    created: dict[str, str] = field(default_factory=dict[str, str])
    """Stream name to its creation time: another time = made anew, its sequences mean nothing."""
    changed: list[str] = field(default_factory=list[str])
    """What was created or updated."""


def differences(want: Config, have: Config) -> list[str]:
    """What is set differently: `max_bytes: 5, declared 10`. Fields we do not declare are free."""
    found: list[str] = []
    for key, value in want.items():
        now: Any = have.get(key)
        if isinstance(value, dict):
            inner: Config = now or {}
            now = {k: inner.get(k) for k in cast("Config", value)}
        if now != value and not (now is None and value in (False, 0, "", [])):
            found.append(f"{key}: {now!r}, declared {value!r}")
    return found


async def ensure_streams(
    nc: NatsClient,
    mode: str = "server",
    *,
    limits: Limits | None = None,
    replicas: int = 1,
    fsynced: bool | None = None,
    monitor_url: str = "",
) -> Facts:
    """Create what is missing, update what differs; repeatable, and safe with several engines.

    `fsynced`: what the operator (or the local stack that wrote the config) says about
    `sync_interval: always`; None = ask the monitoring port (`http://host:port`) if it is given.
    What nobody vouches for counts as `lazy`. Raises ServerTooOld, PayloadTooSmall, WrongMode
    (nothing is changed then: RUNS would lose what makes it the truth, or be taken for it), or
    JetStreamRefused naming the stream.

    `mode`: `server`, or `edge`, where RUNS is the truth: without `sync_interval: always` nothing is
    made there, and NotDurable is raised. What the monitoring port shows counts more than a word.
    """
    wanted = declared_edge(limits) if mode == "edge" else declared(limits, replicas)
    version = check_version(nc)
    check_payload(nc)
    if mode == "edge":
        fsynced = await _demand_fsync(nc, fsynced, monitor_url)
    if (found := await mode_of(nc)) not in ("", mode):
        set_or_not = "set edge.folder" if found == "edge" else "leave edge.folder out"
        raise WrongMode(
            f"RUNS of this NATS is that of an engine in {found} mode, and this one is in {mode}"
            f" mode: {set_or_not} in the engine's settings, or give it another NATS"
        )
    created: dict[str, str] = {}
    changed: list[str] = []
    for name, config in wanted.items():
        if "sources" in config:
            config = await _begun(nc, config)
        info = await ensure_stream(nc, name, config, changed)
        if "sources" in config:
            await _begin_again(nc, info)
        created[name] = str(info["created"])
    if what := await ensure_consumer(nc, subjects.INGEST, intake_consumer()):
        changed.append(f"{subjects.INGEST}/{subjects.INTAKE_CONSUMER}: {what}")
    if fsynced is None:
        fsynced = bool(monitor_url) and await fsyncs_always(monitor_url)
    durability = "fsynced" if fsynced else "replicated" if replicas > 1 else "lazy"
    return Facts(version, durability, created, changed)


async def _begun(nc: NatsClient, config: Config) -> Config:
    """A stream that takes from another one what comes after its own beginning.

    WORK made anew would else be given all that was ever dispatched, run after run; what it has
    lost and nobody has claimed is dispatched again by the sweep.
    """
    have = await _info(nc, f"STREAM.INFO.{config['name']}", _NO_STREAM)
    if have is not None and have["config"].get("sources"):
        return _from(config, have["config"])
    sources: list[Config] = []
    for source in config["sources"]:
        state = (await jsapi(nc, f"STREAM.INFO.{source['name']}"))["state"]
        sources.append({**source, "opt_start_seq": int(state["last_seq"]) + 1})
    return {**config, "sources": sources}


def _from(config: Config, have: Config) -> Config:
    """The declared settings, with the beginning that the stream was made with."""
    begun = {s["name"]: s.get("opt_start_seq", 0) for s in have.get("sources") or ()}
    sources = [
        {**s, "opt_start_seq": at} if (at := begun.get(s["name"], 0)) else s
        for s in config["sources"]
    ]
    return {**config, "sources": sources}


async def _begin_again(nc: NatsClient, info: Config) -> None:
    """Have a stream take from its source at once where nats-server has put that off.

    At its start it restores streams side by side. A source that is not there yet, since it is
    large, it looks for again after ten seconds, and nothing could be dispatched until then; a
    source that is new to the stream it looks for at once. Only for a stream that is empty: of
    another one nats-server does not take our word for where to go on. Interrupted, or with another
    engine at it: what is left out is dispatched again by the sweep.
    """
    config, state, sources = info["config"], info["state"], list[Config]()
    seen = {s["name"]: int(s.get("seq", 0)) for s in info.get("sources") or () if "error" in s}
    for source in config["sources"]:
        at = seen.get(source["name"], -1)
        if state["messages"] or at < 0 or (not at and state["last_seq"]):
            return
        sources.append({**source, "opt_start_seq": at + 1} if at else source)
    for each in ([], sources):
        await jsapi(nc, f"STREAM.UPDATE.{config['name']}", {**config, "sources": each})


async def mode_of(nc: NatsClient) -> str:
    """For which mode RUNS was made: server, edge, or empty without RUNS."""
    info = await _info(nc, f"STREAM.INFO.{subjects.RUNS}", _NO_STREAM)
    if info is None:
        return ""
    return "edge" if subjects.KEYS in info["config"].get("subjects", ()) else "server"


async def _demand_fsync(nc: NatsClient, fsynced: bool | None, monitor_url: str) -> bool:
    if monitor_url:
        fsynced = await fsyncs_always(monitor_url, str(getattr(nc, "server_id", "")))
    if fsynced:
        return True
    seen = (
        f"its monitoring port {monitor_url} does not show it" if monitor_url else "nobody says so"
    )
    raise NotDurable(
        f"at the edge NATS is the truth, so it must fsync before each ack, and {seen}: write"
        " `jetstream { sync_interval: always }` into its config and restart it; give the engine"
        " nats.monitor_url, so that it can see it"
    )


def check_version(nc: NatsClient) -> str:
    """The server's version; raises ServerTooOld below MIN_SERVER."""
    v = nc.connected_server_version
    text = f"{v.major}.{v.minor}.{v.patch}"
    if (v.major, v.minor, v.patch) < MIN_SERVER:
        raise ServerTooOld(
            f"nats-server {text} is too old:"
            f" install {'.'.join(map(str, MIN_SERVER))} or newer (it lost fsyncs before)"
        )
    return text


def check_payload(nc: NatsClient) -> None:
    """Raises PayloadTooSmall; the server says it anew when its config was reloaded."""
    if nc.max_payload < MIN_PAYLOAD:
        raise PayloadTooSmall(
            f"max_payload of nats-server is {nc.max_payload:,} bytes, and batches and states need"
            f" {MIN_PAYLOAD:,}: set `max_payload: 1MB` in its config and reload it"
        )


async def ensure_stream(
    nc: NatsClient, name: str, config: Config, changed: list[str]
) -> dict[str, Any]:
    """Create it, or put right what differs, noting it in `changed`; its info. Raises as `jsapi`."""
    info = await _info(nc, f"STREAM.INFO.{name}", _NO_STREAM)
    try:
        if info is None:
            changed.append(f"{name}: created")
            try:
                return await jsapi(nc, f"STREAM.CREATE.{name}", config)
            except JetStreamRefused as e:
                if e.err_code != _EXISTS:  # another engine was faster, with another setting
                    raise
                info = await jsapi(nc, f"STREAM.INFO.{name}")
        gaps = differences(config, info["config"])
        if gaps:
            changed.append(f"{name}: {'; '.join(gaps)}")
            # What an operator set and we do not declare stays.
            info = await jsapi(nc, f"STREAM.UPDATE.{name}", {**info["config"], **config})
        return info
    except JetStreamRefused as e:
        what = e.description
        if e.err_code == _NO_ROOM:
            what += (
                f": it reserves {int(config['max_bytes']) / 2**30:.1f} GiB; raise"
                " `jetstream { max_file_store }` of nats-server, or lower the stream's limit"
            )
        raise JetStreamRefused(f"stream {name}", e.status, e.err_code, what) from None


async def ensure_consumer(nc: NatsClient, stream: str, config: Config) -> str:
    """Create or update a durable consumer; what was changed, empty = nothing."""
    durable = str(config["durable_name"])
    info = await _info(nc, f"CONSUMER.INFO.{stream}.{durable}", _NO_CONSUMER)
    what = "created" if info is None else "; ".join(differences(config, info["config"]))
    if not what:
        return ""
    filtered = config.get("filter_subject", "")
    verb = f"CONSUMER.CREATE.{stream}.{durable}" + (f".{filtered}" if filtered else "")
    await jsapi(nc, verb, {"stream_name": stream, "config": config, "action": ""})
    return what


async def ensure_work_consumer(nc: NatsClient, ns: str, queue: str) -> str:
    """The queue's consumer, made if it is not there; its name."""
    config = work_consumer(ns, queue)
    await ensure_consumer(nc, subjects.WORK, config)
    return str(config["durable_name"])


async def oldest(nc: NatsClient, stream: str) -> datetime | None:
    """When the oldest message of a stream arrived; None = it is empty. Raises as `jsapi`."""
    state = (await jsapi(nc, f"STREAM.INFO.{stream}"))["state"]
    return datetime.fromisoformat(state["first_ts"]) if state["messages"] else None


async def waiting(nc: NatsClient, stream: str) -> int:
    """How many messages a stream holds. Raises as `jsapi`."""
    return int((await jsapi(nc, f"STREAM.INFO.{stream}"))["state"]["messages"])


async def drift(nc: NatsClient) -> list[str]:
    """What is declared and what is there: every difference, for `doctor`. Changes nothing."""
    found: list[str] = []
    edge = await mode_of(nc) == "edge"
    wanted = declared_edge() if edge else declared()
    for name, config in wanted.items():
        info = await _info(nc, f"STREAM.INFO.{name}", _NO_STREAM)
        if info is None:
            found.append(f"{name}: missing")
        else:
            if "sources" in config:
                config = _from(config, info["config"])
            if edge and name == subjects.RUNS:  # the engine's setting edge.runs_bytes
                config = {**config, "max_bytes": info["config"]["max_bytes"]}
            found += [f"{name}: {d}" for d in differences(config, info["config"])]
    verb = f"CONSUMER.INFO.{subjects.INGEST}.{subjects.INTAKE_CONSUMER}"
    try:
        info = await _info(nc, verb, _NO_CONSUMER)
    except JetStreamRefused:
        info = None
    where = f"{subjects.INGEST}/{subjects.INTAKE_CONSUMER}"
    if info is None:
        found.append(f"{where}: missing")
    else:
        found += [f"{where}: {d}" for d in differences(intake_consumer(), info["config"])]
    return found


async def _info(nc: NatsClient, verb: str, absent: int) -> dict[str, Any] | None:
    try:
        return await jsapi(nc, verb)
    except JetStreamRefused as e:
        if e.err_code == absent:
            return None
        raise


async def fsyncs_always(monitor_url: str, server_id: str = "") -> bool:
    """True if the monitoring port shows `sync_interval: always`.

    There is no other way to see it: without that port *accepted* counts as `lazy`.
    """
    jetstream = await shown_jetstream(monitor_url, server_id)
    return bool(jetstream and jetstream["config"].get("sync_always"))


async def shown_jetstream(monitor_url: str, server_id: str = "") -> dict[str, Any] | None:
    """JetStream's `config` and `stats`, by the monitoring port; None if it does not show them.

    `server_id`: of the server that is meant; the port of another one says nothing about it.
    """
    try:
        body = await asyncio.to_thread(_read, f"{monitor_url}/varz")
        varz = msgspec.json.decode(body, type=dict[str, Any])
        if server_id and varz["server_id"] != server_id:
            log.warning("the monitoring port %s is that of another nats-server", monitor_url)
            return None
        found: dict[str, Any] = varz["jetstream"]
        return found if found.get("config") else None
    except (OSError, ValueError, KeyError) as e:
        log.warning("no answer of the monitoring port %s: %s", monitor_url, e)
        return None


def _read(url: str) -> bytes:
    with urlopen(url, timeout=2) as answer:  # noqa: S310 - an operator's setting
        return answer.read()
