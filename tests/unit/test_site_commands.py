"""What a hub keeps for a site, without servers: where each stands, in requests, rows and words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Raw

from headway import task
from headway.errors import BadName, BadPolicy, TooLarge
from headway.ids import new_run_id
from headway.sending import recorded_of, send_parts
from headway.wire import INLINE_LIMIT
from headway.wire.enqueue import EnqueueItem
from headway.wire.sites import SEND_ITEMS, SEND_TTL, SiteRow
from headway_engine.ownwords import told_of as told_of_store
from headway_engine.ownwords import unshipped
from headway_engine.sites.commands import Command, in_words, row_of, state_of
from headway_engine.sites.listing import site_row
from headway_engine.sites.records import Position
from headway_engine.sites.settling import told_of
from headway_engine.store.memory import MemoryStore
from headway_ops import say
from headway_ops.giving import Ask
from headway_ops.say import Fail
from headway_ops.sites import commands_table, sites_table, skipped_words, waiting_line

if TYPE_CHECKING:
    from headway.wire.enqueue import Recorded

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT, UNTIL = NOW - timedelta(minutes=3), NOW + timedelta(hours=1)
RUN, OTHER = "01JD9K4W2M8QZ5V7N3XBTRFHCA", "01JD9K4W2M8QZ5V7N3XBTRFHCB"


def a_command(**fields: Any) -> Command:
    """An enqueue that waits."""
    known: dict[str, Any] = {"at": AT, "until": UNTIL, "task": "weld", "key": "seam-1"}
    return Command(RUN, "default", "ann", "enqueue", RUN, **(known | fields))


@pytest.mark.parametrize(
    ("fields", "state", "words", "word"),
    [
        ({}, "waiting", "enqueue by ann 3m ago waits for the site, until 2026-01-01 13:00 UTC", ""),
        ({"until": AT}, "overdue", "whether it did it before is known when there is a link", ""),
        ({"outcome": "recorded"}, "done", "3m ago: the site did it", "recorded"),
        ({"outcome": "duplicate", "winner": OTHER}, "done", f"has run {OTHER}", "duplicate"),
        ({"outcome": "unknown_task", "message": "no task"}, "refused", "(no task)", "rejected"),
        ({"outcome": "expired", "message": "too late"}, "expired", "(too late)", "rejected"),
    ],
)
def test_a_command_says_where_it_stands(
    fields: dict[str, Any], state: str, words: str, word: str
) -> None:
    command = a_command(**fields)
    assert state_of(command, NOW) == state
    assert words in in_words(command, NOW)
    row = row_of("berlin", command, NOW)
    assert (row.state, row.winner, row.task, row.key) == (
        state, command.winner, "weld", "seam-1",
    )  # fmt: skip
    if word:
        heard: Recorded = told_of(command)
        assert recorded_of(row) == heard
        assert (heard.outcome, heard.winner) == (word, command.winner)
        assert heard.code == (command.outcome if word == "rejected" else "")


def test_enqueues_for_a_site_travel_in_parts_and_large_ones_not_at_all() -> None:
    items = [EnqueueItem(new_run_id(), "weld", Raw(b"{}")) for _ in range(SEND_ITEMS + 1)]
    assert [len(part) for part in send_parts(items)] == [SEND_ITEMS, 1]
    wide = [EnqueueItem(new_run_id(), "weld", Raw(b'"' + b"x" * 120_000 + b'"'))] * 12
    parts = list(send_parts(wide))
    assert len(parts) > 1
    assert sum(map(len, parts)) == 12
    huge = EnqueueItem(new_run_id(), "weld", Raw(b'"' + b"x" * INLINE_LIMIT + b'"'))
    with pytest.raises(TooLarge, match="a run for a site"):
        list(send_parts([huge]))


def test_options_for_a_site_are_checked_before_anything_is_sent() -> None:
    @task(id="weld-at-a-site")
    async def weld() -> None: ...

    with pytest.raises(BadName):
        weld.options(site="Not A Site")
    with pytest.raises(BadPolicy, match="at most 7 days"):
        weld.options(site="berlin", site_ttl="8d")
    item = weld.options(site="berlin", site_ttl="2h", key="k").item((), {})
    assert item.key == "k"
    assert Ask("weld", b"{}", site="berlin", site_ttl="2h").patience == 7200
    assert Ask("weld", b"{}").patience == SEND_TTL
    with pytest.raises(Fail, match="--site-ttl goes with --site"):
        _ = Ask("weld", b"{}", site_ttl="2h").patience
    with pytest.raises(BadPolicy, match="at most 7 days"):
        _ = Ask("weld", b"{}", site="berlin", site_ttl="8d").patience


def test_a_site_that_is_silent_is_cut_off() -> None:
    heard = Position("berlin", 7, "made", 9, NOW - timedelta(seconds=3), NOW - timedelta(seconds=4))
    row = site_row(heard, [a_command()], NOW)
    assert (row.linked, row.behind, row.waiting, row.waiting_since) == (True, 2, 1, AT)
    assert not site_row(heard, [], NOW + timedelta(minutes=1)).linked
    assert not site_row(Position("oslo"), [], NOW).linked


def test_sites_and_what_waits_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    cut = SiteRow("berlin", contact_at=AT, as_of=AT, waiting=2, waiting_since=AT)
    live = SiteRow("oslo", linked=True, contact_at=NOW, as_of=NOW, behind=1200)
    say.show(sites_table([cut, live, SiteRow("rome")], NOW))
    printed = capsys.readouterr().out
    assert "◌ cut off 3m" in printed
    assert "1,200" in printed
    assert "◌ never heard of" in printed
    assert str(waiting_line([cut, live], NOW)).startswith("berlin ◌ cut off 3m, 2 commands wait")
    assert not waiting_line([live], NOW)
    say.show(commands_table([row_of("berlin", a_command(), NOW)], NOW))
    assert RUN in capsys.readouterr().out
    words = skipped_words(SiteRow("oslo", skipped=9))
    assert words.startswith("site oslo: 9 messages said nothing that could be followed")


def test_a_store_that_waits_for_no_hub_says_nothing_of_one() -> None:
    assert told_of_store(MemoryStore()) == {}
    assert unshipped(MemoryStore()) == 0
