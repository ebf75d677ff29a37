"""From a script to a plan: asks the engine, runs the operator's functions, sends nothing."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct

from headway.errors import HeadwayError, Refused
from headway.forks import choose, cleared, edit_of, failures_of
from headway.query import parse, write
from headway.query.evaluate import resolved
from headway.replays.plans import Planned, TooMany, canonical, name_of
from headway.replays.runs import view
from headway.replays.script import BadScript, Drop
from headway.states import TERMINAL
from headway.wire.commands import RunsQuery
from headway.wire.replays import BodyEdit, Plan, PlanItem

if TYPE_CHECKING:
    from headway.client import Client
    from headway.replays.script import Loaded, Select
    from headway.wire.commands import CheckpointRow, RunDetail

AT_ONCE = 16
"""Runs that are read at the same time."""
_FORKABLE = {s.status for s in TERMINAL} | {"review"}


class _Row(Struct):
    item: PlanItem | None
    run: str
    why: str = ""
    start: str = ""
    kept: tuple[str, ...] = ()
    again: tuple[str, ...] = ()


async def make_plan(client: Client, loaded: Loaded) -> Planned:
    """The plan of a script, now.

    Raises BadScript, BadQuery, TooMany (over `limit`), Refused if nothing is left.
    """
    script = loaded.script
    runs = sorted(set(script.select.ids)) or await _selected(client, script.select)
    if len(runs) > script.select.limit:
        raise TooMany(f"more than {script.select.limit} runs match: raise limit, or select fewer")
    if script.select.sample and script.select.sample < len(runs):
        runs = sorted(random.Random(script.select.seed).sample(runs, script.select.sample))
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(run: str) -> _Row:
        async with gate:
            return await _row(client, loaded, run)

    rows = await asyncio.gather(*(one(run) for run in runs))
    items = tuple(row.item for row in rows if row.item is not None)
    dropped = [(row.run, row.why) for row in rows if row.item is None]
    if not items:
        first = f": run {dropped[0][0]}: {dropped[0][1]}" if dropped else " that match"
        raise Refused(f"there are no runs to replay{first}", "refused")
    replay = script.replay
    plan = Plan(
        items,
        script.name,
        (replay.once[6:],) if replay.once.startswith("clear:") else (),
        "" if replay.image == "current" else replay.image,
        replay.queue or None,
        replay.tags,
        script.pace.wire(),
        script.check,
        script.gate.max_failed,
    )
    body = canonical(plan)
    told = [row for row in rows if row.item is not None]
    return Planned(
        plan,
        body,
        name_of(body),
        dropped,
        _count(row.start for row in told),
        _count(key for row in told for key in row.kept),
        _count(key for row in told for key in row.again),
        sum(i.state is not None or i.payload is not None for i in items),
    )


async def _selected(client: Client, select: Select) -> list[str]:
    fixed = resolved(parse(select.query), datetime.now(UTC))
    query = RunsQuery(n=1000, query=write(fixed))
    found: list[str] = []
    while True:
        page = await client.runs(query)
        found += [row.run for row in page.runs]
        if not page.more or len(found) > select.limit:
            return sorted(found)
        query.after = page.next


async def _row(client: Client, loaded: Loaded, run: str) -> _Row:
    detail = await client.run(run)
    row, replay = detail.row, loaded.script.replay
    run = row.run
    if row.status not in _FORKABLE:
        return _Row(None, run, f"it is {row.status}: a fork takes what has ended or is in review")
    if loaded.choose is not None and not _call(loaded.choose, "select", run, view(detail)):
        return _Row(None, run, "select said no")
    start = None
    if replay.mode == "fork" and replay.from_ != "start":
        start = choose(replay.from_, detail.checkpoints, failures_of(detail.events))
        if start is None and replay.missing == "error":
            raise Refused(f"run {run} keeps no checkpoint {replay.from_}", "no_checkpoint")
        if start is None and replay.missing == "skip":
            return _Row(None, run, f"it keeps no checkpoint {replay.from_}")
    state, payload = await _edits(client, loaded, detail, start)
    if isinstance(state, Drop):
        return _Row(None, run, state.reason)
    once = [m.key for m in detail.marks if m.kind == "once" and m.status == "done"]
    globs = [replay.once[6:]] if replay.once.startswith("clear:") else []
    again = cleared(once, globs)
    where = f"#{start.number}" if start is not None else "start"
    item = PlanItem(run, 0 if start is None else start.number, state, payload)
    return _Row(item, run, "", where, tuple(sorted(set(once) - set(again))), tuple(again))


async def _edits(
    client: Client, loaded: Loaded, detail: RunDetail, start: CheckpointRow | None
) -> tuple[BodyEdit | Drop | None, BodyEdit | None]:
    if loaded.edit is None:
        state, payload = loaded.script.edit.patches()
        return _patch(state) if start is not None else None, _patch(payload)
    run = detail.row.run
    ref = detail.payload_ref
    raw = bytes(detail.payload) if ref is None else await client.fetch_blob(ref)
    payload = msgspec.json.decode(raw or b"{}")
    body = None if start is None else (await client.state(run, start.number))[1]
    before = None if body is None else msgspec.json.decode(body)
    given = None if body is None else msgspec.json.decode(body)
    answer = _call(loaded.edit, "edit", run, view(detail), msgspec.json.decode(raw or b"{}"), given)
    if isinstance(answer, Drop):
        return answer, None
    if not isinstance(answer, tuple) or len(answer) != 2:  # pyright: ignore[reportUnknownArgumentType]
        raise BadScript(f"edit: run {run}: return payload, state or drop_run(reason)")
    new_payload, new_state = answer  # pyright: ignore[reportUnknownVariableType]
    try:
        changed = None if start is None else edit_of(before, new_state)
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


def _count(words: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for word in words:
        found[word] = found.get(word, 0) + 1
    return dict(sorted(found.items()))
