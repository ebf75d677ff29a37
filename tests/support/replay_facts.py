"""The replay console on recorded facts: a draft, its plan, a job in its canary, two runs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from headway.replays import Pace, Planned, Replay, Script, Select
from headway.replays.plans import canonical, name_of
from headway.replays.script import Edit
from headway.wire import ErrorInfo
from headway.wire.events import Event
from headway.wire.replays import Check, JobDetail, JobItem, JobRow, Plan, PlanItem
from headway.wire.runs import CheckpointRow, RunDetail, RunRow
from headway_tui.comparison import Comparison
from headway_tui.model.compared import head_row, timeline_rows
from headway_tui.model.drafts import Decision, Draft
from headway_tui.model.jobs import plan_words
from headway_tui.screens.replay import ReplayScreen
from support.consoles import NOW, T0, show

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp

RUNS = tuple(f"01JD9K4W2M8QZ5{i}VN3XBTRFGAB" for i in range(6))
FORKS = tuple(f"01JD9M0A118QZ5{i}VN3XBTRFJAB" for i in range(6))
JOB = "rj_7be1a90c44d2"


def a_draft() -> Draft:
    """What an operator put together, recorded."""
    script = Script(
        Select('status:dead task:research-agent error:"429" since:2h', limit=500),
        name="fix 429",
        replay=Replay(from_="last", queue="agents", tags=("incident-429",)),
        edit=Edit({"model": "haiku", "llm": {"api_key": "sk-1"}, "debug": None}),
        pace=Pace(canary=3),
        check=(Check("status == 'succeeded'"),
               Check("fork.cost_usd <= 1.2 * original.cost_usd", "warn")),
    )  # fmt: skip
    decisions = [Decision(T0, "select", "query = status:dead"),
                 Decision(T0, "edit", 'state = state.model = "haiku"')]  # fmt: skip
    return Draft(script, dirty=True, recording=True, decisions=decisions)


def a_planned() -> Planned:
    """What it came to."""
    plan = Plan(tuple(PlanItem(r, 7) for r in RUNS), "fix 429", pace=a_draft().script.pace.wire())
    body = canonical(plan)
    left = [("01JD9K4W2M8QZ5V7N3XBTRFZZZ", "running: not ended yet")]
    starts = {"#7": 4, "#2": 1, "start": 1}
    return Planned(
        plan,
        body,
        name_of(body),
        left,
        starts,
        {"send-email": 5},
        {"sms": 1},
        5,
        {},
        {"generate_text": 97, "search": 180},
        {"model": 3},
        400.0,
    )


def a_row(run: str, status: str, **more: Any) -> RunRow:
    fields: dict[str, Any] = {"started_at": T0, "attempt": 1, "max_attempts": 5} | more
    return RunRow(run, "research-agent", status, "agents", T0, **fields)


def a_comparison() -> Comparison:
    """An original that failed at its second turn, and a fork that went on."""
    error = ErrorInfo("RateLimitError", "429 from llm")

    def event(n: int, kind: str, epoch: int = 1, **data: Any) -> Event:
        return Event(n, T0 + timedelta(seconds=n), kind, epoch, data=data)

    def point(number: int, digest: str) -> CheckpointRow:
        return CheckpointRow(number, f"turn-{number}", 10, T0, 1, digest)

    a = RunDetail(
        a_row(RUNS[0], "failed", ended_at=T0 + timedelta(seconds=252), error=error, attempt=5,
              cost_usd=0.14, tokens_in=9000, tokens_out=1200, checkpoint=1),
        events=[
            event(1, "queued"), event(2, "started"),
            event(3, "checkpoint", number=1, name="turn-1"),
            event(4, "step", key="generate-text", seconds=20.1, status="failed"),
            event(5, "retrying", error={"type": "RateLimitError", "message": "429"}),
            event(6, "started", 2, resumed_from=1),
            event(7, "failed", 2, error={"type": "RateLimitError", "message": "429 from llm"}),
        ],
        checkpoints=[point(1, "aa")],
    )  # fmt: skip
    b = RunDetail(
        a_row(FORKS[0], "succeeded", ended_at=T0 + timedelta(seconds=100), cost_usd=0.05,
              tokens_in=4000, tokens_out=700, checkpoint=2, origin=RUNS[0]),
        events=[
            event(1, "forked", 0, origin=RUNS[0], checkpoint=1), event(2, "started"),
            event(3, "step", key="generate-text", seconds=3.2, status="done"),
            event(4, "checkpoint", number=2, name="turn-2"), event(5, "succeeded"),
        ],
        checkpoints=[point(1, "bb"), point(2, "cc")],
    )  # fmt: skip
    return Comparison(a, b)


async def open_replay(app: HeadwayApp, pilot: Any, *, job: bool = True) -> ReplayScreen:
    """The screen with its facts."""
    app.pane_screen.open_replay(a_draft())
    await pilot.pause()
    screen = app.pane_screen
    assert isinstance(screen, ReplayScreen)
    screen.now = lambda: NOW
    screen.workers.cancel_all()
    screen.planned = a_planned()
    screen.plan.say(plan_words(screen.planned))
    feed = screen.feed
    assert feed is not None
    listed = JobRow(JOB, "7b" * 32, "canary", 6, T0, "fix 429", "user:ana", succeeded=2, failed=1,
                    waiting=3, reason="the canary of 3 has ended: approve?")  # fmt: skip
    feed.list = [
        listed,
        JobRow("rj_0031aaaaaaaa", "7b" * 32, "done", 40, T0, "golden", "user:ci", succeeded=40),
    ]
    if job:
        screen.draft.job = JOB
        feed.row = listed
        states = [("ended", "succeeded"), ("ended", "succeeded"), ("ended", "failed"),
                  ("started", ""), ("refused", ""), ("waiting", "")]  # fmt: skip
        feed.items = [
            JobItem(i + 1, RUNS[i], FORKS[i], state, 7 if i < 5 else 0, status,
                    "the run was removed" if state == "refused" else "")
            for i, (state, status) in enumerate(states)
        ]  # fmt: skip
        feed.detail = JobDetail(feed.row, feed.items, a_planned().plan.pace)
        error = ErrorInfo("RateLimitError", "429 from llm")
        ended = {"ended_at": T0 + timedelta(seconds=100)}
        feed.rows = {
            **{r: a_row(r, "failed", error=error, cost_usd=0.14) for r in RUNS},
            FORKS[0]: a_row(FORKS[0], "succeeded", cost_usd=0.05, **ended),
            FORKS[1]: a_row(FORKS[1], "succeeded", cost_usd=0.05, **ended),
            FORKS[2]: a_row(FORKS[2], "failed", error=error, **ended),
            FORKS[3]: a_row(FORKS[3], "running", checkpoint=8, checkpoint_name="iteration-8"),
        }
        screen.comparison = a_comparison()
        screen._compared = (RUNS[0], f"{FORKS[0]}ended0")  # pyright: ignore[reportPrivateUsage]
        both = screen.comparison
        screen.sides.show([head_row(both.a.row, both.b.row), *timeline_rows(both.lines)])
    screen.lay_out()
    await pilot.pause()
    await show(app, pilot)
    return screen
