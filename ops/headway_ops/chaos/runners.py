"""The runners of an agent, found from outside: process records on disk, or labelled containers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

OWNER_LABEL = "headway.owner"
"""The label of a runner's container that names its agent: `<namespace>.<agent>`."""


class Runner(NamedTuple):
    """One runner: its name and the process that a signal goes to."""

    name: str
    pid: int


def process_runners(state_dir: Path) -> list[Runner]:
    """Live runners of the process runtime, by the records that an agent keeps for the next one."""
    found: list[Runner] = []
    for path in sorted(state_dir.glob("runners/*/record.json")):
        try:
            record: dict[str, Any] = json.loads(path.read_bytes())
            pid, start = int(record["pid"]), int(record["start"])
        except (OSError, ValueError, KeyError):
            continue  # it is being written or removed
        # A pid alone can belong to somebody else by now.
        if start and start == start_ticks(pid):
            found.append(Runner(path.parent.name, pid))
    return found


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 if there is none, or a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])


def container_runners(owner: str, *, ended: bool = False) -> list[Runner]:
    """Containers of an agent that live (with `ended` all: pid 0 = it has ended).

    Asks the local Docker engine, blocking; raises Fail without one.
    """
    from headway_ops.deploying import docker_client

    api, found = docker_client(), list[Runner]()
    try:
        for row in api.containers(all=ended, filters={"label": f"{OWNER_LABEL}={owner}"}):
            try:
                state: dict[str, Any] = api.inspect_container(row["Id"])
            except Exception:  # noqa: S112 - removed meanwhile
                continue
            pid = int(state["State"]["Pid"])
            if pid or ended:
                found.append(Runner(str(row["Id"])[:12], pid))
    finally:
        api.close()
    return sorted(found)
