"""Tasks whose every word is hostile to a terminal."""

# ruff: noqa: T201 - output is what they are for
from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from headway import Retry, checkpoint, step, task

if TYPE_CHECKING:
    from headway.tasks import Task

CORPUS = [
    "\x1b[2J\x1b[H", "\x1b[38;5;201mpink\x1b[5m\x1b[7m\x1b[8m", "\x1b]0;title\x07",
    "\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "\x1b]52;c;ZXZpbA==\x07",
    "\x1bPq#0;2;0;0;0\x1b\\", "\x1b_apc\x1b\\", "\x1b^pm\x1b\\", "\x1bXsos\x1b\\", "\x1bc",
    "\x9b31m", "\x9d52;c;ZXZpbA==\x9c", "\x90q\x9c", "\x85next", "safe\u202egnp.exe",
    "\u2066isolate\u2069", "zero\u200bwidth\u200d\ufeff", "bell\x07\x07\x07", "over\rwritten",
    "back\x08\x08\x08space", "\x0e\x0fshift", "\x7fdel", "tag\U000e0041\U000e0100",
    "z" + "\u0301" * 1000,
    "line\u2028sep\u2029", "\x1b[999999999A", "\x1b[6n", "\x1b[?1049h", "\x1b%G",
]  # fmt: skip
ALL = "|".join(CORPUS)
ONCE = Retry(max_attempts=1)


class Hostile(Exception):
    """With a name that is not its own."""


Hostile.__qualname__ = Hostile.__name__ = "E\x1b[2J\u202e"


def named() -> str:
    """A step with a hostile name."""
    return ALL


named.__qualname__ = "f\x1b]0;x\x07"


@task(retry=ONCE)
async def t_says(text: str) -> None:
    """Prints, logs, saves and raises all of it."""
    for word in CORPUS:
        print(word)
        print(word, file=sys.stderr)
    sys.stdout.buffer.write(b"\x1b[2J\x9b\xff\xfe\x00\n" + b"\x1b[1m" * 300_000 + b"\n")
    sys.stdout.flush()
    logging.getLogger("x\x1b[2J").warning("%s", ALL)
    await checkpoint("c\x1b[2J\u202e\x9b", text)
    await step("s\x1b]52;c;eA==\x07", named)
    raise Hostile(ALL)


@task
async def t_returns(text: str) -> dict[str, Any]:
    """Gives it back."""
    print(text)
    return {"value": text, text[:100]: 1}


def all_tasks() -> list[Task[..., Any]]:
    """What a test deploys."""
    return [t_says, t_returns]
