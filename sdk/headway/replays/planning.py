"""From a script to a plan: asks the engine, runs the operator's functions, sends nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from headway.errors import HeadwayError, NoSuchRun, Refused
from headway.forks import cleared, edit_of
from headway.ids import is_run_id
from headway.query import parse, write
from headway.query.evaluate import resolved
from headway.replays.plans import Planned, TooMany, canonical, name_of
from headway.replays.runs import view
from headway.replays.script import BadScript, Drop, Replay, clearing
from headway.states import TERMINAL
from headway.wire.replays import BodyEdit, Plan, PlanItem, Source, SourcesAsk, SourcesPage

if TYPE_CHECKING:
    from headway.client import Client
    from headway.replays.script import Loaded, Script
    from headway.wire.replays import Pace
    from headway.wire.runs import RunDetail

AT_ONCE = 16
"""Runs that are read at the same time, where an operator's functions want to see them."""
PAGE = 1000
LOOKED = 2000
"""Runs whose states are looked into for what they lack."""
_FORKABLE = frozenset({s.status for s in TERMINAL} | {"review"})
_RESUMABLE = frozenset({"retrying", "delayed", "review"})

Decide = Callable[[dict[str, int]], Awaitable[Collection[str]]]
"""Asked with once keys and in how many runs each is done; which of them may happen again."""


class _Row(NamedTuple):
    item: PlanItem | None
    source: Source
    why: str = ""


async def make_plan(client: Client, loaded: Loaded, decide: Decide | None = None) -> Planned:
    """The plan of a script, now. `decide` is asked where the script says `once = "ask"`.

    Raises BadScript, BadQuery, TooMany (over `limit`), Refused if nothing is left.
    """
    script = loaded.script
    select, replay = script.select, script.replay
    if replay.once == "ask" and decide is None:
        raise BadScript('once = "ask" needs a person: plan it on a terminal or in the console')
    if not select.freeze and (loaded.edit is not None or loaded.choose is not None):
        raise BadScript("freeze = false: what edit and select would say of later runs is not known")
    sources = await _sources(client, script)
    if len(sources) > select.limit:
        raise TooMany(f"more than {select.limit} runs match: raise limit, or select fewer")
    if select.sample and select.sample < len(sources):
        chosen = random.Random(select.seed).sample(sources, select.sample)
        sources = sorted(chosen, key=lambda source: source.run)
    state, payload = map(_patch, script.edit.patches())
    rows = [_row(script, source, state, payload) for source in sources]
    if loaded.edit is not None or loaded.choose is not None:
        rows = await _by_functions(client, loaded, rows)
    told = [row for row in rows if row.item is not None]
    dropped = [(row.source.run, row.why) for row in rows if row.item is None]
    if not told:
        first = f": run {dropped[0][0]}: {dropped[0][1]}" if dropped else " that match"
        raise Refused(f"there are no runs to replay{first}", "refused")
    keys = _count(key for row in told for key in row.source.once)
    globs = replay.globs()
    if replay.once == "ask" and decide is not None and keys:
        globs = Replay(once=clearing(await decide(keys))).globs()
    again = set(cleared(keys, globs))
    head = Plan(
        (), script.name, globs, image="" if replay.image == "current" else replay.image,
        queue=replay.queue or None, tags=replay.tags, pace=script.pace.wire(),
        checks=script.check, max_failed=script.gate.max_failed,
        mode="resume" if replay.mode == "resume" else "fork",
    )  # fmt: skip
    plan = replace(head, items=tuple(row.item for row in told if row.item is not None))
    if plan.mode == "resume":
        # The same runs, resumed and stopped once more, are to be resumed again: their moves tell
        # one plan from another, and while nothing moves it keeps its name.
        plan = replace(plan, planned_at=max(filter(None, (row.source.since for row in told)),
                                            default=None))  # fmt: skip
    body = canonical(plan)
    name = name_of(body)
    if not select.freeze:
        # What is agreed on is what shall happen to whom by rule; the ids are those of the moment.
        name = name_of(msgspec.json.encode([head, script.select, replay, script.edit.patches()],
                                           order="sorted"))  # fmt: skip
    return Planned(
        plan, body, name, dropped,
        _count(_start_of(row.item) for row in told if row.item is not None),
        {k: n for k, n in keys.items() if k not in again},
        {k: n for k, n in keys.items() if k in again},
        sum(i.state is not None or i.payload is not None for i in plan.items),
        _count(row.source.job for row in told if row.source.job),
        _sum(row.source.again for row in told) if replay.mode != "resume" else {},
        _count(key for row in told for key in row.source.lacks),
        _seconds([row.source.seconds for row in told], head.pace),
    )  # fmt: skip


def _seconds(took: list[float], pace: Pace) -> float:
    """As many at once as may be, none sooner than its turn; the longest one may be the last."""
    if not any(took):
        return 0.0
    at_once = min(len(took), pace.max_in_flight)
    return max(len(took) / pace.rate, sum(took) / at_once, max(took))


def _start_of(item: PlanItem) -> str:
    return f"#{item.checkpoint}" if item.checkpoint else "start"


async def _sources(client: Client, script: Script) -> list[Source]:
    """What is known of the runs that are selected, in the order of their ids."""
    select, replay = script.select, script.replay
    start = replay.from_ if replay.mode == "fork" else "start"
    edit = script.edit.patches()[0]
    keys = tuple(edit)[:32] if start != "start" else ()
    found: list[Source] = []
    if select.ids:
        ids = sorted(set(select.ids))
        short = [run for run in ids if not is_run_id(run)]
        full = [(await client.run(run)).row.run for run in short]
        ids = sorted({run for run in ids if is_run_id(run)} | set(full))
        for at in range(0, len(ids), PAGE):
            some = tuple(ids[at : at + PAGE])
            asked = keys if at < LOOKED else ()
            found += await _pages(client, SourcesAsk(ids=some, start=start, keys=asked))
        if missing := set(ids) - {source.run for source in found}:
            raise NoSuchRun(f"no run {min(missing)} in namespace {client.namespace}", "not_found")
    else:
        fixed = resolved(parse(select.query), datetime.now(UTC))
        ask = SourcesAsk(write(fixed), start=start, keys=keys)
        found = await _pages(client, ask, select.limit)
    return sorted(found, key=lambda source: source.run)


async def _pages(client: Client, ask: SourcesAsk, limit: int = PAGE) -> list[Source]:
    found: list[Source] = []
    while True:
        page = await client.api("plan-rows", ask, SourcesPage)
        found += page.rows
        if len(found) >= LOOKED:
            ask.keys = ()  # states are large: what the first ones lack says enough
        if not page.next or len(found) > limit:
            return found
        ask.after = page.next


def _row(script: Script, source: Source, state: BodyEdit | None, payload: BodyEdit | None) -> _Row:
    """What becomes of a run; raises Refused where the script wants none left out."""
    replay, run = script.replay, source.run
    resumes = replay.mode == "resume"
    if source.status not in (_RESUMABLE if resumes else _FORKABLE):
        why = "not ended yet"
        if resumes:
            why = "ended" if source.status in _FORKABLE else "goes on by itself"
        return _Row(None, source, f"{source.status}: {why}")
    if source.job and script.select.forked == "skip":
        return _Row(None, source, f"already forked by job {source.job}")
    if resumes:
        return _Row(PlanItem(run), source)
    if not source.checkpoint and replay.mode == "fork" and replay.from_ != "start":
        if replay.missing == "error":
            raise Refused(f"run {run} keeps no checkpoint {replay.from_}", "no_checkpoint")
        if replay.missing == "skip":
            return _Row(None, source, f"without checkpoint {replay.from_}")
    edited = state if source.checkpoint else None
    return _Row(PlanItem(run, source.checkpoint, edited, payload), source)


async def _by_functions(client: Client, loaded: Loaded, rows: list[_Row]) -> list[_Row]:
    """What the operator's functions make of the rows that are left."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(row: _Row) -> _Row:
        if row.item is None:
            return row
        async with gate:
            return await _by_function(client, loaded, row, row.item)

    return list(await asyncio.gather(*(one(row) for row in rows)))


async def _by_function(client: Client, loaded: Loaded, row: _Row, item: PlanItem) -> _Row:
    run = item.run
    detail = await client.run(run)
    if loaded.choose is not None and not _call(loaded.choose, "select", run, view(detail)):
        return _Row(None, row.source, "select said no")
    if loaded.edit is None:
        return row
    state, payload = await _edits(client, loaded.edit, detail, item.checkpoint)
    if isinstance(state, Drop):
        return _Row(None, row.source, state.reason)
    return _Row(PlanItem(run, item.checkpoint, state, payload), row.source)


async def _edits(
    client: Client, edit: Callable[..., Any], detail: RunDetail, start: int
) -> tuple[BodyEdit | Drop | None, BodyEdit | None]:
    run = detail.row.run
    ref = detail.payload_ref
    raw = bytes(detail.payload) if ref is None else await client.fetch_blob(ref)
    payload = msgspec.json.decode(raw or b"{}")
    body = (await client.state(run, start))[1] if start else None
    before = None if body is None else msgspec.json.decode(body)
    given = None if body is None else msgspec.json.decode(body)
    answer = _call(edit, "edit", run, view(detail), msgspec.json.decode(raw or b"{}"), given)
    if isinstance(answer, Drop):
        return answer, None
    if not isinstance(answer, tuple) or len(answer) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise BadScript(f"edit: run {run}: return payload, state or drop_run(reason)")
    new_payload, new_state = answer  # pyright: ignore[reportUnknownVariableType]
    try:
        changed = edit_of(before, new_state) if start else None
        return changed, edit_of(payload, new_payload)
    except (TypeError, msgspec.MsgspecError) as e:
        raise BadScript(f"edit: run {run}: what it returns is no JSON: {e}") from None


def _patch(patch: dict[str, Any]) -> BodyEdit | None:
    return BodyEdit(patch=Raw(msgspec.json.encode(patch, order="sorted"))) if patch else None


def _call(function: Any, what: str, run: str, *args: Any) -> Any:
    try:
        return function(*args)
    except HeadwayError:
        raise
    except Exception as e:  # an operator's own code
        line = (
            e.__traceback__.tb_next.tb_lineno if e.__traceback__ and e.__traceback__.tb_next else 0
        )
        raise BadScript(f"{what} (at line {line}): run {run}: {type(e).__name__}: {e}") from e


def _sum(many: Iterable[dict[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in many:
        for word, n in one.items():
            found[word] = found.get(word, 0) + n
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _count(words: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))
