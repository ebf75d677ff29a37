"""Named fault points: places where a test, or `headway chaos`, may stop the program.

    if faults.armed:
        await faults.point("engine.intake.committed")

Nothing is armed unless the environment says so when the process starts, and then a place costs one
look at a module attribute. `HEADWAY_FAULTS` holds rules, separated by commas:

    POINT=ACTION[:SECONDS][@N]

`crash` ends the process at once, as kill -9 would (no cleanup, no flush); `hang` never returns;
`error` raises `InjectedFault`; `delay:0.5` waits. `@3` means the third time only; without it, each
time. A rule whose POINT ends in `*` fits each point that begins so.

`HEADWAY_FAULTS_SEEN` names a file to which the process adds a line per rule that fired
(`POINT ACTION PID`), so that a test can prove that it reached the place it meant.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass

ACTIONS = ("crash", "hang", "error", "delay")


class InjectedFault(Exception):
    """What `error` raises; nobody catches it by name."""


class BadFault(ValueError):
    """`HEADWAY_FAULTS` does not read; the message says which rule and what is expected."""


@dataclass(slots=True)
class Rule:
    """One rule and how often its point was passed."""

    point: str
    action: str
    seconds: float = 0.0
    nth: int = 0
    """0: each time."""
    passed: int = 0

    def fits(self, name: str) -> bool:
        """Counts a pass of a point that fits; True if the rule fires now."""
        if not (name.startswith(self.point[:-1]) if self.point[-1:] == "*" else name == self.point):
            return False
        self.passed += 1
        return self.nth in (0, self.passed)


def parse(text: str) -> list[Rule]:
    """The rules of `HEADWAY_FAULTS`; raises BadFault."""
    return [_rule(part.strip()) for part in text.split(",") if part.strip()]


def _rule(text: str) -> Rule:
    point, _, what = text.partition("=")
    what, _, nth = what.partition("@")
    action, _, seconds = what.partition(":")
    try:
        rule = Rule(point.strip(), action.strip(), float(seconds or 0), int(nth or 0))
    except ValueError:
        rule = Rule("", "")
    if not rule.point or rule.action not in ACTIONS or rule.nth < 0 or not 0 <= rule.seconds < 1e6:
        raise BadFault(
            f"HEADWAY_FAULTS: cannot read {text!r}; expected POINT=ACTION[:SECONDS][@N] with an"
            f" action of {', '.join(ACTIONS)}"
        )
    return rule


_rules: list[Rule] = []
armed = False
"""Whether any rule is armed; look at it before each `point`."""


def arm(text: str) -> None:
    """Replaces the rules; an empty text disarms. Raises BadFault and changes nothing then."""
    global armed
    rules = parse(text)
    _rules[:] = rules
    armed = bool(rules)


async def point(name: str) -> None:
    """Passes a place named `name` in asynchronous code; raises InjectedFault if told so."""
    for rule in _rules:
        if rule.fits(name):
            _now(rule, name)
            await (asyncio.Future() if rule.action == "hang" else asyncio.sleep(rule.seconds))


def here(name: str) -> None:
    """The same in plain code: `hang` and `delay` hold the whole thread."""
    for rule in _rules:
        if rule.fits(name):
            _now(rule, name)
            time.sleep(1e6 if rule.action == "hang" else rule.seconds)


def _now(rule: Rule, name: str) -> None:
    """Notes that the rule fired, then does what does not wait."""
    if path := os.environ.get("HEADWAY_FAULTS_SEEN"):
        line = f"{name} {rule.action} {os.getpid()}\n".encode()
        seen = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(seen, line)
        finally:
            os.close(seen)
    if rule.action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if rule.action == "error":
        raise InjectedFault(name)


arm(os.environ.get("HEADWAY_FAULTS", ""))
