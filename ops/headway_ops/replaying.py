"""`headway replay plan|run|status|approve|hold|stop|report|explain`: scripts, plans, jobs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import msgspec
from msgspec import Raw

from headway import subjects
from headway.ids import new_run_id
from headway.replays import Loaded, Planned, Script, Select, TooMany, load, make_plan
from headway.replays import report as judge
from headway.replays.plans import name_of
from headway.replays.plans import read as read_plan
from headway.replays.script import Replay, check
from headway.wire.replays import JobAsk, JobDetail, JobRow, JobsPage, PlanStart
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client
    from headway.replays import JobReport

INLINE_PLAN = 512 * 1024
LOOK_EVERY = 2.0
"""Seconds after which a job is asked for although nothing was heard of it."""
SIGNS = {"ok": "ok", "warn": "~", "fail": "FAIL", "open": "..."}


def is_script(target: str) -> bool:
    """True for a script or a saved plan, false for a run's id."""
    return target == "-" or target.endswith((".toml", ".py", ".json"))


def _load(target: str, start: str = "last", once: str = "keep") -> tuple[Loaded, list[str] | None]:
    """The script; for `-` the ids that stand on stdin."""
    if target != "-":
        return load(target), None
    ids = [link.prefix_of(word) for word in sys.stdin.read().split()]
    script = Script(Select("", limit=100_000), replay=Replay(from_=start, once=once))
    check(script)
    return Loaded(script), ids


async def _planned(client: Client, target: str, start: str, once: str) -> Planned:
    loaded, ids = _load(target, start, once)
    try:
        return await make_plan(client, loaded, ids)
    except TooMany as e:
        raise Fail(str(e), "", Exit.REFUSED) from None


def plan(target: str, out: str, start: str, once: str, *, as_json: bool) -> None:
    """The dry run: what would start, and the plan's name."""
    planned = link.with_client(lambda client: _planned(client, target, start, once))
    if out:
        Path(out).write_bytes(planned.body)
    if as_json:
        say.data(
            {"plan": planned.name, "items": len(planned.plan.items), "dropped": planned.dropped,
             "starts": planned.starts, "kept": planned.kept, "again": planned.again,
             "edited": planned.edited}
        )  # fmt: skip
        return
    for text in summary(planned):
        say.line(text)
    if target != "-":
        say.tell(f"run it: headway replay run {target} --plan {planned.name[:8]} --yes --follow")


def summary(planned: Planned) -> list[str]:
    """The dry run for people."""
    plan, pace = planned.plan, planned.plan.pace
    starts = ", ".join(f"{n} from {where}" for where, n in planned.starts.items())
    told = [
        f"PLAN {planned.name}   dry run, nothing sent",
        f"  {len(plan.items)} runs will start: {starts}",
        f"  edited: {planned.edited}   image: {plan.image or 'current'}   queue:"
        f" {plan.queue or 'as it was'}",
        f"  pace: {pace.rate:g}/s, {pace.max_in_flight} at once, canary {pace.canary or 'none'},"
        f" stop after {pace.stop_after_failures or 'no number of'} failures in a row",
    ]
    told += [f"  once: {n} x {key} kept (not done again)" for key, n in planned.kept.items()]
    told += [f"  ! once: {n} x {key} MAY HAPPEN AGAIN" for key, n in planned.again.items()]
    return told + [f"  left out: {run}: {why}" for run, why in planned.dropped]


def explain(target: str, *, as_json: bool) -> None:
    """The whole plan as JSON, indented for people."""
    planned = link.with_client(lambda client: _planned(client, target, "last", "keep"))
    say.data(msgspec.json.decode(planned.body), indent=None if as_json else 2)


def start(target: str, wanted: str, *, yes: bool, follow: bool, junit: str, as_json: bool) -> None:
    """Start the job of a plan, if the world is still the one that was planned for."""
    loaded = _load(target)[0] if target.endswith((".toml", ".py")) else None
    saved = Path(target).read_bytes() if target.endswith(".json") else b""

    async def work(client: Client) -> tuple[JobRow, JobReport | None]:
        if saved:
            body = saved
            count, name = len(read_plan(body).items), name_of(body)
        else:
            planned = await _planned(client, target, "last", "keep")
            body, count, name = planned.body, len(planned.plan.items), planned.name
        _agree(target, wanted, name, count, yes=yes)
        row = await _send(client, body, name)
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
    _tell(done, junit, markdown=False, as_json=as_json)


def _agree(target: str, wanted: str, name: str, count: int, *, yes: bool) -> None:
    again = f"headway replay run {target} --plan {name[:8]} --yes"
    if wanted and (len(wanted) < 4 or not name.startswith(wanted.lower())):
        raise Fail(
            f"the plan is {name[:12]} now, not {wanted}: the runs, or the script, have changed",
            f"headway replay plan {target}",
            Exit.CHANGED,
        )
    if yes and wanted:
        return
    if not wanted or not sys.stdin.isatty():
        raise Fail(f"{count} runs would start by plan {name[:12]}; not confirmed", again,
                   Exit.REFUSED)  # fmt: skip
    say.tell(f"{count} runs start by plan {name[:12]}. Type the number to go on:")
    if sys.stdin.readline().strip() != str(count):
        raise Fail("not confirmed: nothing was started", "", Exit.REFUSED)


async def _send(client: Client, body: bytes, name: str) -> JobRow:
    if len(body) <= INLINE_PLAN:
        return await client.api("plan-start", PlanStart(name, Raw(body)), JobRow)
    run = new_run_id()
    ref = await client.upload(run, body, "the plan")
    return await client.api("plan-start", PlanStart(name, run=run, ref=ref), JobRow)


async def _follow(client: Client, job: str, loaded: Loaded | None, *, yes: bool) -> JobReport:
    """One line per change until the job ends; with `yes` a green canary is approved."""
    heard, said = asyncio.Event(), ""
    function = None if loaded is None else loaded.check

    async def hear(_: object) -> None:
        heard.set()

    await client.connection.subscribe(subjects.beat_job(client.namespace, job), cb=hear)
    while True:
        detail = await client.api("job", JobAsk(job, n=0), JobDetail)
        row = detail.row
        if (text := line_of(row)) != said:
            say.tell(text)
            said = text
        if row.state in ("done", "stopped") and not row.running:
            return await judge(client, job, function)
        if row.state == "canary":
            told = await judge(client, job, function, detail.pace.canary)
            if told.failed > detail.max_failed:
                await client.api("job-stop", JobAsk(job), JobRow)
                say.tell("the canary failed its checks: the rest is not started")
                continue
            if yes:
                say.tell("the canary passed its checks: approved")
                await client.api("job-approve", JobAsk(job), JobRow)
                continue
        heard.clear()
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await heard.wait()
        except TimeoutError:
            continue


def line_of(row: JobRow) -> str:
    """A job on one line."""
    why = f" ({row.reason})" if row.reason else ""
    return (
        f"{row.job} {row.state}{why}: {row.succeeded} succeeded, {row.failed} failed,"
        f" {row.running} running, {row.waiting} waiting"
    )


def jobs(*, as_json: bool) -> None:
    """All jobs, newest first."""
    page = link.with_client(lambda client: client.api("jobs", None, JobsPage))
    if as_json:
        say.rows(page.jobs)
        return
    for row in page.jobs:
        say.line(f"{line_of(row)}  {row.name}".rstrip())
    if not page.jobs:
        say.tell("no replay jobs; headway replay plan SCRIPT shows what one would do")


def status(job: str, *, as_json: bool) -> None:
    """One job with its first thousand items."""
    detail = link.with_client(lambda client: client.api("job", JobAsk(job), JobDetail))
    if as_json:
        say.data(detail)
        return
    say.line(line_of(detail.row))
    for item in detail.items:
        where = f"#{item.checkpoint}" if item.checkpoint else "start"
        fork = "-" if item.state in ("waiting", "refused") else item.fork
        word = item.status or item.state
        say.line(f"  {word:<10} {item.run} {where:<6} {fork:<26} {item.reason}".rstrip())


def move(job: str, verb: str, *, as_json: bool) -> None:
    """Approve, hold or stop."""
    row = link.with_client(lambda client: client.api(verb, JobAsk(job), JobRow))
    if as_json:
        say.data(row)
    else:
        say.tell(line_of(row))


def report(job: str, script: str, junit: str, *, markdown: bool, as_json: bool) -> None:
    """Judge a job; exit code 1 beyond its gate."""
    function = load(script).check if script else None
    done = link.with_client(lambda client: judge(client, job, function))
    _tell(done, junit, markdown=markdown, as_json=as_json)


def _tell(done: JobReport, junit: str, *, markdown: bool, as_json: bool) -> None:
    if junit:
        Path(junit).write_text(junit_of(done), "utf-8")
    row = done.detail.row
    if as_json:
        say.data(done)
    elif markdown:
        for text in (f"# {row.name or row.job}", "", line_of(row), ""):
            say.line(text)
        say.line("| verdict | original | was | fork | status | why |")
        say.line("| --- | --- | --- | --- | --- | --- |")
        for j in done.items:
            why = "; ".join(j.reasons).replace("|", "\\|").replace("\n", " ")
            say.line(f"| {SIGNS[j.verdict]} | {j.item.run} | {j.was} | {j.item.fork} |"
                     f" {j.item.status or j.item.state} | {why} |")  # fmt: skip
    else:
        for j in done.items:
            why = "; ".join(j.reasons)
            word = j.item.status or j.item.state
            say.line(f"{SIGNS[j.verdict]:<5} {j.item.run} -> {j.item.fork} {word}  {why}".rstrip())
        say.line(f"{line_of(row)}; {done.failed} failed their checks, {done.detail.max_failed} may")
    if not done.green:
        raise SystemExit(int(Exit.FAILED))


def junit_of(done: JobReport) -> str:
    """The report as JUnit XML: one test case per item."""
    row = done.detail.row
    cases: list[str] = []
    for j in done.items:
        inside = ""
        why = quoteattr(_xml("; ".join(j.reasons)))
        if j.verdict == "fail":
            inside = f"<failure message={why}/>"
        elif j.verdict == "open":
            inside = "<skipped/>"
        elif j.reasons:
            inside = f"<system-out>{why[1:-1]}</system-out>"
        cases.append(
            f"<testcase classname={quoteattr(row.job)} name={quoteattr(j.item.run)}"
            f' time="{j.seconds:.3f}">{inside}</testcase>'
        )
    skipped = sum(j.verdict == "open" for j in done.items)
    head = (
        f'<testsuite name={quoteattr(_xml(row.name or row.job))} tests="{len(done.items)}"'
        f' failures="{done.failed}" skipped="{skipped}">'
    )
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>", ""])


def _xml(text: str) -> str:
    """Without what XML cannot hold."""
    return "".join(c if c in "\t\n" or " " <= c < "\ud800" or c > "\udfff" else "?" for c in text)
