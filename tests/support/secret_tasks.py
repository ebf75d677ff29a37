"""Tasks that do with their secrets what careless code does."""

# ruff: noqa: ASYNC240, T201 - output is what they are for
from __future__ import annotations

import base64
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from headway import Retry, checkpoint, once, step, task

if TYPE_CHECKING:
    from headway.tasks import Task

NAMES = ("H_TOKEN", "H_PASSWORD", "H_KEY")


class LeakError(Exception):
    """With a secret in its message."""


def leaks(value: str) -> None:
    """A function whose failure is recorded."""
    raise LeakError(f"cannot log in with {value}")


def leak_everywhere(value: str) -> None:
    """Every way to print it that we know people have."""
    data = value.encode()
    for lead in ("", "u:", "ab"):
        text = base64.b64encode(lead.encode() + data).decode()
        print("Authorization: Basic", text)
        print(base64.urlsafe_b64encode(lead.encode() + data).decode())
    print(f"https://x/?key={quote(value, safe='')}&k2={quote_plus(value)}")
    print(f"before{value}after", value, value)
    logging.getLogger("app").warning("token=%s", value)
    print("to stderr:", value, file=sys.stderr)
    subprocess.run(["/bin/sh", "-c", 'echo "a child says $H_TOKEN"'], check=True)
    half = len(value) // 2
    os.write(1, b"\nsplit over writes: " + data[:half])
    time.sleep(0.15)  # longer than lines wait for more
    os.write(1, data[half:] + b"\n")
    # Cut where a line of the runner ends: at 16 KiB.
    os.write(1, b"x" * (16 * 1024 - half) + data + b"\n")
    # And where a chunk of the agent ends: at 64 KiB.
    for pad in range(60, 70):
        os.write(1, b"y" * 1023 + b"\n")
        os.write(1, b"z" * pad + data + b"\n")


@task(secrets=NAMES, retry=Retry(max_attempts=1))
async def s_leaks(gate: str) -> None:
    """All of them, then it fails with one."""
    values = [os.environ[n] for n in NAMES]
    await checkpoint("knows", {"secrets": len(values)})
    for value in values:
        for part in value.splitlines()[:2]:
            leak_everywhere(part)
    for kind, verb in (("s", step), ("o", once)):
        try:
            await verb(f"{kind}-leak", leaks, values[0])
        except LeakError:
            print("as expected")
    while gate and not Path(gate).exists():
        time.sleep(0.05)  # noqa: ASYNC251 - nothing else runs here
    raise LeakError(f"{values[0]} {values[1]} {base64.b64encode(values[0].encode()).decode()}")


@task(secrets=NAMES)
async def s_ends() -> int:
    """A good run: it needs them."""
    print("the token is", os.environ["H_TOKEN"])
    return sum(map(len, (os.environ[n] for n in NAMES)))


def all_tasks() -> list[Task[..., Any]]:
    """What a test deploys."""
    return [s_leaks, s_ends]
