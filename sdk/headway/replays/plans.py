"""A plan's canonical bytes and its name: pure."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from msgspec import Struct

from headway.errors import Refused
from headway.wire import Malformed, decode, decoder
from headway.wire.replays import Plan

_PLAN = decoder(Plan)


class TooMany(Refused):
    """More runs match than the script allows."""


class Planned(Struct):
    """A plan and what a person should know of it."""

    plan: Plan
    body: bytes
    """Its canonical JSON."""
    name: str
    dropped: list[tuple[str, str]]
    """(run, why it is skipped): a reason is said of one run as of many."""
    starts: dict[str, int]
    """Where they start, in words, and how many."""
    kept: dict[str, int]
    """Once key to in how many runs it stays done."""
    again: dict[str, int]
    """Once key to in how many runs it may happen again."""
    edited: int = 0
    before: dict[str, int] = {}
    """Job to how many of these runs it has forked already; they are forked again."""
    steps: dict[str, int] = {}
    """Function to how many of its recorded steps lie after the checkpoints: they run again."""
    lacks: dict[str, int] = {}
    """Member of the state that the edit sets to how many states had none, of the first `LOOKED`."""
    seconds: float = 0.0
    """About how long it takes to the end, if the forks take as long as their originals."""

    def skips(self) -> list[tuple[str, list[str]]]:
        """(why, the runs that are skipped for it), the most first."""
        by_reason: dict[str, list[str]] = {}
        for run, why in self.dropped:
            by_reason.setdefault(why, []).append(run)
        return sorted(by_reason.items(), key=lambda pair: -len(pair[1]))


def canonical(plan: Plan) -> bytes:
    """The plan as JSON with sorted keys and no spaces: equal plans give equal bytes."""
    # Once through the decoder: a rate of 5 becomes 5.0, as whoever reads it has it.
    return msgspec.json.encode(_PLAN.decode(msgspec.json.encode(plan)), order="sorted")


def name_of(body: bytes) -> str:
    """The name of the plan with these canonical bytes."""
    return sha256(body).hexdigest()


def read(body: bytes) -> Plan:
    """The plan with these canonical bytes; raises Malformed with what is wrong."""
    plan = decode(_PLAN, body)
    if canonical(plan) != body:
        raise Malformed("a plan is canonical JSON: sorted keys, no spaces, nothing that is default")
    runs = [item.run for item in plan.items]
    if len(set(runs)) != len(runs):
        twice = next(run for run in runs if runs.count(run) > 1)
        raise Malformed(f"run {twice} stands twice in the plan")
    return plan
