"""ls, show, agents, queue ls: ask the engine, print the answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from rich.text import Text

from headway.config import from_environment
from headway.follow import stored_events
from headway.retry import seconds
from headway.states import RunState
from headway.wire.commands import AgentRow, QueueRow, RunDetail, RunRow, RunsPage, RunsQuery
from headway_ops import link, render, say, story
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client

PAGE = 200


def list_runs(
    status: tuple[str, ...],
    task: str,
    queue: str,
    tags: tuple[str, ...],
    since: str,
    text: str,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Print at most `limit` runs, newest first."""
    query = RunsQuery(
        status=statuses(status), task=task, queue=queue, tags=tags, text=text,
        since=moment(since, datetime.now(UTC)) if since else None, n=min(limit, PAGE),
    )  # fmt: skip
    rows, page = link.with_client(lambda client: _pages(client, query, limit))
    if as_json:
        say.rows(rows)
        return
    if not rows:
        say.tell(f"no such runs at {link.asked(from_environment())}")
        return
    say.show(render.runs_table(rows, page.as_of))
    if page.more:
        say.tell(f"there are more: --limit {limit * 4}")
    counts = render.counts_line(page.counts)
    if counts:
        say.show(Text(), counts)


async def _pages(client: Client, query: RunsQuery, limit: int) -> tuple[list[RunRow], RunsPage]:
    rows: list[RunRow] = []
    while True:
        query.n = min(limit - len(rows), PAGE)
        page = await client.api("runs", query, RunsPage)
        rows += page.runs
        if not page.next or len(rows) >= limit:
            return rows, page
        query.after = page.next


def statuses(words: tuple[str, ...]) -> tuple[str, ...]:
    """Checked status filters; commas may join them. Fail names what is possible."""
    known = {s.status for s in RunState} | {"live", "ended"}
    asked = tuple(w.lower() for word in words for w in word.split(",") if w)
    for word in asked:
        if word not in known:
            raise Fail(f"no status {word!r}", "one of " + ", ".join(sorted(known)), Exit.USAGE)
    return asked


def moment(text: str, now: datetime) -> datetime:
    """`2h` ago, or an RFC 3339 time; without a zone it is local."""
    if text[:4].isdigit() and "-" in text:
        try:
            return datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise Fail(
                f"{text!r} is no time", 'write "2h" or 2026-01-31T12:00', Exit.USAGE
            ) from None
    return now - timedelta(seconds=seconds(text, "since"))


def show_run(run: str, *, whole: bool, as_json: bool) -> None:
    """Print one run's story; the `whole` has every event."""
    link.prefix_of(run)

    async def ask(client: Client) -> RunDetail:
        detail = await link.detail(client, run)
        if whole:
            detail.events = await stored_events(client, detail.row.run)
        return detail

    found = link.with_client(ask)
    if as_json:
        say.data(found)
    else:
        say.show(story.story(found, datetime.now(UTC), whole=whole))


def list_agents(*, as_json: bool) -> None:
    """Print the agents."""
    rows = link.with_client(lambda client: client.api("agents", None, list[AgentRow]))
    if as_json:
        say.rows(rows)
    elif rows:
        say.show(render.agents_table(rows))
    else:
        say.tell("no agent has ever registered: start one with `headway agent`, or `headway up`")


def list_queues(*, as_json: bool) -> None:
    """Print the queues."""
    rows = link.with_client(lambda client: client.api("queues", None, list[QueueRow]))
    if as_json:
        say.rows(rows)
    elif rows:
        say.show(render.queues_table(rows, datetime.now(UTC)))
    else:
        say.tell("no queues yet: a queue appears with its first task or run")
