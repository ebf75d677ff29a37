"""cancel, resume, ack and tag by query: count, confirm, then a job of the engine that does it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

from headway.replays import jobs as replay_jobs
from headway.replays.moving import PAST, meant, plans
from headway.tags import Retag
from headway.texts import plural
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.client import Client
    from headway.replays.moving import Meant, Verb
    from headway.wire.replays import JobItem, JobRow

FEW = 10
"""Up to so many runs a plain yes is enough."""
SHOWN = 5


class Consent(NamedTuple):
    """What the user said beforehand."""

    yes: bool = False
    expect: int | None = None
    dry_run: bool = False


def bulk(
    verb: Verb,
    query: str,
    consent: Consent,
    reason: str = "",
    tags: Retag | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Count what the query means, ask, start a job, follow it. Ctrl+C leaves the job to the engine.

    `tags`: with the verb `tag`. Raises Fail: 3 if the count is not the expected one, 4 without
    consent, 1 if runs were refused or the job was stopped.
    """
    tags = tags or Retag()
    counted = link.with_client(lambda client: meant(client.api, verb, query))
    count = len(counted.runs)
    if consent.expect is not None and count != consent.expect:
        raise Fail(
            f"{count} runs match, not {consent.expect}: nothing was done",
            "--dry-run, then --expect with the new number", Exit.CHANGED,
        )  # fmt: skip
    if consent.dry_run or not count:
        _planned(verb, counted, tags, as_json=as_json)
        return
    if not as_json:
        _planned(verb, counted, tags, as_json=False)
    refusal = unconfirmed(verb, count, consent, _asked)
    if refusal is not None:
        raise refusal
    bodies = plans(verb, counted, query, reason, tags)
    rows, refused = link.with_client(lambda client: _carried_out(client, bodies))
    _told(verb, rows, refused, as_json=as_json)
    if any(row.failed or row.state != "done" for row in rows):
        raise SystemExit(int(Exit.FAILED))


async def _carried_out(client: Client, bodies: list[bytes]) -> tuple[list[JobRow], list[JobItem]]:
    """The jobs as they ended, and items that were refused."""
    rows = [await replay_jobs.start(client, body) for body in bodies]
    refused: list[JobItem] = []
    for at, row in enumerate(rows):
        say.tell(f"job {row.job}: {plural(row.items, 'run')}, in the engine")
        try:
            async for now in replay_jobs.follow(client, row.job):
                rows[at] = now
                if now.state == "running" and now.waiting:
                    say.tell(f"  {now.items - now.waiting:,} of {now.items:,}")
                elif now.state == "held":
                    say.tell(f"  held: headway replay approve {row.job} goes on")
        except BaseException:
            left = f"headway replay status {row.job}, headway replay stop {row.job}"
            say.tell(f"the job goes on in the engine; {left}")
            raise
        if rows[at].failed:
            items = (await replay_jobs.all_items(client, row.job))[1]
            refused += [item for item in items if item.state == "refused"]
    return rows, refused


def unconfirmed(
    verb: str, count: int, consent: Consent, asked: Callable[[str], str | None]
) -> Fail | None:
    """Why it must not be done; None = go on. `asked` gives what is typed, None without a person."""
    if consent.yes and (count <= FEW or consent.expect == count):
        return None
    if consent.yes:
        todo = f"--yes --expect {count}"
        return Fail(f"{count} runs: more than {FEW} need the number too", todo, Exit.REFUSED)
    wanted = "yes" if count <= FEW else str(count)
    typed = asked(f"{verb} {plural(count, 'run')}? Type {wanted} to go on: ")
    if typed is None:
        todo = "--yes" + (f" --expect {count}" if count > FEW else "")
        return Fail("nobody is there to confirm it", todo, Exit.REFUSED)
    if typed.strip().lower() != wanted:
        return Fail("not confirmed: nothing was done", "", Exit.REFUSED)
    return None


def _asked(prompt: str) -> str | None:
    if not sys.stdin.isatty():
        return None
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline()


def _planned(verb: Verb, found: Meant, tags: Retag, *, as_json: bool) -> None:
    """What would be done."""
    count = len(found.runs)
    if as_json:
        told = {"as_of": found.as_of, "matched": count, "runs": found.runs[:SHOWN]}
        say.data({"verb": verb, "dry_run": True} | told)
        return
    say.tell(f"{plural(count, 'run')} would be {PAST[verb]} {tags}".rstrip())
    for run in found.runs[:SHOWN]:
        say.tell(f"  {run}")
    if count > SHOWN:
        say.tell(f"  and {count - SHOWN} more")


def _told(verb: Verb, rows: list[JobRow], refused: list[JobItem], *, as_json: bool) -> None:
    """What was done."""
    done, left = sum(row.succeeded for row in rows), sum(row.waiting for row in rows)
    if as_json:
        why = {item.run: item.reason for item in refused}
        told = {"matched": sum(row.items for row in rows), "done": done, "refused": why}
        jobs = [row.job for row in rows]
        say.data({"verb": verb, "dry_run": False} | told | {"left": left, "jobs": jobs})
        return
    parts = [f"{done} {PAST[verb]}"]
    parts += [f"{len(refused)} refused"] if refused else []
    parts += [f"{left} left: the job was stopped"] if left else []
    say.tell(", ".join(parts))
    for item in refused[:SHOWN]:
        say.tell(f"  {item.run}: {item.reason}")
