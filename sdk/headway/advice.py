"""Advice on a task's checkpoints, from what its last runs did: sizes, times, work done twice.

`advise` is pure: it judges stories of runs, each its events, its kept checkpoints and its spans.
`gather` asks an engine for them, as anybody may who reads: nothing is measured only for this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median, quantiles
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from msgspec import Struct

from headway.errors import HeadwayError
from headway.texts import plural, size, span
from headway.wire import Malformed, decode
from headway.wire.events import SPAN_CHUNK
from headway.wire.fleet import Metrics, MetricsAsk
from headway.wire.runs import RunAsk, RunDetail, RunsPage, RunsQuery, SpansAsk, SpansPage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Sequence

    from headway.wire.events import Event, Span
    from headway.wire.runs import CheckpointRow

T = TypeVar("T")


class Ask(Protocol):
    """How an engine is asked: a client's `api`, a console's `ask`."""

    def __call__(self, verb: str, body: Struct | None, kind: type[T], /) -> Awaitable[T]:
        """The answer, or HeadwayError."""
        ...


RUNS = 12
"""Runs that are looked at: half of them such that were tried more than once."""
SPAN_PAGES = 4
"""Pages of spans of a run at most."""
OFTEN = 0.10
"""Share of the time that saving may take before it is said."""
REDONE = 10.0
"""Seconds of work that were done twice, all crashes together, from which on it is said."""
GROWN = 4.0
"""A last checkpoint so many times as large as the first one grows."""
LARGE = 128 * 1024
"""Bytes above which a state goes to the blob store."""
SMALL = 16 * 1024
"""Bytes below which no growth is worth a word."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one run."""

    run: str
    events: Sequence[Event]
    checkpoints: Sequence[CheckpointRow] = ()
    spans: Sequence[Span] = ()


class Crash(Struct, omit_defaults=True):
    """An attempt that ended without a result and was followed by another one."""

    run: str
    epoch: int
    at: datetime
    why: str
    redone: float
    """Seconds between its last save and its end: what it did then was done again.

    Of an agent that went away the end is known by its lease alone, some seconds later.
    """
    saved: bool
    """It had saved something at all, or had begun from a checkpoint."""
    before: str = ""
    """What it was at in the end: a checkpoint before that would have kept the work."""


class Hint(Struct, omit_defaults=True):
    """One piece of advice."""

    kind: str
    """redone | growth | size | writing | none."""
    words: str
    run: str = ""
    """A run that shows it."""


class Advice(Struct, omit_defaults=True):
    """What was measured of a task's last runs, and what follows from it."""

    task: str
    runs: int
    """That were looked at."""
    checkpoints: int = 0
    """Of them that are kept."""
    size_median: int = 0
    size_last: int = 0
    """Bytes of the largest last one of a run."""
    growth: float = 0.0
    """How many times the first checkpoint's size the last one has, of the run that grew most."""
    write_p95: float | None = None
    """Seconds within which 95 of 100 saves were acknowledged; None = not measured."""
    write_of: str = ""
    """`task`: measured by its spans; `engines`: by the engines, of all tasks together."""
    write_share: float = 0.0
    """Of the attempts' time; known with spans alone."""
    crashes: list[Crash] = []
    """The last ones, newest first."""
    redone: float = 0.0
    """Seconds of work that were done again after them."""
    hints: list[Hint] = []


@dataclass(slots=True)
class _Attempt:
    """One attempt, put together from its events."""

    epoch: int
    start: datetime
    saved_at: datetime
    resumed: bool = False
    end: datetime | None = None
    why: str = ""
    saves: list[datetime] = field(default_factory=list["datetime"])


_CRASHES = {"lost": "lost", "retrying": "failed"}
_SAVES = frozenset({"checkpoint", "step", "once"})


def advise(task: str, stories: Sequence[Story], saving: float | None = None) -> Advice:
    """Judge them. `saving`: the engines' own p95 of saves in seconds, where spans tell nothing."""
    told = Advice(task, len(stories))
    _weigh(told, stories)
    _time(told, stories, saving)
    crashes = sorted((c for s in stories for c in _crashes(s)), key=lambda c: c.at, reverse=True)
    told.crashes, told.redone = crashes[:20], sum(c.redone for c in crashes[:20])
    told.hints = [
        h for h in (_redone(told), _growth(told, stories), _large(told), _busy(told)) if h
    ]
    if not told.hints:
        told.hints.append(Hint("none", _fine(told)))
    return told


# --- what was measured


def _weigh(told: Advice, stories: Sequence[Story]) -> None:
    sizes = [c.size for s in stories for c in s.checkpoints]
    told.checkpoints = len(sizes)
    if not sizes:
        return
    told.size_median = int(median(sizes))
    told.size_last = max(s.checkpoints[-1].size for s in stories if s.checkpoints)
    told.growth = max((_grew(s) for s in stories), default=0.0)


def _grew(story: Story) -> float:
    rows = story.checkpoints
    if len(rows) < 3:
        return 0.0
    return rows[-1].size / max(1, rows[0].size)


def _time(told: Advice, stories: Sequence[Story], saving: float | None) -> None:
    took = [
        (s.end - s.start) / 1e9
        for story in stories
        for s in story.spans
        if s.scope == "headway" and s.name.startswith("checkpoint")
    ]
    if took:
        told.write_p95 = max(took) if len(took) < 20 else quantiles(took, n=20)[-1]
        told.write_of = "task"
        ran = sum(_ran(s) for s in stories if s.spans)
        told.write_share = min(1.0, sum(took) / ran) if ran > 0 else 0.0
    elif saving is not None:
        told.write_p95, told.write_of = saving, "engines"


def _ran(story: Story) -> float:
    return sum((a.end - a.start).total_seconds() for a in _attempts(story.events) if a.end)


def _attempts(events: Iterable[Event]) -> list[_Attempt]:
    found: list[_Attempt] = []
    now: _Attempt | None = None
    for e in events:
        if e.kind == "started":
            now = _Attempt(e.epoch, e.at, e.at, bool(e.data.get("resumed_from")))
            found.append(now)
        elif now is None:
            continue
        elif e.kind in _SAVES and e.epoch == now.epoch:
            now.saved_at = e.at
            now.saves.append(e.at)
        elif e.kind in _CRASHES or (e.target and e.target not in {"RUNNING", "CANCELLING"}):
            now.end, now.why = e.at, _why(e)
            now = None
    return found


def _why(e: Event) -> str:
    if e.kind not in _CRASHES:
        return ""
    error: object = e.data.get("error")
    kind = cast("dict[str, object]", error).get("type") if isinstance(error, dict) else None
    return str(e.data.get("why") or kind or _CRASHES[e.kind])


def _crashes(story: Story) -> list[Crash]:
    attempts = _attempts(story.events)
    found: list[Crash] = []
    for attempt, after in pairwise(attempts):
        if attempt.end is None or not attempt.why:
            continue
        redone = (attempt.end - attempt.saved_at).total_seconds()
        found.append(
            Crash(story.run, attempt.epoch, attempt.end, attempt.why, max(0.0, redone),
                  bool(attempt.saves) or attempt.resumed,
                  _at_work(story, attempt.saved_at, attempt.end) or _next(story, after))
        )  # fmt: skip
    return found


def _at_work(story: Story, since: datetime, until: datetime) -> str:
    """The last thing that its spans say it had begun, after its last save."""
    ours = [
        s
        for s in story.spans
        if since <= _moment(s.start) <= until
        and not (s.scope == "headway" and s.name.startswith(("attempt ", "checkpoint")))
    ]
    return _plain(max(ours, key=lambda s: s.start).name) if ours else ""


def _next(story: Story, after: _Attempt) -> str:
    """What the next attempt recorded first: that is what the one before did not come to."""
    for e in story.events:
        if e.epoch == after.epoch and e.kind in _SAVES:
            name = e.data.get("key") or e.data.get("name")
            return str(name) if name else ""
    return ""


def _plain(name: str) -> str:
    """The key in the name of a verb's span: `step('browse')` is `browse`."""
    if name.endswith("')") and "('" in name:
        return name.split("('", 1)[1][:-2]
    return name


def _moment(ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(ns // 1000, 2 * 10**17))


# --- in plain words


def _redone(told: Advice) -> Hint | None:
    crashes = told.crashes
    if not crashes or told.redone < REDONE:
        return None
    worst = max(crashes, key=lambda c: c.redone)
    words = f"{span(told.redone)} were redone after {_times(len(crashes), 'crash', 'crashes')}"
    words += f" (the worst: {span(worst.redone)})" if len(crashes) > 1 else ""
    before = worst.before
    if not worst.saved:
        words += ": nothing was saved before, so it began anew; add a checkpoint"
        words += f" before `{before}`" if before else " after the first part that takes long"
    elif before:
        words += f": add a checkpoint before `{before}`"
    else:
        words += ": save more often than that"
    return Hint("redone", words, worst.run)


def _growth(told: Advice, stories: Sequence[Story]) -> Hint | None:
    if told.growth < GROWN or told.size_last < SMALL:
        return None
    grown = max(stories, key=_grew)
    first, last = grown.checkpoints[0], grown.checkpoints[-1]
    steps = max(1, last.number - first.number)
    each = (last.size - first.size) / steps
    return Hint(
        "growth",
        f"checkpoints grow: from {size(first.size)} (number {first.number}) to {size(last.size)}"
        f" (number {last.number}), about {size(each)} each time; what only grows, such as a list of"
        " messages, is cheaper as results of steps, cut, or summed up",
        grown.run,
    )


def _large(told: Advice) -> Hint | None:
    if told.size_median < LARGE:
        return None
    return Hint(
        "size",
        f"a checkpoint has {size(told.size_median)}: above {size(LARGE)} each goes to the blob"
        " store, which is slower; keep what is large out of the state, or save it less often",
    )


def _busy(told: Advice) -> Hint | None:
    if told.write_p95 is None or told.write_share < OFTEN:
        return None
    return Hint(
        "writing",
        f"saving takes {told.write_share:.0%} of the time (95 of 100 checkpoints within"
        f" {span(told.write_p95)}): save less often, or less at once",
    )


def _fine(told: Advice) -> str:
    if not told.runs:
        return f"no run of {told.task} is known yet: there is nothing to judge"
    if not told.checkpoints:
        return (
            f"{plural(told.runs, 'run')} without a checkpoint, and no work was lost: a crash would"
            " begin anew"
        )
    lost = (
        f"{_times(len(told.crashes), 'crash', 'crashes')} cost {span(told.redone)}"
        if told.crashes
        else "no crash"
    )
    return f"nothing to change: {lost}, and checkpoints are small and quick"


def _times(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def facts(told: Advice) -> list[tuple[str, str]]:
    """What was measured, as lines of a table."""
    writes = "not measured: neither spans nor engines tell"
    if told.write_p95 is not None:
        writes = f"p95 {span(told.write_p95)}"
        writes += (f", {told.write_share:.0%} of the time" if told.write_of == "task"
                   else ", of all tasks: this one tells no spans")  # fmt: skip
    grown = f", the last {told.growth:.1f} times the first" if told.growth else ""
    return [
        ("looked at", f"{plural(told.runs, 'run')}, {plural(told.checkpoints, 'checkpoint')}"),
        ("size", f"{size(told.size_median)} in the middle, {size(told.size_last)} at most{grown}"
         if told.checkpoints else "-"),
        ("write time", writes),
        ("crashes", f"{len(told.crashes)}, {span(told.redone)} redone" if told.crashes else "none"),
        *((f"  {c.run}", f"attempt {c.epoch}: {span(c.redone)} after its last save, {c.why}")
          for c in told.crashes[:5]),
    ]  # fmt: skip


# --- asking


async def gather(ask: Ask, task: str) -> Advice:
    """Look at the last runs of a task and judge them. Raises HeadwayError."""
    again = await ask("runs", RunsQuery(query=f"task:{task} attempts:>1", n=RUNS // 2), RunsPage)
    last = await ask("runs", RunsQuery(query=f"task:{task}", n=RUNS), RunsPage)
    runs = list(dict.fromkeys(row.run for row in (*again.runs, *last.runs)))[:RUNS]
    stories = [await _story(ask, run) for run in runs]
    saving: float | None = None
    try:
        told = await ask("metrics", MetricsAsk(), Metrics)
        saves = [s.save_p95 for samples in told.engines.values() for s in samples]
        saving = max((s for s in saves if s is not None), default=None)
    except HeadwayError:
        saving = None  # who may not read the metrics reads the rest
    return advise(task, stories, saving)


async def _story(ask: Ask, run: str) -> Story:
    detail = await ask("run", RunAsk(run), RunDetail)
    spans: list[Span] = []
    after, more, pages = 0, True, 0
    try:
        while more and pages < SPAN_PAGES:
            page = await ask("spans", SpansAsk(run, after), SpansPage)
            for one in page.spans:
                after = one.seq
                spans += decode(SPAN_CHUNK, bytes(one.chunk)).spans
            more, pages = page.more, pages + 1
    except (HeadwayError, Malformed):
        more = False  # without spans it is judged by its events
    return Story(run, detail.events, detail.checkpoints, spans)
