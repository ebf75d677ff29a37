"""A run that is enqueued alone takes a shorter statement: it must do what the batch's does."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headway.wire import BlobRef
from headway.wire.fleet import QueueAsk
from support.factories import NS, an_enqueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway_engine.store.records import EnqueueOutcome, NewRun
    from support.stores import PostgresKit

ROOM = {"default": (5, 5)}
OWN = ("id", "run", "root", "dispatch", "runs")
"""Columns that name the run itself, its dispatch or its outbox row."""


async def rows_of(kit: PostgresKit, run: str) -> dict[str, list[dict[str, Any]]]:
    """Every row that an enqueue writes for the run, without what names the run itself."""
    where = {
        "runs": "id = $1",
        "payloads": "run = $1",
        "events": "run = $1",
        "outbox": "runs = ARRAY[$1]",
        "dispatches": "runs = ARRAY[$1]",
    }
    found: dict[str, list[dict[str, Any]]] = {}
    for table, condition in where.items():
        rows = await kit.fetch(f"SELECT * FROM {table} WHERE {condition}", run)
        found[table] = [{k: v for k, v in row.items() if k not in OWN} for row in rows]
    (row,) = await kit.fetch("SELECT root = id AS own_root, dispatch FROM runs WHERE id = $1", run)
    found["links"] = [{"own_root": row["own_root"], "given": row["dispatch"] is not None}]
    return found


def full(kit: PostgresKit) -> dict[str, Any]:
    """A value in every column that an enqueue may fill."""
    now = kit.now()
    return {
        "created_at": now - timedelta(seconds=3), "ttl_at": now + timedelta(seconds=60),
        "deadline_at": now + timedelta(hours=1), "priority": 7, "shared": True,
        "limit_key": "tenant", "version": "v3", "parent": an_enqueue().run.id,
        "root": an_enqueue().run.id, "origin": an_enqueue().run.id, "keep_key": True,
        "reply": "hw.reply.c.a", "trace": "00-ab-cd-01", "tags": ("one", 'two "2"', "drei, 3"),
    }  # fmt: skip


@pytest.mark.parametrize("room", [{}, ROOM], ids=["kept", "given"])
@pytest.mark.parametrize("filled", [False, True], ids=["plain", "full"])
async def test_the_rows_are_those_of_a_batch(
    postgres_kit: PostgresKit, room: dict[str, tuple[int, int]], filled: bool
) -> None:
    kit = postgres_kit
    fields: dict[str, Any] = full(kit) if filled else {"created_at": kit.now()}
    alone, first = an_enqueue(**fields), an_enqueue(**fields)
    if filled:
        ref = BlobRef(f"{NS}/x/y", 5, "y")
        for new in (alone, first):
            new.payload, new.payload_ref, new.schema_hash, new.key_scope = b"", ref, "ab12", "p"
    (one,), given = await kit.store.enqueue(NS, [alone], room)
    # Others in its batch that leave no trace beside it: a queue of their own, no dispatch.
    other = an_enqueue(queue="other")
    outcomes, batch = await kit.store.enqueue(NS, [first, other], room)
    of_batch = await rows_of(kit, first.run.id)
    assert len(given) == len(batch) == len(room)
    assert [run for d in given for run, _ in d.runs] == [alone.run.id] * len(room)
    mine = await rows_of(kit, alone.run.id)
    for table in ("runs", "payloads", "events", "dispatches", "links"):
        assert mine[table] == of_batch[table], table
        assert len(mine[table]) == (len(room) if table == "dispatches" else 1)
    assert len(mine["outbox"]) == 1
    assert plain(one) == plain(outcomes[0])


def plain(outcome: EnqueueOutcome) -> tuple[Any, ...]:
    """An outcome without the run's own id."""
    record = outcome.record
    assert record is not None
    fields = {f: getattr(record, f) for f in record.__struct_fields__ if f not in ("id", "root")}
    return outcome.outcome, outcome.events, fields


async def open_queue(kit: PostgresKit, item: NewRun) -> None:
    """Nothing stands in its way."""


async def limited(kit: PostgresKit, item: NewRun) -> None:
    await kit.store.set_queue(NS, QueueAsk("default", limit=3), "user:me")


async def older_wait(kit: PostgresKit, item: NewRun) -> None:
    await kit.enqueued(an_enqueue())


async def older_wait_for_a_key(kit: PostgresKit, item: NewRun) -> None:
    await kit.enqueued(an_enqueue(limit_key="tenant"))


async def older_wait_elsewhere(kit: PostgresKit, item: NewRun) -> None:
    await kit.enqueued(an_enqueue(queue="other"))


async def cancelled(kit: PostgresKit, item: NewRun) -> None:
    await kit.store.early_cancel(NS, item.run.id, "user:me", "typo")


async def known(kit: PostgresKit, item: NewRun) -> None:
    await kit.enqueued(item)


async def removed(kit: PostgresKit, item: NewRun) -> None:
    """It ended long ago: its tombstone holds against messages that are older than a day."""
    item.run.created_at = kit.now() - timedelta(days=2)
    await kit.execute(
        "INSERT INTO tombstones (at, ns, run) VALUES (hw_now(), $1, $2)", NS, item.run.id
    )


@pytest.mark.parametrize(
    ("situation", "outcome", "given"),
    [
        (open_queue, "recorded", True),
        (limited, "recorded", False),
        (older_wait, "recorded", False),
        (older_wait_for_a_key, "recorded", False),
        (older_wait_elsewhere, "recorded", True),
        (cancelled, "recorded", False),
        (known, "again", False),
        (removed, "rejected", False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "batch"])
async def test_alone_or_in_a_batch_the_same_rules_hold(
    postgres_kit: PostgresKit,
    situation: Callable[[PostgresKit, NewRun], Awaitable[None]],
    outcome: str,
    given: bool,
    alone: bool,
) -> None:
    kit, item = postgres_kit, an_enqueue(created_at=postgres_kit.now())
    await situation(kit, item)
    items = [item] if alone else [item, an_enqueue(queue="third")]
    outcomes, dispatches = await kit.store.enqueue(NS, items, ROOM)
    assert outcomes[0].outcome == outcome
    assert [run for d in dispatches for run, _ in d.runs] == ([item.run.id] if given else [])


async def test_a_run_alone_takes_the_spent_outbox_rows_with_it(postgres_kit: PostgresKit) -> None:
    kit = postgres_kit
    first, second = an_enqueue(), an_enqueue()
    await kit.store.enqueue(NS, [first], {})
    await kit.store.published([(first.run.id, 1)])
    await kit.store.enqueue(NS, [second], {})
    rows = await kit.fetch("SELECT runs FROM outbox")
    assert [row["runs"] for row in rows] == [[second.run.id]]
