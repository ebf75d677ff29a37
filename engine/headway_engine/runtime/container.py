"""What a runner's container is created with: the hardening profile. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway.wire import PROTOCOL

if TYPE_CHECKING:
    from headway_engine.runtime import RunnerSpec

LABEL = "headway."
CHANNEL_AT = "/run/hw"
"""Where a container finds the folder of its socket."""
SOURCE_AT = "/app"
"""Where it finds a development folder."""


def config_of(spec: RunnerSpec, image: str, network: str, directory: str) -> dict[str, Any]:
    """The body of `POST /containers/create`: the hardening profile, and nothing from users.

    `network` is a mode or a network's id, `directory` the channel's folder as the daemon sees it.
    The token of a TCP channel is not in it, since `docker inspect` shows this: it comes on stdin.
    """
    tcp = bool(spec.grant.address)
    # A socket on a read-only mount can be dialled; nothing can be left beside it on the host.
    binds = [] if tcp else [f"{directory}:{CHANNEL_AT}:ro"]
    if tcp:
        channel = [
            f"HEADWAY_CHANNEL=tcp:{spec.grant.address}",
            "HEADWAY_CHANNEL_TOKEN_FD=0",
            f"HEADWAY_CHANNEL_CERT={spec.grant.certificate}",
        ]
    else:
        channel = [f"HEADWAY_CHANNEL=unix:{CHANNEL_AT}/s.sock"]
    if spec.source:
        binds.append(f"{spec.source}:{SOURCE_AT}:ro")
    labels = {
        "owner": spec.owner,
        "name": spec.name,
        "key": spec.key,
        "directory": spec.grant.directory,
        "image": image,
        "protocol": str(PROTOCOL),
        "created": str(spec.created_ms),
        "source": spec.source,
    }
    return {
        "Image": image,
        "Cmd": ["python3", *(spec.command or ("-m", "headway.runner"))],
        "Env": [
            *channel,
            "PYTHONUNBUFFERED=1",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONFAULTHANDLER=1",
        ],
        "User": "1000:1000",
        "OpenStdin": tcp,
        "StdinOnce": tcp,
        "Labels": {LABEL + k: v for k, v in labels.items()},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            "IpcMode": "private",
            "Memory": spec.limits.memory,
            "MemorySwap": spec.limits.memory,
            "NanoCpus": int(spec.limits.cpus * 1e9),
            "PidsLimit": spec.limits.pids,
            "OomScoreAdj": 500,
            "Ulimits": [
                {"Name": "nofile", "Soft": 1024, "Hard": 1024},
                # The host's handler of core dumps is none of a task's business.
                {"Name": "core", "Soft": 0, "Hard": 0},
            ],
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
            "NetworkMode": network,
            "Binds": binds,
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": "64k", "max-file": "1"},
            },
        },
    }
