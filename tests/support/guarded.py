"""A nats-server with the users that `headway nats config` writes, TLS on."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from headway import nkeys
from headway.config import Settings, from_environment
from headway_ops.access import write
from headway_ops.local.ports import free_port
from headway_ops.local.process import Process, find_binary
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


def clean() -> dict[str, str]:
    """The environment without a developer's own settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("HEADWAY_")}


@dataclass
class Guarded:
    """The server, and the credentials of everybody."""

    folder: Path
    wanted: write.Wanted
    written: write.Written
    port: int
    process: Process

    @property
    def log(self) -> Path:
        """Of the server."""
        return self.folder / "nats.log"

    def environment(self, name: str) -> dict[str, str]:
        """The variables that were written for a principal."""
        lines = self.written.environments[name].read_text().splitlines()
        return {k: v for k, _, v in (line.partition("=") for line in lines)}

    def settings(self, name: str) -> Settings:
        """Of a client, viewer or operator."""
        return from_environment(self.environment(name))

    def key(self, file: str) -> nkeys.Key:
        """Whatever principal, by its seed's file: `engine-answers`, `agent.default.a1`, `app`."""
        path = self.written.conf.parent / "keys" / f"{file}.seed"
        return nkeys.read(str(path)).key

    def tls(self) -> ssl.SSLContext:
        """Trusts the server."""
        return ssl.create_default_context(cafile=self.wanted.folder / "tls" / "ca.pem")

    @property
    def reloads(self) -> int:
        """How often the server has read its configuration again."""
        return self.log.read_text().count("Reloaded server configuration")

    def violations(self) -> list[str]:
        """What the server has refused."""
        return [line for line in self.log.read_text().splitlines() if "Violation" in line]

    async def rewrite(self, **changes: tuple[str, ...]) -> None:
        """Write the configuration anew, for other users, and have the server take it."""
        self.wanted = replace(self.wanted, **changes)  # pyright: ignore[reportArgumentType]
        self.written = write.write(self.wanted)
        # Twice, as the runbook says: a new account's imports work from the second one on.
        for _ in range(2):
            before = self.reloads
            os.kill(self.process.pid, signal.SIGHUP)
            await until(
                lambda before=before: self.reloads > before,
                what="nats-server takes the new configuration",
            )


@asynccontextmanager
async def guarded(folder: Path, wanted: write.Wanted | None = None) -> AsyncGenerator[Guarded]:
    """A running one; without `wanted`: default/a1, app, web (viewer) and ann (operator)."""
    port = free_port()
    asked = wanted or write.Wanted(
        folder / "nats", agents=("a1",), clients=("app",), viewers=("web",), operators=("ann",)
    )
    asked = replace(
        asked,
        self_signed=True,
        server=replace(
            asked.server,
            listen=f"127.0.0.1:{port}",
            store_dir=str(folder / "js"),
            max_store="10GB",
        ),
    )
    made = Guarded(
        folder, asked, write.write(asked), port, Process("nats-server", folder / "nats.log")
    )
    made.log.unlink(missing_ok=True)
    made.process.spawn([find_binary("nats-server", ""), "-c", str(made.written.conf)])

    def ready() -> bool:
        return made.log.exists() and "Server is ready" in made.log.read_text()

    try:
        await made.process.until(ready, 10)
        yield made
    finally:
        made.process.kill()


async def headway(folder: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """One command, in the folder."""
    return await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "headway_ops", *words],
        capture_output=True, text=True, cwd=folder, timeout=60, check=False,
        env={**clean(), **env},
    )  # fmt: skip
