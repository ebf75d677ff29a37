"""The verb `fork` on a real engine: large bodies, repeats, refusals, and what verify says of it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from msgspec import Raw

from headway.ids import new_run_id
from headway.wire import rpc
from headway.wire.fleet import TaskSpec
from headway.wire.replays import BodyEdit, ForkAsk
from headway.wire.reports import Finished
from headway.wire.steering import ReplayAsk
from headway_ops.verify import Ask, verify
from support.jobs import failed_run
from support.stacks import assigned, stack

if TYPE_CHECKING:
    from support.engines import Caller


async def refused(caller: Caller, ask: ForkAsk) -> tuple[str, str]:
    answer = await caller.api_raw("fork", ask)
    assert answer.error is not None
    return answer.error.code, answer.error.message


async def test_a_large_state_is_edited_and_the_fork_is_one_run(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        text = secrets.token_hex(100_000).encode()
        run = await failed_run(caller, agent, b'{"model":"sonnet","text":"' + text + b'"}')
        ask = ForkAsk(run, new_run_id(), state=BodyEdit(patch=Raw(b'{"model":"haiku"}')))
        told = await caller.api("fork", ask)
        assert (told["outcome"], told["checkpoint"], told["kept"]) == ("ok", 1, ["mail"])
        again = await caller.api("fork", ask)
        assert (again["outcome"], again["checkpoint"], again["name"]) == ("already", 1, "one")
        b = await assigned(agent, ask.new_run)
        assert (b.checkpoint, [m.key for m in b.marks]) == (1, ["mail"])
        assert b.state_ref is not None
        assert b.state_ref.key.startswith(f"default/{ask.new_run}/")
        part = rpc.GetPart(ask.new_run, b.epoch, b.state_ref.key)
        got = await agent.ask("blob_get", part, rpc.GET_ANSWER)
        assert got.data == b'{"model":"haiku","text":"' + text + b'"}'
        await agent.report(Finished(ask.new_run, b.epoch, Raw(b"1"), size=1))
        # The original's state is what it was.
        first = await caller.api("state", {"run": run})
        assert f"/{run}/" in first["key"]
    report = await verify(Ask(database))
    assert not report.violations, report.violations


async def test_forks_are_refused_in_words(nats: str, database: str) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        run = await failed_run(caller, agent, b'{"n":1}')
        new = new_run_id()
        code, said = await refused(caller, ForkAsk(run, new, "#7"))
        assert (code, "#1 one" in said) == ("no_checkpoint", True)
        assert "checkpoint" not in await caller.api("fork", ForkAsk(run, new, "#7", "start"))
        for ask, why in (
            (ForkAsk(run, new_run_id(), "first"), "bad_request"),
            (ForkAsk(run, new_run_id(), state=BodyEdit()), "bad_request"),
            (ForkAsk(run, new_run_id(), "start", state=BodyEdit(value=Raw(b"1"))), "bad_request"),
            (ForkAsk(run, new_run_id(), payload=BodyEdit(value=Raw(b"[]"))), "bad_payload"),
            (ForkAsk(run, new_run_id(), queue="nobody"), "unknown_queue"),
            (ForkAsk(new_run_id(), new_run_id()), "not_found"),
            (ForkAsk(new_run_id(), new), "conflict"),
        ):
            assert (await refused(caller, ask))[0] == why, ask


async def test_an_edited_state_is_checked_against_the_tasks_type(nats: str, database: str) -> None:
    schema = Raw(
        b'{"$ref":"#/$defs/N","$defs":{"N":{"type":"object","required":["model"],"properties":'
        b'{"model":{"type":"string"},"turns":{"type":"array","items":{"type":"integer"}}}}}}'
    )
    spec = TaskSpec(task="noop", max_attempts=1, state_schema=schema)
    async with stack(nats, database, spec) as (_, caller, agent):
        await agent.start()
        run = await failed_run(caller, agent, b'{"model":"sonnet","turns":[1]}')
        for patch, said in (
            (b'{"model":7}', "state.model: expected string, got integer"),
            (b'{"turns":[1,"x"]}', "state.turns[1]: expected integer, got string"),
            (b'{"modle":"haiku"}', "state.modle: no such field (known: model, turns)"),
            (b'{"model":null}', "state: missing model"),
        ):
            ask = ForkAsk(run, new_run_id(), state=BodyEdit(patch=Raw(patch)))
            assert await refused(caller, ask) == ("bad_state", said)
        ask = ForkAsk(run, new_run_id(), state=BodyEdit(patch=Raw(b'{"model":"haiku"}')))
        ask.dry_run = True
        told = await caller.api("fork", ask)
        assert (told["outcome"], told["checked"], told["kept"]) == ("planned", "ok", ["mail"])
        assert (await caller.api_raw("run", {"run": ask.new_run})).error is not None
        ask.dry_run = False
        assert (await caller.api("fork", ask))["outcome"] == "ok"
        # What was saved as something else is not judged by what the type is now.
        odd = await failed_run(caller, agent, b'{"n":1}')
        ask = ForkAsk(odd, new_run_id(), state=BodyEdit(patch=Raw(b'{"n":2}')))
        assert (await caller.api("fork", ask))["checked"] == "unlike"


async def test_a_replay_is_a_fork_from_the_start_with_nothing_edited(
    nats: str, database: str
) -> None:
    async with stack(nats, database) as (_, caller, agent):
        await agent.start()
        run = await failed_run(caller, agent, b'{"model":"sonnet"}')
        ask = ReplayAsk(run, new_run_id())
        told = await caller.api("replay", ask)
        assert (told["run"], told["outcome"]) == (ask.new_run, "ok")
        assert (await caller.api("replay", ask))["outcome"] == "already"
        b = await assigned(agent, ask.new_run)
        assert (b.checkpoint, [m.key for m in b.marks], b.root) == (0, ["mail"], run)
        cleared = ReplayAsk(run, new_run_id(), clear=("ma*",))
        await caller.api("replay", cleared)
        b = await assigned(agent, cleared.new_run)
        assert (b.marks, b.root) == ([], cleared.new_run)
        live = await caller.api_raw("replay", ReplayAsk(ask.new_run, new_run_id()))
        assert live.error is not None
        assert "takes runs that have ended" in live.error.message
        gone = await caller.api_raw("replay", ReplayAsk(new_run_id(), new_run_id()))
        assert gone.error is not None
        assert gone.error.code == "not_found"
