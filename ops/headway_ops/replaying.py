"""`headway replay plan|run|status|approve|hold|stop|report|explain`: scripts, plans, jobs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from headway.replays import Loaded, Planned, Script, Select, TooMany, load, make_plan
from headway.replays import jobs as replay_jobs
from headway.replays import report as judge
from headway.replays.moving import became
from headway.replays.plans import name_of
from headway.replays.plans import read as read_plan
from headway.replays.script import Replay, check
from headway.texts import plural, span
from headway_ops import link, say
from headway_ops.reporting import line_of, tell
from headway_ops.say import Exit, Fail, in_a_folder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.client import Client
    from headway.replays import JobReport
    from headway.wire.replays import JobRow, Plan

NAMED = 3
"""Up to so many runs that are skipped for one reason are named."""


def is_script(target: str) -> bool:
    """True for a script or a saved plan, false for a run's id."""
    return target == "-" or target.endswith((".toml", ".py", ".json"))


def _load(target: str, start: str = "last", once: str = "keep") -> Loaded:
    """The script; for `-` the ids that stand on stdin."""
    if target != "-":
        return load(target)
    ids = tuple(link.prefix_of(word) for word in sys.stdin.read().split())
    script = Script(Select(ids=ids, limit=100_000), replay=Replay(from_=start, once=once))
    check(script)
    return Loaded(script)


async def _planned(client: Client, target: str, start: str, once: str) -> Planned:
    try:
        decide = _decide if sys.stdin.isatty() else None
        return await make_plan(client, _load(target, start, once), decide)
    except TooMany as e:
        raise Fail(str(e), "", Exit.REFUSED) from None


async def _decide(keys: dict[str, int]) -> list[str]:
    """A person says, key by key, what may happen again."""
    again: list[str] = []
    for key, n in keys.items():
        say.tell(f"once {key!r}, done in {n} runs: enter = it stays; again = it may happen again")
        answer = await asyncio.to_thread(sys.stdin.readline)
        if answer.strip() == "again":
            again.append(key)
    return again


def plan(target: str, out: str, start: str, once: str, *, as_json: bool) -> None:
    """The dry run: what would start, and the plan's name."""
    planned = link.with_client(lambda client: _planned(client, target, start, once))
    if out:
        Path(out).write_bytes(planned.body)
    if as_json:
        say.data(
            {"plan": planned.name, "items": len(planned.plan.items), "dropped": planned.dropped,
             "starts": planned.starts, "kept": planned.kept, "again": planned.again,
             "edited": planned.edited, "before": planned.before, "steps": planned.steps,
             "lacks": planned.lacks, "seconds": planned.seconds}
        )  # fmt: skip
        return
    for text in summary(planned):
        say.line(text)
    if target != "-":
        typed = f" --count {len(planned.plan.items)}" if planned.plan.clear else ""
        name = planned.name[:8]
        say.tell(f"run it: headway replay run {target} --plan {name} --yes{typed} --follow")


def summary(planned: Planned) -> list[str]:
    """The dry run for people."""
    plan, pace = planned.plan, planned.plan.pace
    starts = ", ".join(f"{n} from {where}" for where, n in planned.starts.items())
    told = [f"PLAN {planned.name}   dry run, nothing sent"]
    if plan.mode == "resume":
        told.append(f"  {plural(len(plan.items), 'run')} will go on: the next attempt, now")
    else:
        told += [
            f"  {plural(len(plan.items), 'run')} will start: {starts}",
            f"  edited: {planned.edited}   image: {plan.image or 'current'}   queue:"
            f" {plan.queue or 'as it was'}",
        ]
    told.append(
        f"  pace: {pace.rate:g}/s, {pace.max_in_flight} at once, canary {pace.canary or 'none'},"
        f" stop after {pace.stop_after_failures or 'no number of'} failures in a row"
    )
    told += [f"  {n} states lack {key!r}: it is added" for key, n in planned.lacks.items()]
    if planned.steps:
        steps = ", ".join(f"{fn} {n}" for fn, n in planned.steps.items())
        told.append(f"  steps that run again: {steps}")
    if planned.seconds:
        told.append(f"  about {span(planned.seconds)}, if they take as long as their originals")
    told += [f"  once: {n} x {key} kept (not done again)" for key, n in planned.kept.items()]
    told += [f"  ! once: {n} x {key} MAY HAPPEN AGAIN" for key, n in planned.again.items()]
    told += [
        f"  ! {n} already forked by job {job} -> forked again" for job, n in planned.before.items()
    ]
    for why, runs in planned.skips():
        named = f" ({', '.join(runs)})" if len(runs) <= NAMED else ""
        told.append(f"  ! {len(runs):,} {why} -> skipped{named}")
    return told


def explain(target: str, *, as_json: bool) -> None:
    """The whole plan as JSON, indented for people."""
    planned = link.with_client(lambda client: _planned(client, target, "last", "keep"))
    say.data(msgspec.json.decode(planned.body), indent=None if as_json else 2)


def start(
    target: str,
    wanted: str,
    *,
    yes: bool,
    follow: bool,
    junit: str,
    as_json: bool,
    typed: int | None = None,
) -> None:
    """Start the job of a plan, if the world is still the one that was planned for.

    `typed`: the number of runs, as somebody wrote it who knows that effects may happen again.
    """
    if junit:
        in_a_folder(Path(junit), "--junit")
    loaded = _load(target) if target.endswith((".toml", ".py")) else None
    saved = Path(target).read_bytes() if target.endswith(".json") else b""

    async def work(client: Client) -> tuple[JobRow, JobReport | None]:
        if saved:
            body = saved
            made, name = read_plan(body), name_of(body)
        else:
            planned = await _planned(client, target, "last", "keep")
            body, made, name = planned.body, planned.plan, planned.name
        agree(target, wanted, name, made, yes=yes, typed=typed)
        row = await replay_jobs.start(client, body)
        say.tell(f"job {row.job}: {row.state}, {row.items} runs; headway replay status {row.job}")
        if not follow:
            return row, None
        try:
            return row, await _follow(client, row.job, loaded, yes=yes)
        except asyncio.CancelledError:
            say.tell(f"detached: the job goes on; headway replay stop {row.job} ends it")
            raise

    row, done = link.with_client(work)
    if done is None:
        if as_json:
            say.data(row)
        else:
            say.line(row.job)
        return
    tell(done, junit, markdown=False, as_json=as_json)


def agree(target: str, wanted: str, name: str, plan: Plan, *, yes: bool, typed: int | None) -> None:
    """Raise Fail unless this plan was agreed on, by its name and where needed by its number.

    `typed`: the number of runs that was given; needed where once marks are cleared.
    """
    count = len(plan.items)
    again = f"headway replay run {target} --plan {name[:8]} --yes"
    if wanted and (len(wanted) < 4 or not name.startswith(wanted.lower())):
        raise Fail(
            f"the plan is {name[:12]} now, not {wanted}: the runs, or the script, have changed",
            f"headway replay plan {target}",
            Exit.CHANGED,
        )
    if yes and wanted:
        if plan.clear and typed != count:
            raise Fail(
                f"{count} runs would start in which {', '.join(plan.clear)} may happen again",
                f"{again} --count {count}",
                Exit.REFUSED,
            )
        return
    if not wanted or not sys.stdin.isatty():
        lacks = "not confirmed"
        if yes != bool(wanted):
            lacks = f"{'--yes' if yes else '--plan'} alone is not enough"
        raise Fail(f"{count} runs would start by plan {name[:12]}; {lacks}", again, Exit.REFUSED)
    say.tell(f"{count} runs start by plan {name[:12]}. Type the number to go on:")
    if sys.stdin.readline().strip() != str(count):
        raise Fail("not confirmed: nothing was started", "", Exit.REFUSED)


async def _follow(client: Client, job: str, loaded: Loaded | None, *, yes: bool) -> JobReport:
    """One line per change until the job ends; with `yes` a green canary is approved."""
    function = None if loaded is None else loaded.check
    async for row in replay_jobs.follow(client, job):
        say.tell(line_of(row))
        if row.state != "canary":
            continue
        detail = await replay_jobs.job(client, job, n=0)
        told = await judge(client, job, function, detail.pace.canary)
        if told.failed > detail.max_failed:
            await replay_jobs.stop(client, job)
            say.tell("the canary failed its checks: the rest is not started")
        elif yes and detail.row.state == "canary":
            say.tell("the canary passed its checks: approved")
            await replay_jobs.approve(client, job)
    return await judge(client, job, function)


def jobs(*, as_json: bool) -> None:
    """All jobs, newest first."""
    found = link.with_client(replay_jobs.jobs)
    if as_json:
        say.rows(found)
        return
    for row in found:
        say.line(f"{line_of(row)}  {row.name}".rstrip())
    if not found:
        say.tell("no replay jobs; headway replay plan SCRIPT shows what one would do")


def status(job: str, *, as_json: bool) -> None:
    """One job with its first thousand items."""
    detail = link.with_client(lambda client: replay_jobs.job(client, job))
    if as_json:
        say.data(detail)
        return
    say.line(line_of(detail.row))
    for item in detail.items:
        where = f"#{item.checkpoint}" if item.checkpoint else "start"
        made = item.state not in ("waiting", "refused") and item.fork != item.run
        fork = f"{where:<6} {item.fork if made else '-':<26} " if detail.row.mode == "fork" else ""
        say.line(f"  {became(detail.row.mode, item):<12} {item.run} {fork}{item.reason}".rstrip())


def move(job: str, how: Callable[[Client, str], Awaitable[JobRow]], *, as_json: bool) -> None:
    """Approve, hold or stop."""
    row = link.with_client(lambda client: how(client, job))
    if as_json:
        say.data(row)
    else:
        say.tell(line_of(row))


def report(job: str, script: str, junit: str, *, markdown: bool, as_json: bool) -> None:
    """Judge a job; exit code 1 beyond its gate."""
    function = load(script).check if script else None
    done = link.with_client(lambda client: judge(client, job, function))
    tell(done, junit, markdown=markdown, as_json=as_json)
