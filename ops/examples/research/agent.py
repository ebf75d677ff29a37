"""A research agent that survives: the task that `ops/demo` kills and that goes on.

Each turn: save the notes, ask the planner what to do, do it, keep what was found. Kill the
container at any line: a new one gets the notes back and repeats no plan, search or delivery that
was acknowledged. Everything else here is plain Python, without rules.
"""

from __future__ import annotations

import asyncio
from functools import partial

from delivery import Delivery, deliver, delivered
from msgspec import Struct
from planner import Plan, pick_planner
from report import write_report
from tools import Finish, Notes, Open, Search, Take, open_page, quote, rank, search, take

from headway import Done, NotDone, Retry, checkpoint, once, resume, step, task


class Report(Struct, frozen=True):
    """The result of a run. `text` is Markdown."""

    question: str
    text: str
    planner: str
    turns: int
    quotes: int
    delivery: Delivery


@task(
    retry=Retry(max_attempts=5, min_delay="1s", max_delay="30s"),
    timeout="30m",
    memory="512m",
    state=Notes,
)
async def research(
    question: str, turns: int = 12, pace: float = 0.0, report_dir: str = ""
) -> Report:
    """Answer a question from the sources on this machine, with quotes and where they stand.

    `pace`: seconds to rest in each turn, so that there is time to watch (and to pull the plug).
    """
    return await investigate(question, turns, pace, report_dir)


@task(
    id="research-with-model",
    retry=Retry(max_attempts=5, min_delay="5s", max_delay="60s"),
    timeout="30m",
    memory="512m",
    network="egress",
    secrets=("ANTHROPIC_API_KEY",),
    state=Notes,
)
async def research_with_model(question: str, turns: int = 20, report_dir: str = "") -> Report:
    """The same with a model as the planner: it needs the network and a key, nothing else does."""
    return await investigate(question, turns, 0.0, report_dir)


async def investigate(question: str, turns: int, pace: float, report_dir: str) -> Report:
    """Turn after turn until the planner says that it is enough, then deliver the report once."""
    planner, plan = pick_planner()
    notes = await resume(Notes(question))
    while not notes.done and notes.turn < turns:
        await checkpoint(f"turn-{notes.turn}", notes)
        await take_turn(notes, await step(f"plan-{notes.turn}", plan, notes))
        await asyncio.sleep(pace)

    text = write_report(notes, rank(notes.question, notes.quotes), planner)
    delivery = await once(
        "deliver-report", deliver, report_dir, text, check=partial(was_delivered, report_dir)
    )
    return Report(question, text, planner, notes.turn, len(notes.quotes), delivery)


async def take_turn(notes: Notes, plan: Plan) -> None:
    """Carry out the moves of one turn; what reads the corpus is a step, so its answer is kept."""
    print(f"turn {notes.turn}: {plan.aim}")
    desk, notes.desk = notes.desk, []
    for number, move in enumerate(plan.moves):
        key = f"{notes.turn}-{number}"
        match move:
            case Search():
                take(notes, await step(f"search-{key}", search, move.query), move)
            case Open():
                take(notes, await step(f"open-{key}", open_page, move.source, move.line), move)
            case Take():
                take(notes, quote(desk, move), move)
            case Finish():
                notes.done, notes.why = True, move.why
    notes.plan = plan.aim
    notes.turn += 1


def was_delivered(report_dir: str, token: str) -> Done | NotDone:
    """After a crash inside the delivery: the ledger knows whether it happened."""
    found: Delivery | None = delivered(report_dir, token)
    return Done(found) if found else NotDone()
