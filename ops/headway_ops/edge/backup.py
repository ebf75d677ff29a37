"""`headway edge backup|restore`: everything that an edge cannot make again, as files in a folder.

    DIR/INGEST.snapshot ...      one for each stream
    DIR/manifest.json            what each of them must be; written last: without it it is no backup

A backup is taken beside a running system. The order makes the parts fit: an enqueue leaves INGEST
when it stands in RUNS, and a body stands in the blobs before RUNS speaks of it; so INGEST is taken
before RUNS, and the blobs after it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from headway import bus, subjects
from headway._version import __version__
from headway.bus import jsapi
from headway.config import from_environment
from headway_engine.streams import mode_of
from headway_ops import link, say
from headway_ops.checks.engines import beating
from headway_ops.edge.snapshots import put, stream_info, take
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.stack import EDGE_DOMAIN
from headway_ops.local.state import StateDir
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headway.bus import Connection

FORMAT = 1
MANIFEST = "manifest.json"
TRUTH = (subjects.INGEST, f"KV_{subjects.SETTINGS_BUCKET}", subjects.RUNS)
"""What is kept, in this order; then the object stores, whatever `blobs.bucket` calls them."""


class Part(Struct):
    """One stream of a backup."""

    stream: str
    bytes: int
    """Of its file."""
    sha256: str
    messages: int
    described: dict[str, Any]
    """Its configuration and state, as the server gave them."""


class Manifest(Struct):
    """What a backup holds."""

    format: int
    version: str
    nats: str
    at: datetime
    parts: list[Part]


def backup(folder: str, *, as_json: bool) -> None:
    """Write a backup into a new or empty folder."""
    say.quiet_library()
    manifest = asyncio.run(_backup(Path(folder)))
    if as_json:
        say.data(manifest)
    else:
        size = sum(part.bytes for part in manifest.parts)
        say.tell(f"{folder}: {size / 2**20:,.1f} MiB, {_counted(manifest)}")


def restore(folder: str, state_dir: str, *, as_json: bool) -> None:
    """Put a backup into a NATS that holds no runs; into that of `state_dir` if one is given."""
    say.quiet_library()
    manifest = asyncio.run(_restore(Path(folder), Path(state_dir) if state_dir else None))
    if as_json:
        say.data(manifest)
    else:
        say.tell(f"restored from {manifest.at:%Y-%m-%d %H:%M:%S} UTC: {_counted(manifest)}")


def _counted(manifest: Manifest) -> str:
    return ", ".join(f"{part.stream} {part.messages:,}" for part in manifest.parts)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise Fail(f"{folder} is not empty", "name a new folder for each backup", Exit.REFUSED)
    except OSError as e:
        raise Fail(f"cannot make {folder}: {e.strerror}", "name another one", Exit.USAGE) from None


async def _backup(folder: Path) -> Manifest:
    await asyncio.to_thread(_make, folder)
    nc = await bus.connect(settings := from_environment(), kind="client", ident=settings.user)
    try:
        if await mode_of(nc) != "edge":
            raise Fail(f"{link.asked(settings)} is no edge: its runs are not kept there",
                       "ops/README.md, Back up: Postgres", Exit.REFUSED)  # fmt: skip
        parts = [
            await _save(nc, stream, folder / f"{stream}.snapshot")
            for stream in (*TRUTH, *await buckets(nc))
        ]
        v = nc.connected_server_version
        manifest = Manifest(
            FORMAT, __version__, f"{v.major}.{v.minor}.{v.patch}", datetime.now(UTC), parts
        )
    finally:
        await nc.close()
    _write(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    _sync(folder)
    return manifest


async def _save(nc: Connection, stream: str, path: Path) -> Part:
    described, chunks = await take(nc, stream)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        async for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    messages = int(described["state"]["messages"])
    return Part(stream, size, digest.hexdigest(), messages, described)


def read(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all whole; Fail says what is wrong with it."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise Fail(f"{folder} holds no backup: {MANIFEST} is missing",
                   "a backup that was not finished has none", Exit.REFUSED) from None  # fmt: skip
    except (OSError, msgspec.DecodeError) as e:
        raise Fail(f"{folder / MANIFEST}: {e}", "take another backup", Exit.REFUSED) from None
    if manifest.format > FORMAT:
        raise Fail(f"{folder} has format {manifest.format}; this Headway reads up to {FORMAT}",
                   "restore with the newer Headway that made it", Exit.REFUSED)  # fmt: skip
    for part in manifest.parts:
        path = folder / f"{part.stream}.snapshot"
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as e:
            raise Fail(f"{path}: {e.strerror}", "take another backup", Exit.REFUSED) from None
        if found != part.sha256:
            raise Fail(f"{path} is damaged: it is not what was written",
                       "take another backup; nothing was restored", Exit.REFUSED)  # fmt: skip
    return manifest


async def _restore(folder: Path, state_dir: Path | None) -> Manifest:
    manifest = await asyncio.to_thread(read, folder)
    if state_dir is None:
        await _into(from_environment().nats_url, folder, manifest)
        return manifest
    state = StateDir(state_dir, "edge")
    state.open()
    server = NatsServer(state.folder("nats"), NatsConfig(domain=EDGE_DOMAIN))
    try:
        await server.start()
        await _into(server.url, folder, manifest)
    finally:
        await server.stop()
        state.close()
    return manifest


async def _into(url: str, folder: Path, manifest: Manifest) -> None:
    settings = replace(from_environment(), nats_url=url)
    nc = await bus.connect(settings, kind="client", ident=settings.user)
    try:
        if beats := await beating(nc):
            names = ", ".join(sorted(beat.engine for beat in beats))
            raise Fail(f"an engine runs on {settings.shown_url}: {names}",
                       "stop engines and agents first", Exit.REFUSED)  # fmt: skip
        await _clear(nc, settings.shown_url)
        for part in manifest.parts:
            await put(nc, part.stream, part.described, _chunks(folder / f"{part.stream}.snapshot"))
    finally:
        await nc.close()


async def buckets(nc: Connection) -> list[str]:
    """The streams of all object stores there."""
    answer = await jsapi(nc, "STREAM.NAMES", {"subject": "$O.*.>"})
    names: list[str] = answer.get("streams") or []
    return sorted(name for name in names if name.startswith("OBJ_"))


async def _clear(nc: Connection, url: str) -> None:
    """Take away empty streams, which an engine made at its start; Fail if one is not empty."""
    there: list[str] = []
    for stream in (*TRUTH, *await buckets(nc), subjects.WORK):
        info = await stream_info(nc, stream)
        if info is None:
            continue
        if int(info["state"]["last_seq"]):
            what = f"{url} holds runs of its own: {stream} is not empty"
            raise Fail(what, "restore into a nats-server with a fresh store_dir", Exit.REFUSED)
        there.append(stream)
    for stream in there:  # WORK too: it takes what it has from RUNS, anew
        await jsapi(nc, f"STREAM.DELETE.{stream}")


async def _chunks(path: Path) -> AsyncGenerator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, 128 * 1024):
            yield chunk


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
