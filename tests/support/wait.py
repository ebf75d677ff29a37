"""Waiting in tests: poll a condition with a deadline, never sleep and hope."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


async def until(
    condition: Callable[[], T | Awaitable[T]],
    timeout: float = 30.0,  # noqa: ASYNC109 - ends in an assertion that says what did not happen
    *,
    what: str = "",
    every: float = 0.005,
) -> T:
    """The first true value of the condition (plain or async); AssertionError after `timeout`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        answer: Any = condition()
        value: T = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if loop.time() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or condition}")
        await asyncio.sleep(every)


async def never(
    condition: Callable[[], object],
    during: float,
    *,
    what: str = "",
) -> None:
    """AssertionError as soon as the condition becomes true within `during` seconds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + during
    while loop.time() < deadline:
        if condition():
            raise AssertionError(f"happened: {what or condition}")
        await asyncio.sleep(0.005)
