"""cancel, resume, ack, tag, replay, queue settings: one request, one line of answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Raw

from headway.ids import new_run_id
from headway.wire.api import Done
from headway.wire.fleet import AgentRow, QueueAsk, QueueRow
from headway.wire.steering import AckAsk, CancelAsk, DrainAsk, ReplayAsk, ResumeAsk, TagAsk
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client
    from headway.tags import Retag

Decision = Literal["done", "rerun", "fail"]

REASON = 256
"""Characters of a reason."""


def cancel(run: str, reason: str, *, as_json: bool) -> None:
    """Cancel a run; an id that is not known yet is kept for its enqueue."""
    link.prefix_of(run)

    async def work(client: Client) -> Done:
        full = await link.run_id(client, run)
        return await client.api("cancel", CancelAsk(full, reason), Done)

    done = link.with_client(work)
    if done.outcome == "already" and done.status not in {"cancelled", "cancelling"}:
        raise Fail(f"run {done.run} is {done.status} already: nothing to cancel", "", Exit.CHANGED)
    if done.outcome == "ok" and done.status in {"", "unknown"} and not as_json:
        say.tell(f"{done.run} is not recorded here; should its enqueue still come, it is cancelled")
        return
    _answer(done, "cancelled", as_json=as_json)


def resume(
    run: str,
    once: list[str],
    value: list[str],
    *,
    override: bool,
    budget: tuple[float, int] = (0.0, 0),
    as_json: bool,
) -> None:
    """Ask for the next attempt now, with decisions on ambiguous once marks.

    `budget`: dollars and tokens that it may use now, in all; 0 = as before.
    """
    link.prefix_of(run)
    decided = decisions(once)
    values = values_of(value, decided)

    async def work(client: Client) -> Done:
        full = await link.run_id(client, run)
        ask = ResumeAsk(full, decided, values, override)
        ask.budget_usd, ask.budget_tokens = budget
        return await client.api("resume", ask, Done)

    done = link.with_client(work)
    _answer(done, "failed" if "fail" in decided.values() else "resumed", as_json=as_json)


def ack(run: str, *, undo: bool, as_json: bool) -> None:
    """Acknowledge one failure, or take that back."""
    link.prefix_of(run)

    async def work(client: Client) -> Done:
        full = await link.run_id(client, run)
        return await client.api("ack", AckAsk(full, undo), Done)

    done = link.with_client(work)
    _check(done)
    if as_json:
        say.data(done)
        return
    word = "a dead letter again" if undo else "acknowledged"
    was = " already" if done.outcome == "already" else ""
    say.tell(f"{done.run} is {word}{was}: {done.status}")


def tag(runs: list[str], tags: Retag, *, as_json: bool) -> None:
    """Change the tags of these runs, which are all known before the first one is changed.

    Raises Fail with the first refusal, after all were asked for.
    """
    for run in runs:
        link.prefix_of(run)

    async def work(client: Client) -> list[Done]:
        known = [await link.run_id(client, run) for run in runs]
        asks = [TagAsk(run, *tags) for run in dict.fromkeys(known)]
        return [await client.api("tag", ask, Done) for ask in asks]

    told = link.with_client(work)
    for done in told:
        if as_json:
            say.data(done)
        elif done.outcome == "ok":
            say.tell(f"{done.run} tagged {tags}: {done.status}")
        elif done.outcome == "already":
            say.tell(f"{done.run} is tagged so already: {done.status}")
        elif done.outcome == "sent":
            say.tell(f"{done.run}: {done.message}")
    for done in told:
        try:
            _check(done)
        except Fail as e:
            raise Fail(f"{done.run}: {e.what}", e.todo, e.code) from None


_DECISIONS: dict[str, Decision] = {"done": "done", "rerun": "rerun", "fail": "fail"}


def decisions(words: list[str]) -> dict[str, Decision]:
    """KEY=done, KEY=rerun and KEY=fail as a mapping; the key may hold `=` itself."""
    decided: dict[str, Decision] = {}
    for word in words:
        key, _, decision = word.rpartition("=")
        if not key or decision not in _DECISIONS:
            raise Fail(f"--once {word!r}", "write KEY=done, KEY=rerun or KEY=fail", Exit.USAGE)
        decided[key] = _DECISIONS[decision]
    return decided


def values_of(words: list[str], decided: dict[str, Decision]) -> dict[str, Raw]:
    """KEY=JSON as a mapping, for keys that are decided as done."""
    values: dict[str, Raw] = {}
    done = [key for key, decision in decided.items() if decision == "done"]
    for word in words:
        # Both may hold `=`: the longest decided key that fits is meant.
        key = max((k for k in done if word.startswith(f"{k}=")), key=len, default=None)
        if key is None:
            raise Fail(
                f"--value {word!r}", "write KEY=JSON for a KEY with --once KEY=done", Exit.USAGE
            )
        body = word[len(key) + 1 :].encode()
        try:
            msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            todo = "give JSON: a text goes in quotes, such as --value KEY='\"sent\"'"
            raise Fail(f"--value {word!r}: {e}", todo, Exit.USAGE) from None
        values[key] = Raw(body)
    return values


def replay(run: str, clear: tuple[str, ...], version: str, queue: str, *, as_json: bool) -> None:
    """Make a new run from an old one; prints the new run's id."""
    link.prefix_of(run)
    new = new_run_id()

    async def work(client: Client) -> Done:
        full = await link.run_id(client, run)
        ask = ReplayAsk(full, new, clear, version, queue or None)
        return await client.api("replay", ask, Done)

    done = link.with_client(work)
    _check(done)
    if as_json:
        run = new if done.outcome == "sent" else done.run or new
        say.data({"run": run, "outcome": done.outcome, "status": done.status})
    else:
        say.line(new if done.outcome == "sent" else done.run or new)
        if done.outcome == "sent":
            say.tell(done.message)


def set_queue(
    queue: str,
    *,
    limit: int | None = None,
    key_limit: int | None = None,
    paused: bool | None = None,
    reason: str = "",
    create: bool = False,
    as_json: bool,
) -> None:
    """Change a queue live; what is None stays. `create`: although nobody knows it yet."""
    _check_reason(reason)
    ask = QueueAsk(queue, limit, key_limit, paused, create=create, reason=reason)
    row = link.with_client(lambda client: client.api("queue-set", ask, QueueRow))
    if as_json:
        say.data(row)
        return
    state = "paused" if row.paused else "open"
    say.tell(f"queue {row.queue}: {state}, limit {row.limit or 'none'}")


def drain(agent: str, *, undo: bool, now: bool, reason: str = "", as_json: bool) -> None:
    """Take an agent out, or back in."""
    if undo and (now or reason):
        raise Fail(f"--undo and {'--now' if now else '--reason'}", "give one of them", Exit.USAGE)
    _check_reason(reason)
    ask = DrainAsk(agent, undo, now, reason)
    row = link.with_client(lambda client: client.api("agent-drain", ask, AgentRow))
    if as_json:
        say.data(row)
    elif undo:
        say.tell(f"agent {row.agent} takes runs again")
    else:
        what = "goes on elsewhere" if now else "goes on to its end"
        say.tell(
            f"agent {row.agent} takes nothing new; what it runs ({row.open}) {what}."
            f" Undo: headway agents drain {row.agent} --undo"
        )


def _check_reason(reason: str) -> None:
    if len(reason) > REASON:
        todo = f"at most {REASON} characters"
        raise Fail(f"--reason has {len(reason):,} characters", todo, Exit.USAGE)


def _check(done: Done) -> None:
    """Raise for a refusal; `already` is an answer, not an error."""
    if done.outcome not in {"ok", "already", "sent"}:
        code = say.exit_of(done.outcome)
        raise Fail(done.message or f"{done.outcome}: the run is {done.status}", "", code)


def _answer(done: Done, verb: str, *, as_json: bool) -> None:
    _check(done)
    if as_json:
        say.data(done)
    else:
        status = done.status.lower() or "unknown"
        if done.outcome == "sent":
            say.tell(f"{done.run}: {done.message}")
        elif done.outcome == "already":
            say.tell(f"{done.run} is {status} already")
        else:
            say.tell(f"{done.run} {verb}" + ("" if status == verb else f", now {status}"))
