"""Cancel and resume by query, on a real engine: counted first, then page after page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headway_engine import bulk
from support.stacks import stack

if TYPE_CHECKING:
    import pytest

    from support.engines import Caller


async def pages(caller: Caller, **ask: Any) -> list[dict[str, Any]]:
    """Every page of a request."""
    found: list[dict[str, Any]] = []
    while True:
        found.append(await caller.api("bulk", ask))
        if not found[-1].get("next"):
            return found
        ask |= {"as_of": found[-1]["as_of"], "after": found[-1]["next"]}


async def test_all_that_a_query_means_is_cancelled_and_nothing_else(
    nats: str, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "PAGE", 2)
    async with stack(nats, database) as (_, caller, _agent):
        meant = [(await caller.enqueue(tags=("bulk",))).run for _ in range(5)]
        other = (await caller.enqueue(tags=("other",))).run
        dry = await pages(caller, verb="cancel", query="tag:bulk since:1h", dry_run=True)
        assert [p["matched"] for p in dry] == [2, 2, 1]
        assert [run for p in dry for run in p["runs"]] == sorted(meant)
        late = (await caller.enqueue(tags=("bulk",))).run
        ask = {"verb": "cancel", "query": "tag:bulk", "as_of": dry[0]["as_of"], "reason": "drill"}
        done = await pages(caller, **ask)
        assert sum(p.get("done", 0) for p in done) == 5

        listed = (await caller.api("runs", {}))["runs"]
        assert {r["run"]: r["status"] for r in listed} == {
            **dict.fromkeys(meant, "cancelled"), other: "queued", late: "queued",
        }  # fmt: skip
        again = await pages(caller, **ask)
        assert [p.get("matched", 0) for p in again] == [0]
        events = (await caller.api("run", {"run": meant[0]}))["events"]
        assert events[-1]["actor"].startswith("user:")


async def test_what_waits_for_its_time_is_resumed_and_the_rest_is_left(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        waits = (await caller.enqueue(delay=3600.0)).run
        queued = (await caller.enqueue()).run
        (page,) = await pages(caller, verb="resume", query="task:noop")
        assert (page["matched"], page["done"], page["runs"]) == (1, 1, [waits])
        assert "refused" not in page
        listed = (await caller.api("runs", {"query": "status:queued", "sort": "oldest"}))["runs"]
        assert {r["run"] for r in listed} == {waits, queued}


async def test_an_empty_or_bad_query_is_refused_with_its_place(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, _agent):
        for verb, body, column in (
            ("bulk", {"verb": "cancel", "query": " "}, 1),
            ("bulk", {"verb": "resume", "query": "status:faild"}, 8),
            ("runs", {"query": "a nope:1"}, 3),
        ):
            error = (await caller.api_raw(verb, body)).error
            assert error is not None
            assert (error.code, error.column) == ("bad_query", column)
            assert f"column {column}: " in error.message
