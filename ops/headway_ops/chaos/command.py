"""`headway chaos`: kills parts of a user's own stack while their tasks run, then looks.

Faults with enqueues, then calm, then the questions: is every acknowledged run there, has each come
to an end, and does `headway verify` find all promises kept?
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from headway.errors import BadPolicy, NotReachable, QueueFull, Refused
from headway.retry import seconds
from headway.states import TERMINAL, RunState
from headway.wire.runs import RunsQuery
from headway_ops import link, say
from headway_ops.chaos.killer import Killer
from headway_ops.chaos.local import find
from headway_ops.chaos.plan import KINDS, draw
from headway_ops.giving import Ask, payload_of
from headway_ops.say import Exit, Fail
from headway_ops.verify import Ask as Check
from headway_ops.verify import verify

if TYPE_CHECKING:
    from headway.client import Client
    from headway_ops.chaos.local import LocalVictims

CALM = 60.0
"""Seconds after the last fault, or the last event of any run, in which something has to happen."""
PATIENCE = 15 * CALM
"""Seconds after the last fault in which everything has to end."""
ASK_EVERY = 1.0
CHUNK = 1000
LOOKED_AT = 200
_ENDED = frozenset(s.status for s in TERMINAL)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    duration: str = "60s"
    every: str = "3s"
    kinds: str = ",".join(KINDS)
    seed: int | None = None
    tasks: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    rate: float = 2.0
    yes: bool = False


class TaskName(msgspec.Struct):
    """What is needed of a registered task."""

    task: str
    version: str = ""


class Outcome(msgspec.Struct):
    """What came of it; the answer of `--json`."""

    seed: int
    faults: dict[str, int]
    runs: int
    status: dict[str, int]
    """Runs by where they are at the end."""
    missing: list[str]
    """Acknowledged, and not known any more."""
    open: list[str]
    """Not ended, and nobody is asked to decide."""
    broken: list[str]
    """Promises that `headway verify` found broken in the runs of this time."""

    @property
    def ok(self) -> bool:
        """Nothing was lost, nothing is stuck, no promise is broken."""
        return not self.missing and not self.open and not self.broken


def run(options: Options, *, as_json: bool) -> None:
    """Do it; exit code 1 if something was lost or is stuck."""
    total, every = (
        _positive(t, w) for t, w in ((options.duration, "--for"), (options.every, "--every"))
    )
    asked = kinds_of(options.kinds)
    if not 0 < options.rate <= 1000:
        raise Fail(f"--rate {options.rate:g}", "runs a second, above 0, at most 1000", Exit.USAGE)
    payload = payload_of("", list(options.parameters))
    victims = find()
    kinds = tuple(kind for kind in asked if kind in victims.kinds)
    if not kinds:
        raise Fail(f"--kill {options.kinds}: an edge has none", "of " + ",".join(victims.kinds),
                   Exit.USAGE)  # fmt: skip
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed

    async def work(client: Client) -> Outcome:
        tasks = chosen(options.tasks, await client.api("tasks", None, list[TaskName]))
        await _confirm(client, victims, yes=options.yes)
        one = _Chaos(client, victims, [Ask(task, payload) for task in tasks], seed)
        return await one.run(kinds, total, every, options.rate)

    outcome = link.with_client(work)
    if as_json:
        say.data(outcome)
    else:
        _tell(outcome)
    if not outcome.ok:
        raise SystemExit(int(Exit.FAILED))


def _positive(text: str, option: str) -> float:
    try:
        value = seconds(text, option)
    except BadPolicy as e:
        raise Fail(str(e), "", Exit.USAGE) from None
    if value <= 0:
        raise Fail(f"{option} {text}", "more than zero: 60s, 10m", Exit.USAGE)
    return value


def kinds_of(text: str) -> tuple[str, ...]:
    """What `--kill` says; Fail for a word that it does not know."""
    words = tuple(w.strip() for w in text.split(",") if w.strip())
    unknown = [w for w in words if w not in KINDS]
    if unknown or not words:
        raise Fail(f"--kill {','.join(unknown) or text!r}", "of " + ",".join(KINDS), Exit.USAGE)
    return words


def chosen(asked: tuple[str, ...], known: list[TaskName]) -> list[str]:
    """The tasks to run: those asked for, or the only one; Fail names what there is."""
    names = [t.task for t in known]
    if wrong := [t for t in asked if t not in names]:
        raise Fail(f"no task {wrong[0]!r} is registered", "one of " + ", ".join(names or ["none"]),
                   Exit.USAGE)  # fmt: skip
    if asked:
        return list(asked)
    if len(names) != 1:
        known_ones = ", ".join(names) or "none is registered"
        raise Fail("which task shall run meanwhile?", f"--task ID, of: {known_ones}", Exit.USAGE)
    return names


async def _confirm(client: Client, victims: LocalVictims, *, yes: bool) -> None:
    """Runs from before this `headway up` may be somebody's work: ask first."""
    older = await client.runs(RunsQuery(until=victims.since, status=("live",), n=1))
    if yes or not older.runs:
        return
    what = f"{victims.folder} holds live runs from before this `headway up`: they will be disturbed"
    if not sys.stdin.isatty():
        raise Fail(what, "--yes if that is meant", Exit.REFUSED)
    say.tell(f"{what}. Go on? [y/N] ")
    if (await asyncio.to_thread(sys.stdin.readline)).strip().lower() not in {"y", "yes"}:
        raise Fail("nothing was killed", "", Exit.REFUSED)


class _Chaos:
    def __init__(self, client: Client, victims: LocalVictims, asks: list[Ask], seed: int) -> None:
        self._client, self._victims, self._asks, self._seed = client, victims, asks, seed
        self._killer = Killer(victims, say.tell)
        self._told: set[str] = set()
        """Runs whose enqueue was acknowledged."""
        self._given: set[asyncio.Task[None]] = set()

    async def run(self, kinds: tuple[str, ...], total: float, every: float, rate: float) -> Outcome:
        begun = datetime.now(UTC)
        faults = draw(self._seed, kinds, every, total, freeze=self._victims.lease)
        say.tell(f"seed {self._seed}: {len(faults)} faults in {total:g} s; Ctrl+C ends it")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._killer.run(faults))
                group.create_task(self._pour(total, rate))
        finally:
            self._killer.heal()
        if self._given:
            await asyncio.wait(list(self._given), timeout=CALM)
        say.tell(f"calm: {len(self._told)} runs were acknowledged; waiting for their ends")
        status = await self._settled()
        hits = Counter(
            f"{h.kind} {'killed' if h.how == 'kill' else 'frozen'}" for h in self._killer.hits
        )
        report = await verify(
            Check(self._victims.config, ns=self._victims.ns, since=begun, settled=True)
        )
        return Outcome(
            self._seed, dict(hits), len(self._told), dict(Counter(status.values())),
            sorted(r for r, s in status.items() if s in ("unknown", "rejected")),
            sorted(r for r, s in status.items()
                   if s not in _ENDED and s not in ("review", "unknown", "rejected")),
            [f"{v.invariant} run {v.run or '-'}: {v.what}" for v in report.violations],
        )  # fmt: skip

    async def _pour(self, total: float, rate: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        for number in range(max(1, int(total * rate))):
            await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
            task = asyncio.create_task(self._give(self._asks[number % len(self._asks)]))
            self._given.add(task)
            task.add_done_callback(self._given.discard)

    async def _give(self, ask: Ask) -> None:
        """Until it is answered; after a silence the same run again."""
        item = ask.item()
        while True:
            try:
                handle = (await self._client.submit([item]))[0]
            except (NotReachable, QueueFull):
                await asyncio.sleep(0.2)
                continue
            except Refused as e:
                raise Fail(f"task {ask.task}: {e}", "parameters go behind: KEY=VALUE") from None
            self._told.add(handle.id)
            return

    async def _settled(self) -> dict[str, str]:
        """Where each acknowledged run is, when all have ended or nothing moves any more.

        A backlog that is being worked off is no fault, however long it is.
        """
        loop = asyncio.get_running_loop()
        moved = begun = loop.time()
        status = dict.fromkeys(self._told, "?")
        seen: set[tuple[str, int]] = set()
        while True:
            left = sorted(r for r, s in status.items() if s not in _ENDED)
            for at in range(0, len(left), CHUNK):
                await self._look(left[at : at + CHUNK], status)
            left = sorted(r for r, s in status.items() if s not in _ENDED and s != "review")
            if (now := loop.time()) > min(moved + CALM, begun + PATIENCE) or not left:
                return status
            # The oldest: what waits behind them stands still for a good reason.
            if (at := await self._at(left[:LOOKED_AT])) != seen:
                moved, seen = now, at
            await asyncio.sleep(ASK_EVERY)

    async def _at(self, runs: list[str]) -> set[tuple[str, int]]:
        """How far these have come: run and number of its last event; none if nobody answers."""
        with contextlib.suppress(NotReachable, Refused):
            page = await self._client.runs(RunsQuery(ids=tuple(runs), n=LOOKED_AT))
            return {(row.run, row.n) for row in page.runs}
        return set()

    async def _look(self, runs: list[str], status: dict[str, str]) -> None:
        try:
            answer = await self._client.ask_results(runs)
        except NotReachable:
            return
        for end in answer.ended:
            status[end.run] = end.status.lower()
        for run, what in answer.others.items():
            status[run] = what.lower()


def _tell(o: Outcome) -> None:
    say.line(f"faults   {_counted(o.faults)}")
    say.line(f"runs     {o.runs} acknowledged: {_counted(o.status)}")
    if o.status.get(RunState.REVIEW.status):
        say.line("         review: a kill came inside of a once block, and only a person can know"
                 " whether it happened: headway ls --status review")  # fmt: skip
    for run in o.missing:
        say.line(f"LOST     {run}: it was acknowledged")
    for run in o.open:
        say.line(f"STUCK    {run}: headway show {run}")
    for line in o.broken:
        say.line(f"BROKEN   {line}")
    say.line(f"chaos    {'ok' if o.ok else 'FAILED'} (--seed {o.seed})")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items())) or "none"
