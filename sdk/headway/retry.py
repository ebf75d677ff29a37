"""Retry policy and backoff arithmetic: pure, shared by SDK and engine."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from headway.errors import BadPolicy

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}

Duration = str | float | int | timedelta
"""`"90s"`, `"10m"`, `"1h30m"`, seconds as a number, or a timedelta."""


def seconds(value: Duration, what: str = "duration") -> float:
    """A duration in seconds; raises BadPolicy for anything that is not one, or is negative."""
    if isinstance(value, timedelta):
        total = value.total_seconds()
    elif isinstance(value, str):
        total = _parse(value, what)
    elif isinstance(value, bool):
        raise BadPolicy(what, value, 'a duration such as "90s", "10m" or a number of seconds')
    else:
        total = float(value)
    if not 0 <= total < 3.2e9:  # about a hundred years; also refuses nan and inf
        raise BadPolicy(what, value, "zero or more seconds, at most a hundred years")
    return total


def _parse(text: str, what: str) -> float:
    total, number, rest = 0.0, "", text.strip()
    i = 0
    while i < len(rest):
        j = i
        while j < len(rest) and (rest[j] in "0123456789."):
            j += 1
        number = rest[i:j]
        k = j
        while k < len(rest) and rest[k].isalpha():
            k += 1
        unit = rest[j:k]
        try:
            total += float(number) * _UNITS[unit]
        except (ValueError, KeyError):
            raise BadPolicy(what, text, 'a duration such as "90s", "10m" or "1h30m"') from None
        i = k
    if not rest:
        raise BadPolicy(what, text, 'a duration such as "90s", "10m" or "1h30m"')
    return total


class RetryPolicy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How often and how soon a failed run is tried again. Delays in seconds."""

    max_attempts: int = 3
    """Attempts in all, the first one included; lost attempts do not count."""
    factor: float = 2.0
    min_delay: float = 1.0
    max_delay: float = 60.0
    jitter: float = 0.1
    """The delay is multiplied by a random number in [1 - jitter, 1 + jitter]."""
    oom: bool = False
    """Retry after the container ran out of memory."""
    timeout: bool = False
    """Retry after an attempt's timeout (`retry_on` lists TimeoutError)."""


def backoff(policy: RetryPolicy, failures: int, random: float) -> float:
    """Seconds until the next attempt after `failures` failed ones (1 or more).

    min(max_delay, min_delay * factor ** (failures - 1)), spread by the jitter; `random` is in
    [0, 1). Exponential backoff with proportional jitter.
    """
    try:
        base = policy.min_delay * policy.factor ** max(0, failures - 1)
    except OverflowError:
        base = policy.max_delay
    base = min(policy.max_delay, base)
    return base * (1 + policy.jitter * (2 * random - 1))


class Retry:
    """`Retry(max_attempts=5, factor=2, min_delay="1s", max_delay="60s")`.

    `retry_on` / `stop_on`: exception types. With `retry_on`, only these are retried; `stop_on`
    always wins. The types are looked at in the task's process; the engine sees the verdict.
    """

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        factor: float = 2.0,
        min_delay: Duration = 1.0,
        max_delay: Duration = 60.0,
        jitter: float = 0.1,
        oom: bool = False,
        retry_on: tuple[type[BaseException], ...] = (),
        stop_on: tuple[type[BaseException], ...] = (),
    ) -> None:
        low, high = seconds(min_delay, "min_delay"), seconds(max_delay, "max_delay")
        if isinstance(max_attempts, bool) or not 1 <= max_attempts <= 10_000:
            raise BadPolicy("max_attempts", max_attempts, "1 to 10000")
        if not 1 <= factor <= 1000:
            raise BadPolicy("factor", factor, "1 to 1000")
        if high < low:
            raise BadPolicy("max_delay", max_delay, "not below min_delay")
        if not 0 <= jitter <= 1:
            raise BadPolicy("jitter", jitter, "0 to 1")
        self.policy = RetryPolicy(
            max_attempts,
            float(factor),
            low,
            high,
            float(jitter),
            oom,
            any(issubclass(TimeoutError, t) for t in retry_on),
        )
        self.retry_on = retry_on
        self.stop_on = stop_on

    def __repr__(self) -> str:
        p = self.policy
        return f"Retry({p.max_attempts}, {p.factor:g}, {p.min_delay:g}s..{p.max_delay:g}s)"
