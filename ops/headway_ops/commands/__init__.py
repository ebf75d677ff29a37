"""The table of commands: path on the command line to function, in the order of the help text.

Functions stand in it by name: `headway ls` loads the module of `ls` and no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = {
    "up": "serve.up",
    "demo": "serve.demo",
    "engine": "serve.engine",
    "agent": "serve.agent",
    "enqueue": "give.enqueue",
    "run": "give.run",
    "ls": "look.ls",
    "show": "look.show",
    "dead": "look.dead",
    "tui": "console.tui",
    "watch": "follow.watch",
    "logs": "follow.logs",
    "trace": "follow.trace",
    "result": "follow.result",
    "cancel": "steer.cancel",
    "resume": "steer.resume",
    "ack": "steer.ack",
    "tag": "steer.tag",
    "fork": "steer.fork",
    "export": "bundles.export",
    "open": "bundles.open_",
    "replay run": "replays.run",
    "replay plan": "replays.plan",
    "replay explain": "replays.explain",
    "replay ls": "replays.ls",
    "replay status": "replays.status",
    "replay approve": "replays.approve",
    "replay hold": "replays.hold",
    "replay stop": "replays.stop",
    "replay report": "replays.report",
    "replay compare": "replays.compare",
    "advice": "look.advice",
    "metrics": "look.metrics",
    "usage": "look.usage",
    "queue ls": "steer.queue_ls",
    "queue pause": "steer.queue_pause",
    "queue resume": "steer.queue_resume",
    "queue limit": "steer.queue_limit",
    "sites": "look.sites",
    "agents": "look.agents",
    "agents drain": "steer.agents_drain",
    "check": "build.check",
    "deploy": "build.deploy",
    "image build": "build.image_build",
    "doctor": "care.doctor",
    "verify": "care.verify",
    "settings": "care.settings",
    "contexts": "care.contexts",
    "chaos": "care.chaos",
    "edge kit": "edge.kit",
    "edge backup": "edge.backup",
    "edge restore": "edge.restore",
    "edge join": "edge.join",
    "nats config": "nats.config",
    "restored": "care.restored",
    "bench": "bench.bench",
}
"""Every command; `queue ls` is `ls` in the group `queue`, `agents` the group's own."""


def function(path: str) -> Callable[..., None]:
    """The function of a command; raises ModuleNotFoundError where its module lacks a library."""
    module, _, name = TABLE[path].partition(".")
    found: Callable[..., None] = getattr(import_module(f"{__name__}.{module}"), name)
    return found
