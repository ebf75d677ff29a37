"""Random histories of an edge store, and all that its projection says afterwards."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from headway.ids import encode as make_id
from headway.states import RunState
from headway.wire import ErrorInfo
from headway.wire.rpc import Beat
from headway.wire.saves import ModelUsage, SaveUsage
from headway_engine.happenings import (
    Cancel,
    Due,
    Failed,
    Finished,
    Happening,
    Lost,
    Resume,
    Started,
    Suspended,
    Tag,
)
from support.factories import NS, a_checkpoint, a_once, a_step, an_enqueue
from support.stores import LEASE

if TYPE_CHECKING:
    from headway_engine.store.edge import EdgeStore
    from headway_engine.store.records import Run
    from support.stores import Kit

TABLES = ("runs", "bodies", "events", "checkpoints", "marks", "usage", "keys", "purges")


def rows(store: EdgeStore) -> dict[str, list[Any]]:
    """All that the projection says."""
    return {
        table: sorted(store.db.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
        for table in TABLES
    }


async def story(kit: Kit, seed: int, length: int = 100) -> list[str]:
    """Something happens to some runs, again and again; the same for the same seed."""
    dice = random.Random(seed)
    session = await kit.ready(keep_checkpoints=1)
    ids: list[str] = []
    for k in range(length):
        if len(ids) < 4 or dice.random() < 0.1:
            new = an_enqueue(
                {"k": k},
                id=make_id(1_767_225_600_000 + k, dice.getrandbits(60)),
                tags=("a", f"t{k}"),
                priority=dice.randrange(3),
                key=dice.choice(["", "", "one", "two"]),
                key_until=kit.now().replace(year=2027),
                limit_key=dice.choice(["", "x"]),
            )
            await kit.store.enqueue(NS, [new], {})
            ids.append(new.run.id)
            continue
        run = await kit.store.get(NS, dice.choice(ids))
        if run is not None:
            await step(kit, dice, run, session)
        if dice.random() < 0.2:
            await kit.advance(dice.randrange(1, 9))
            await kit.store.beat(NS, Beat("a1", session, ""), LEASE)
    return ids


async def step(kit: Kit, dice: random.Random, run: Run, session: int) -> None:
    """One thing that may happen to a run, mostly one that fits."""
    store, epoch = kit.store, run.epoch
    fits = {
        RunState.QUEUED: ["claim"],
        RunState.STARTING: ["save", "mark", "start"],
        RunState.RUNNING: ["save", "save", "mark", "mark", "end"],
        RunState.CANCELLING: ["mark", "lose"],
    }.get(run.state, ["due"])
    match (
        dice.choice(fits) if dice.random() < 0.85 else dice.choice(["claim", "save", "end", "tag"])
    ):
        case "claim":
            await store.dispatch(NS, "default", 3, 3)
            await store.claim(NS, "a1", session, f"n{run.n}", [run.id], None)
        case "save":
            count = dice.choice([2, 3, 18])
            await store.save([a_checkpoint(run, run.ck + k) for k in range(1, count)])
        case "mark":
            status = dice.choice(["started", "done", "failed"])
            once = a_once(run, f"o{run.n % 3}", status)
            used = SaveUsage(run.id, epoch, [ModelUsage("m", run.n, 1, 0.5)])
            await store.save([a_step(run, f"s{run.n}", "v" * dice.randrange(50)), once, used])
        case "start":
            await store.commit([(run.id, Started(epoch))])
        case "lose":
            await store.commit([(run.id, Lost(epoch, "gone")), (run.id, Lost(epoch, "gone"))])
        case "end":
            error = ErrorInfo("ValueError", "no")
            options: list[Happening] = [
                Finished(epoch),
                Failed(epoch, "error", error),
                Suspended(epoch, f"w{run.n}", "sleep", seconds=3),
                Cancel("user:me"),
                Failed(epoch, "state", error),
                Lost(epoch, "gone"),
            ]
            await store.commit([(run.id, dice.choice(options))])
        case "tag":
            await store.commit([(run.id, Tag("user:me", (f"n{run.n}", "late"), run.tags[:1]))])
        case _:
            await store.commit([(run.id, Due()), (run.id, Resume("user:me"))])
