"""ls, show, dead, agents, queue ls, metrics, usage: ask the engine, print the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from rich.text import Text

from headway.config import from_environment
from headway.follow import stored_events
from headway.wire.fleet import AgentRow, Metrics, MetricsAsk, QueueRow
from headway.wire.runs import RunDetail, RunRow, RunsPage, RunsQuery, UsageAsk, UsageRow
from headway.wire.sites import SitesPage
from headway.wire.steering import DeadAsk, DeadPage
from headway_ops import link, render, say, story
from headway_ops.querying import moment, total_of
from headway_ops.sites import waiting_line

if TYPE_CHECKING:
    from headway.client import Client

PAGE = 200


def list_runs(
    query: str, limit: int, sort: Literal["newest", "oldest"], *, ids: bool, as_json: bool
) -> None:
    """Print at most `limit` runs that the query means."""
    data = ids or as_json
    ask = RunsQuery(query=query, n=min(limit, PAGE), sort=sort, total=not data)
    rows, page, total, sites = link.with_client(lambda client: _pages(client, ask, limit))
    if ids:
        for row in rows:
            say.line(row.run)
    elif as_json:
        say.rows(rows)
    elif rows:
        say.show(render.runs_table(rows, page.as_of))
    if page.more and len(rows) >= limit:
        of = f"{len(rows)} of {total}; " if total else ""
        say.tell(f"{of}there are more: --limit {limit * 4}")
    if data:
        return
    if not rows:
        at = link.asked(from_environment())
        say.tell(f"no such runs at {at}" + (f": {query}" if query else ""))
        return
    if page.sites:
        say.show(Text(), render.sites_line(page.sites, page.as_of))
    if sites is not None and (line := waiting_line(sites.sites, sites.as_of)):
        say.show(Text(), line)
    counts = render.counts_line(page.counts)
    if counts:
        say.show(Text(), counts)


async def _pages(
    client: Client, query: RunsQuery, limit: int
) -> tuple[list[RunRow], RunsPage, str, SitesPage | None]:
    """Rows, the last page, how many there are in all, in words, and the sites that are meant."""
    rows: list[RunRow] = []
    total = ""
    while True:
        query.n = min(limit - len(rows), PAGE)
        page = await client.api("runs", query, RunsPage)
        rows += page.runs
        total = total or total_of(page)
        if not page.next or len(rows) >= limit:
            sites = None
            if page.sites or "site:" in query.query:
                sites = await client.api("sites", None, SitesPage)
            return rows, page, total, sites
        query.after, query.total = page.next, False


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


def list_dead(by: Literal["task", "error"], limit: int, site: str, *, as_json: bool) -> None:
    """Print failures that nobody has acknowledged, by class; at a hub maybe of one site."""
    ask = DeadAsk(by, limit, site)
    page = link.with_client(lambda client: client.api("dead", ask, DeadPage))
    if as_json:
        say.data(page)
        return
    if not page.classes:
        say.tell("no dead letters: every failure has been acknowledged")
        return
    say.show(render.dead_table(page.classes, page.as_of))
    more = f" in {page.more} more classes and these" if page.more else ""
    say.tell(f"{page.total} runs{more}; headway ls 'status:dead failure:CLASS', headway ack")


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


def show_metrics(last: int, *, as_json: bool) -> None:
    """Print the curves of all engines together, as the console draws them."""
    from headway_tui.model.metrics import MetricsView

    found = link.with_client(lambda client: client.api("metrics", MetricsAsk(last), Metrics))
    if as_json:
        say.data(found)
        return
    view = MetricsView()
    view.snapshot(found)
    say.show(render.curves_table(view.curves(found.now, last)))
    engines = ", ".join(view.live(found.now)) or "none"
    say.tell(f"engines: {engines}; of {view.held(found.now, last)} s, all namespaces added up")
    if found.log_dropped or found.spans_dropped:
        say.tell(
            f"dropped: {found.log_dropped:,} of {found.log_lines:,} log lines,"
            f" {found.spans_dropped:,} spans"
        )


def show_usage(
    by: Literal["task", "model", "run", "day"],
    task: str,
    model: str,
    since: str,
    limit: int,
    site: str,
    *,
    as_json: bool,
) -> None:
    """Print what runs used of language models, summed. Raises Fail for a bad `since`."""
    start = moment(since, datetime.now(UTC)) if since else None
    ask = UsageAsk(by, task, model, since=start, n=limit, site=site)
    rows = link.with_client(lambda client: client.api("usage", ask, list[UsageRow]))
    if as_json:
        say.rows(rows)
    elif rows:
        say.show(render.usage_table(rows, by))
    else:
        say.tell("no run told of any use: a task calls usage(), or a library with OpenTelemetry's"
                 " GenAI attributes does it for it")  # fmt: skip
