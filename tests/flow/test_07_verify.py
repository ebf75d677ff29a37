"""`headway verify` on a stack where everything has happened: clean, and damaged by hand."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import msgspec
import pytest

from headway import bus, subjects
from headway.ids import new_run_id
from headway_engine.assembly import make_blobs
from headway_ops import cli
from headway_ops.verify import Ask, CannotLook, Report, verify
from headway_ops.verify.database import Database
from headway_ops.verify.objects import Objects
from support import servers
from support.engines import running_engine
from support.finished import Finished, finish_all
from support.live import live_config
from support.place import guarded_place
from support.scripted_agent import finish

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from headway_engine.blobs import Blobs
    from headway_ops.local.postgres import PostgresServer
    from support.databases import Databases

pytestmark = pytest.mark.timeout(240)


TABLES = {"runs": "id", "events": "run", "checkpoints": "run", "marks": "run", "results": "run"}


class Stand:
    """What all tests of this module look at; those that damage it take a copy of the database."""

    def __init__(self, done: Finished, dsn: str, nats: str, server: PostgresServer) -> None:
        self.done, self.dsn, self.nats, self.server = done, dsn, nats, server

    def run(self, name: str) -> str:
        """The id of what was started under a name."""
        return self.done.runs[name]

    def ask(self, dsn: str = "", **changed: Any) -> Ask:
        """Everything, with all sources."""
        usual: dict[str, Any] = {
            "settled": True, "journals": [self.done.journal], "ledgers": [self.done.ledger],
            "second_look": 0.05, "patience": 0.1,
        }  # fmt: skip
        config = live_config(self.nats, dsn or self.dsn, "objects")
        return Ask(config, **usual | changed)

    async def damaged(self, of: str, /, *statements: tuple[Any, ...], **changed: Any) -> Report:
        """What is said of the database after these; then the rows of the run are as they were."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            for table, column in TABLES.items():
                await conn.execute(
                    f"CREATE TEMP TABLE kept_{table} AS SELECT * FROM {table} WHERE {column} = $$"
                    f"{of}$$"
                )
            try:
                for statement, *values in statements:
                    done = await conn.execute(statement, *values)
                    assert not done.endswith(" 0"), statement
                return await verify(self.ask(**changed))
            finally:
                for table, column in TABLES.items():
                    await conn.execute(f"DELETE FROM {table} WHERE {column} = $1", of)
                    await conn.execute(f"INSERT INTO {table} SELECT * FROM kept_{table}")
        finally:
            await conn.close()

    @asynccontextmanager
    async def blobs(self) -> AsyncGenerator[Blobs]:
        """The bucket."""
        nc = await bus.connect(servers.settings_for(self.nats), kind="engine", ident="test")
        try:
            yield make_blobs(live_config(self.nats, self.dsn, "objects"), nc)
        finally:
            await nc.close()

    async def value(self, sql: str, *args: Any) -> Any:
        """One value of the whole database."""
        conn: Any = await asyncpg.connect(self.dsn)
        try:
            return await conn.fetchval(sql, *args)
        finally:
            await conn.close()


@pytest.fixture(scope="module")
def stand(databases: Databases, postgres_server: PostgresServer) -> Generator[Stand]:
    with asyncio.Runner() as runner:
        context = servers.running_nats()
        nats = runner.run(context.__aenter__())
        dsn = runner.run(databases.take())
        done: Finished | None = None
        try:
            done = runner.run(finish_all(nats.url, dsn))
            made = Stand(done, dsn, nats.url, postgres_server)
            runner.run(made.value("ALTER TABLE runs DISABLE TRIGGER ALL"))
            yield made
        finally:
            if done is not None:
                done.close()
            runner.run(context.__aexit__(None, None, None))
            databases.drop(dsn)


def found(report: Report) -> list[tuple[str, str, int]]:
    return [(v.invariant, v.run, v.n) for v in report.violations]


async def test_all_promises_hold_after_everything_has_happened(stand: Stand) -> None:
    report = await verify(stand.ask())
    assert report.ok, report.explain()
    looked = {name for name, line in report.lines.items() if line.checked}
    assert looked == set(report.lines) - {"I15", "I16", "I19", "I23"}
    others = await stand.value(
        "SELECT array_agg(task || ' ' || parent ORDER BY id) FROM runs WHERE id <> ALL($1)",
        list(stand.done.runs.values()),
    )
    assert len(others) == 3, others  # the children
    assert {"lost", "retrying", "review", "resolved", "waiting", "cancelling"} <= set(report.seen)


async def test_beside_a_busy_stack_nothing_is_found(stand: Stand) -> None:
    reports = stand.done.beside
    assert len(reports) >= 2
    assert all(r.ok for r in reports), "\n".join(r.explain() for r in reports)
    assert any(r.runs > 0 for r in reports)


@pytest.mark.parametrize("kind", ["queued", "starting", "checkpoint", "succeeded"])
async def test_one_event_deleted(stand: Stand, kind: str) -> None:
    run = stand.run("small")
    sql = "SELECT min(n) FROM events WHERE run = $1 AND kind = $2"
    n = await stand.value(sql, run, kind)
    report = await stand.damaged(run, ("DELETE FROM events WHERE run = $1 AND n = $2", run, n))
    assert found(report) == [("I4", run, n)]


@pytest.mark.parametrize("kind", ["starting", "started", "checkpoint", "succeeded"])
async def test_one_epoch_changed(stand: Stand, kind: str) -> None:
    run = stand.run("small")
    n = await stand.value("SELECT max(n) FROM events WHERE run = $1 AND kind = $2", run, kind)
    report = await stand.damaged(
        run, ("UPDATE events SET epoch = epoch + 7 WHERE run = $1 AND n = $2", run, n)
    )
    assert found(report) == [("I5", run, n)]


async def test_the_tags_of_a_run_are_others_than_those_told_last(stand: Stand) -> None:
    run = stand.run("small")
    last = await stand.value("SELECT n FROM runs WHERE id = $1", run)
    told = (
        "INSERT INTO events (run, n, at, kind, epoch, data)"
        " SELECT run, n + 1, at, 'tagged', epoch, $2 FROM events WHERE run = $1 AND n = $3",
        run, b'{"tags":["a","b"]}', last,
    )  # fmt: skip
    for tags, broken in ((["a", "b"], []), (["a"], [("I4", run, last + 1)])):
        row = ("UPDATE runs SET n = n + 1, tags = $2 WHERE id = $1", run, tags)
        assert found(await stand.damaged(run, told, row)) == broken


async def test_one_checkpoints_bytes_or_hash_changed(stand: Stand) -> None:
    run = stand.run("small")
    sql = "SELECT n FROM events WHERE run = $1 AND kind = 'checkpoint'"
    n = await stand.value(sql, run)
    report = await stand.damaged(
        run, ("UPDATE checkpoints SET state = set_byte(state, 2, 65) WHERE run = $1", run)
    )
    assert found(report) == [("I17", run, n)]
    change = ("UPDATE checkpoints SET sha256 = repeat('a', 64) WHERE run = $1", run)
    report = await stand.damaged(run, change)
    assert sorted(found(report)) == [("I17", run, n), ("I7", run, 0)]  # the journal knows better
    assert found(await stand.damaged(run, change, journals=())) == [("I17", run, n)]


async def test_one_checkpoint_or_mark_deleted(stand: Stand) -> None:
    run = stand.run("small")
    report = await stand.damaged(run, ("DELETE FROM checkpoints WHERE run = $1", run))
    assert {(v.invariant, v.run) for v in report.violations} == {("I7", run)}
    run = stand.run("plain")
    report = await stand.damaged(run, ("DELETE FROM marks WHERE run = $1 AND kind = 'once'", run))
    assert found(report) == [("I7", run, 0)]


async def test_an_attempts_number_jumps(stand: Stand) -> None:
    run = stand.run("retries")
    sql = "SELECT max(n) FROM events WHERE run = $1 AND kind = 'starting'"
    n = await stand.value(sql, run)
    data = json.loads(
        await stand.value("SELECT data FROM events WHERE run = $1 AND n = $2", run, n)
    )
    body = json.dumps(data | {"attempt": 5}).encode()
    report = await stand.damaged(
        run, ("UPDATE events SET data = $3 WHERE run = $1 AND n = $2", run, n, body)
    )
    assert found(report) == [("I13", run, n)]


async def test_a_run_is_stuck(stand: Stand) -> None:
    run = stand.run("delayed")
    late = ("UPDATE runs SET due_at = hw_now() - interval '1 hour' WHERE id = $1", run)
    assert found(await stand.damaged(run, late)) == [("I12", run, 1)]
    queued = [
        ("INSERT INTO events (run, n, at, kind, epoch, source, target) SELECT id, 2, due_at,"
         " 'queued', 0, 'DELAYED', 'QUEUED' FROM runs WHERE id = $1", run),
        ("UPDATE runs SET state = 'QUEUED', n = 2 WHERE id = $1", run),
    ]  # fmt: skip
    assert found(await stand.damaged(run, *queued)) == [("I2", run, 2)]
    assert found(await stand.damaged(run, *queued, settled=False)) == []


async def test_a_result_and_a_run_are_gone(stand: Stand) -> None:
    run = stand.run("echo")
    report = await stand.damaged(run, ("DELETE FROM results WHERE run = $1", run))
    assert {(v.invariant, v.run) for v in report.violations} == {("I3", run)}
    report = await stand.damaged(run, ("DELETE FROM runs WHERE id = $1", run))
    assert {(v.invariant, v.run) for v in report.violations} == {
        ("I1", run), ("I3", run), ("I18", run)
    }  # fmt: skip


async def test_a_queue_had_more_open_attempts_than_its_limit(stand: Stand) -> None:
    change = "UPDATE queues SET run_limit = $1 WHERE run_limit > 0"
    try:
        await stand.value(change, 1)
        report = await verify(stand.ask())
    finally:
        await stand.value(change, 6)
    assert {v.invariant for v in report.violations} == {"I22"}


async def test_a_blob_deleted_or_changed(stand: Stand) -> None:
    run = stand.run("large")
    sql = "SELECT n FROM events WHERE run = $1 AND kind = 'checkpoint'"
    n = await stand.value(sql, run)
    ref = msgspec.json.decode(
        await stand.value("SELECT ref FROM checkpoints WHERE run = $1", run), type=dict[str, Any]
    )
    async with stand.blobs() as blobs:
        body = await blobs.get(ref["key"])
        try:
            await blobs.put(ref["key"], b"x" + body[1:])
            assert found(await verify(stand.ask())) == [("I17", run, n)]
            await blobs.remove([ref["key"]])
            assert found(await verify(stand.ask())) == [("I17", run, n)]
            assert (await verify(stand.ask(blobs=False))).ok
        finally:
            await blobs.put(ref["key"], body)


async def test_what_others_were_told_and_nobody_did(stand: Stand) -> None:
    run = stand.run("echo")
    event = b'{"n":99,"at":"2026-01-01T00:00:00Z","kind":"started","epoch":1}'
    lines = b'{"first":2,"lines":["a","b","c"],"at":"2026-01-01T00:00:00Z"}'
    told = {
        subjects.RUNS: (subjects.run_event("default", run), _run_events(run, event)),
        subjects.LOGS: (subjects.log("default", run, 7), lines.replace(b":2,", b":1,")),
        subjects.WORK: (subjects.work("default", "default"), b'{"run":"%s"}' % run.encode()),
    }
    nc = await bus.connect(servers.settings_for(stand.nats), kind="engine", ident="test")
    try:
        await stand.value(
            "UPDATE agents SET lease_until = hw_now() + interval '1 hour', live = true"
        )
        seqs = {
            stream: (await bus.publish_acked(nc, *message)).seq
            for stream, message in told.items()
            if stream != subjects.LOGS  # it acknowledges nothing
        }
        for body in (told[subjects.LOGS][1], lines.replace(b'"c"', b'"c","d"')):
            await nc.publish(told[subjects.LOGS][0], body)
        await nc.flush()
        report = await verify(stand.ask())
        assert {(v.invariant, v.run) for v in report.violations} == {
            ("I18", run), ("I19", run), ("I20", run)
        }  # fmt: skip
        for stream, seq in seqs.items():
            await bus.jsapi(nc, f"STREAM.MSG.DELETE.{stream}", {"seq": seq})
        await bus.jsapi(nc, "STREAM.PURGE.LOGS", {"filter": told[subjects.LOGS][0]})
        assert (await verify(stand.ask())).ok
    finally:
        await nc.close()


def _run_events(run: str, event: bytes) -> bytes:
    return b'{"run":"%s","ns":"default","task":"t","events":[%s]}' % (run.encode(), event)


async def test_an_object_that_no_row_speaks_of(stand: Stand) -> None:
    run, report = new_run_id(), Report()
    db = Database(stand.dsn)
    await db.open()
    async with stand.blobs() as blobs:
        key = f"default/{run}/{'a' * 64}"
        await blobs.put(key, b"x")
        try:
            await Objects(blobs, db, report).unnamed(datetime.now(UTC) + timedelta(hours=1))
            assert found(report) == [("I17", run, 0)]
            assert (await verify(stand.ask())).ok  # it is young
        finally:
            await blobs.remove([key])
            await db.close()


async def test_what_the_journal_says_and_nobody_has(stand: Stand, tmp_path: Path) -> None:
    run = new_run_id()
    line = {"op": "enqueue", "at": time.time(), "ns": "default", "run": run, "word": "recorded"}
    journal = tmp_path / "journal"
    journal.write_bytes(stand.done.journal.read_bytes() + json.dumps(line).encode() + b'\n{"op"')
    report = await verify(stand.ask(journals=[journal]))
    assert found(report) == [("I1", run, 0)]
    assert [n.invariant for n in report.notes] == ["I1"]


async def test_a_once_effect_that_came_twice(stand: Stand, tmp_path: Path) -> None:
    run = stand.run("once")
    ledger = tmp_path / "ledger"
    ledger.write_bytes(2 * stand.done.ledger.read_bytes())
    report = await verify(stand.ask(ledgers=[ledger]))
    assert [(v.invariant, v.run, v.epoch) for v in report.violations] == [("I9", run, 1)]


async def test_only_what_was_asked_for_is_looked_at(stand: Stand) -> None:
    run = stand.run("small")
    gone = ("DELETE FROM events WHERE run = $1 AND n = 1", run)
    assert len((await stand.damaged(run, gone, run=run)).violations) == 1
    other = await stand.damaged(run, gone, run=stand.run("echo"))
    assert (other.ok, other.runs) == (True, 1)
    assert (await stand.damaged(run, gone, ns="elsewhere")).runs == 0


async def test_without_postgres_nothing_is_known(stand: Stand) -> None:
    with pytest.raises(CannotLook, match="nowhere"):
        await verify(stand.ask(stand.server.dsn("nowhere")))


async def test_the_engines_user_may_read_all_that_is_looked_at(database: str) -> None:
    async with (
        guarded_place() as place,
        running_engine(place.config(database)),
        place.caller("ann") as ann,
        place.caller("app") as app,
        place.agent("a1") as agent,
    ):
        await ann.deploy()
        agent.script = finish()
        await agent.start()
        await app.end((await app.enqueue()).run)
        report = await verify(Ask(place.config(database), blobs=False, second_look=0.05))
    assert report.ok, report.explain()
    assert [report.lines[name].skipped for name in ("I18", "I19", "I20")] == ["", "", ""]


def test_the_command_says_it_by_its_exit_code(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADWAY_NATS_URL", stand.nats)

    def headway(dsn: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("HEADWAY_POSTGRES_DSN", dsn)
        with pytest.raises(SystemExit) as left:
            cli.main(["verify", *arguments])
        return int(left.value.code or 0), capsys.readouterr().out

    code, said = headway(stand.dsn, "--settled", "--journal", str(stand.done.journal))
    assert code == 0
    assert "all promises hold" in said
    run = stand.run("echo")
    lies = stand.done.folder / "lies"
    lies.write_text(json.dumps({"run": run, "key": "x", "token": "t", "epoch": 9}) + "\n")
    code, said = headway(stand.dsn, "--ledger", str(lies), "--json")
    assert code == 1
    lines = [json.loads(line) for line in said.splitlines()]
    assert [(s["invariant"], s["run"]) for s in lines if s["kind"] == "violation"] == [("I9", run)]
    assert lines[-1]["ok"] is False
    assert headway(stand.server.dsn("nowhere"))[0] == 5
    assert headway("", "--config", "/nowhere.toml")[0] == 2
    assert headway(stand.dsn, "--ledger", "/nowhere")[0] == 2
