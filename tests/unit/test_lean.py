"""What a process of an edge loads: nothing that it has no use for there."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "aioboto3", "aiohttp", "asyncpg", "boto3", "botocore", "cryptography", "docker", "grpc",
    "opentelemetry", "prometheus_client", "requests", "textual", "urllib3",
)  # fmt: skip
LOADS = {
    "up": "headway_ops.commands.serve, headway_ops.local.up",
    "engine": "headway_ops.serving, headway_engine.assembly, headway_engine.store.edge",
    "agent": "headway_ops.serving, headway_engine.assembly_agent, headway_engine.runtime.process",
    "client": "headway.client",
}


@pytest.mark.parametrize("process", LOADS)
def test_a_process_of_an_edge_loads_nothing_heavy(process: str) -> None:
    script = (
        f"import sys, {LOADS[process]}\n"
        f"print(*(m for m in {HEAVY} if sys.modules.get(m) is not None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == ""


def test_what_needs_websockets_can_have_them_still() -> None:
    script = (
        "import headway.client\n"
        "from headway.natspy import with_websockets\n"
        "with_websockets()\n"
        "from nats.aio.transport import WebSocketTransport\n"
        "import asyncio\n"
        "async def main():\n"
        "    await WebSocketTransport()._client.close()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_engine_loads_no_agent_and_an_agent_no_engine() -> None:
    for process, foreign in (
        ("engine", "headway_engine.agent.service"),
        ("agent", "headway_engine.wiring"),
    ):
        script = f"import sys, {LOADS[process]}\nprint({foreign!r} in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout.strip() == "False", process
