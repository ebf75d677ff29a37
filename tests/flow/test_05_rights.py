"""Every cell of the permission matrix: principal, subject, publish or subscribe.

What should be allowed is written down here a second time, from the security design, not taken from
the code's own table: a right too much, or one too few, fails. Asked of a real server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from headway.nkeys import Key
from headway.verbs import READ_VERBS
from headway_engine.blobverbs import BlobVerbs
from headway_engine.bundles import Bundles
from headway_engine.control import NO_STORE
from headway_engine.jobs import JobVerbs
from headway_engine.readverbs import ReadVerbs
from headway_engine.sites.hub import Hub
from headway_engine.verbs import Verbs
from headway_ops.access import rights, write
from support.guarded import Guarded, guarded
from support.rawnats import raw
from support.servers import open_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

R = "01JZ0000000000000000000000"
READ = ["info", "runs", "run", "events", "checkpoints", "state", "why", "result", "queues",
        "agents", "deployments", "tasks", "blob-get", "logs", "spans", "job",
        "jobs", "plan-rows", "usage", "dead", "metrics", "facets", "bundle", "sites",
        "commands"]  # fmt: skip
CLIENT = ["info", "run", "runs", "result", "cancel", "events", "logs", "tasks", "blob-get",
          "spans", "blob-put", "blob-url", "blob-done", "sites", "commands",
          "send"]  # fmt: skip
WRITE = ["cancel", "resume", "ack", "replay", "fork", "fork-bundle", "queue-set", "bulk",
         "agent-drain", "deploy", "blob-put", "blob-url", "blob-done", "plan-start",
         "job-approve", "job-hold", "job-stop", "send", "tag"]  # fmt: skip
RPC = ["register", "beat", "claim", "load", "save", "report", "enqueue", "ends", "child_get",
       "blob_put", "blob_url", "blob_done", "blob_get"]  # fmt: skip
STREAMS = ["INGEST", "WORK", "RUNS", "LOGS", "SPANS", "KV_headway-agents", "KV_headway-settings",
           "OBJ_headway-blobs"]  # fmt: skip


def _api(user: str, verbs: list[str], ns: str = "default") -> list[str]:
    return [f"hw.api.{ns}.{user}.{verb}" for verb in verbs]


def _agent(ns: str, name: str, queue: str) -> tuple[list[str], list[str]]:
    return (
        [*(f"hw.rpc.{ns}.{name}.{verb}" for verb in RPC),
         *(f"hw.rpc.{ns}.{name}.{verb}.*" for verb in RPC),
         f"hw.log.{ns}.>", f"hw.span.{ns}.>", f"hw.hb.agent.{ns}.{name}",
         f"$JS.API.CONSUMER.MSG.NEXT.WORK.w--{ns}--{queue}",
         f"$JS.ACK.WORK.w--{ns}--{queue}.>"],
        [f"_INBOX.agent.{ns}.{name}.>", f"hw.ctl.{ns}.{name}.*", f"hw.reply.agent.{ns}.{name}.*"],
    )  # fmt: skip


def _eyes(ns: str) -> list[str]:
    return [f"hw.live.*.{ns}.>", "hw.hb.engine.*", f"hw.hb.agent.{ns}.*", f"hw.hb.queue.{ns}.*",
            f"hw.hb.runs.{ns}", f"hw.hb.job.{ns}.*"]  # fmt: skip


EXPECTED: dict[str, tuple[list[str], list[str]]] = {
    "engine": (
        ["hw.run.>", "hw.work.>", "hw.ctl.>", "hw.hb.>", "hw.wake", "$O.headway-blobs.>",
         *(f"$JS.API.STREAM.{verb}.{s}" for s in STREAMS for verb in ("INFO", "CREATE", "UPDATE")),
         "$JS.API.STREAM.PURGE.OBJ_headway-blobs", "$JS.API.STREAM.PURGE.WORK",
         "$JS.API.DIRECT.GET.LOGS", "$JS.API.DIRECT.GET.SPANS",
         "$JS.API.DIRECT.GET.OBJ_headway-blobs",
         "$JS.API.CONSUMER.CREATE.SPANS.otlp", "$JS.API.CONSUMER.INFO.SPANS.otlp",
         "$JS.API.CONSUMER.MSG.NEXT.SPANS.otlp", "$JS.ACK.SPANS.otlp.>",
         "$JS.API.DIRECT.GET.RUNS", "$JS.API.DIRECT.GET.WORK",
         "$JS.API.DIRECT.GET.KV_headway-settings", "$KV.headway-settings.>",
         "$JS.API.STREAM.PURGE.RUNS",
         "$JS.API.CONSUMER.CREATE.INGEST.intake", "$JS.API.CONSUMER.INFO.INGEST.intake",
         "$JS.API.CONSUMER.MSG.NEXT.INGEST.intake", "$JS.ACK.INGEST.intake.>",
         "$JS.API.CONSUMER.CREATE.WORK.*.>", "$JS.API.CONSUMER.INFO.WORK.*"],
        ["_INBOX.engine.>", "hw.wake", "hw.hb.engine.*", "hw.hb.agent.>", "hw.hb.queue.>"],
    ),
    "engine-answers": (
        ["_INBOX.>", "_R_.>", "hw.reply.>"],
        ["hw.rpc.>", "hw.api.>", "$SRV.>", "_INBOX.engine.>"],
    ),
    "agent.default.a1": _agent("default", "a1", "default"),
    "agent.default.a2": _agent("default", "a2", "gpu"),
    "agent.other.a1": _agent("other", "a1", "default"),
    "app": (
        ["hw.in.default", *_api("app", CLIENT)],
        ["_INBOX.client.app.>", "hw.reply.app.*", "hw.live.run.default.>", "hw.live.log.default.>"],
    ),
    "shop": (
        ["hw.in.other", *_api("shop", CLIENT, "other")],
        ["_INBOX.client.shop.>", "hw.reply.shop.*", "hw.live.run.other.>", "hw.live.log.other.>"],
    ),
    "web": (_api("web", READ), ["_INBOX.client.web.>", *_eyes("default")]),
    "ann": (
        ["hw.in.default", *_api("ann", [*READ, *WRITE])],
        ["_INBOX.client.ann.>", "hw.reply.ann.*", *_eyes("default")],
    ),
    "tom": (
        ["hw.in.third", *_api("tom", [*READ, *WRITE], "third")],
        ["_INBOX.client.tom.>", "hw.reply.tom.*", *_eyes("third")],
    ),
}  # fmt: skip
"""By the name of the seed's file: may publish, may subscribe."""

PEOPLE = [("app", "default"), ("shop", "other"), ("web", "default"), ("ann", "default"),
          ("tom", "third")]  # fmt: skip
NAMESPACES = ["default", "other", "third"]
VERBS = sorted({*READ, *CLIENT, *WRITE, "unheard-of"})


def published() -> list[str]:
    """Subjects of every class, of every owner."""
    found = ["hw.wake", "hw.other", "hw", "foo", "$SRV.PING", "$SRV.INFO.headway", "_R_.abc.def",
             "$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.HW.INFO",
             "$SYS.REQ.CLAIMS.UPDATE", "$JS.FC.RUNS.x", "$G.x"]  # fmt: skip
    for ns in NAMESPACES:
        found += [
            f"hw.in.{ns}", f"hw.run.{ns}.{R}.ev", f"hw.work.{ns}.default", f"hw.log.{ns}.{R}.1",
            f"hw.span.{ns}.{R}", f"hw.live.run.{ns}.{R}.ev", f"hw.live.log.{ns}.{R}.1",
            f"hw.hb.queue.{ns}.default", f"hw.hb.runs.{ns}",
        ]  # fmt: skip
        for name in ("a1", "a2"):
            found += [f"hw.rpc.{ns}.{name}.{verb}" for verb in [*RPC, "unheard-of"]]
            found += [f"hw.rpc.{ns}.{name}.beat.engine1", f"hw.rpc.{ns}.{name}.beat.engine1.x"]
            found += [f"hw.ctl.{ns}.{name}.{R}", f"hw.hb.agent.{ns}.{name}",
                      f"$KV.headway-agents.{ns}.{name}", f"_INBOX.agent.{ns}.{name}.x",
                      f"hw.reply.agent.{ns}.{name}.children"]  # fmt: skip
        for user, _ in PEOPLE:
            found += _api(user, VERBS, ns)
        for queue in ("default", "gpu"):
            consumer = f"WORK.w--{ns}--{queue}"
            found += [f"$JS.ACK.{consumer}.1.1.1.1.0", f"$JS.API.CONSUMER.DELETE.{consumer}"]
            found += [f"$JS.API.CONSUMER.{verb}.{consumer}"
                      for verb in ("INFO", "MSG.NEXT", "PAUSE", "RESET", "UNPIN")]  # fmt: skip
            found += [f"$JS.API.CONSUMER.CREATE.{consumer}.hw.work.{ns}.{queue}"]
    found += ["hw.key.default.k", "hw.hb.engine.e1", "_INBOX.engine.e1-work.x", "_INBOX.plain",
              "$KV.headway-settings.q",
              "$O.headway-blobs.C.x", "$O.headway-blobs.M.x", "$O.other.C.x"]  # fmt: skip
    for user, _ in PEOPLE:
        found += [f"_INBOX.client.{user}.x", f"hw.reply.{user}.t"]
    found += ["$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES",
              "$JS.API.STREAM.CREATE.MINE", "$JS.API.ACCOUNT.PURGE.HW",
              "$JS.ACK.INGEST.intake.1.1.1.1.0", "$JS.API.DIRECT.GET.RUNS.hw.run.default.x.ev",
              "$JS.API.DIRECT.GET.LOGS.hw.log.other.x.1"]  # fmt: skip
    for stream in STREAMS:
        found += [f"$JS.API.STREAM.{verb}.{stream}"
                  for verb in ("INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET",
                               "MSG.DELETE", "SNAPSHOT", "RESTORE", "LEADER.STEPDOWN")]  # fmt: skip
        found += [f"$JS.API.DIRECT.GET.{stream}", f"$JS.API.CONSUMER.LIST.{stream}",
                  f"$JS.API.CONSUMER.NAMES.{stream}", f"$JS.API.CONSUMER.CREATE.{stream}",
                  f"$JS.API.CONSUMER.CREATE.{stream}.mine", f"$JS.ACK.{stream}.mine.1.1.1.1.0",
                  f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.mine",
                  f"$JS.API.CONSUMER.MSG.NEXT.{stream}.mine",
                  f"$JS.API.CONSUMER.INFO.{stream}.intake",
                  f"$JS.API.CONSUMER.CREATE.{stream}.intake",
                  f"$JS.API.CONSUMER.MSG.NEXT.{stream}.intake"]  # fmt: skip
    return list(dict.fromkeys(found))


def listened() -> list[str]:
    """What one may try to hear: single subjects, and wildcards that hold too much."""
    wide = [">", "*", "*.>", "hw.>", "hw.*.>", "hw.in.>", "hw.run.>", "hw.work.>", "hw.log.>",
            "hw.span.>", "hw.rpc.>", "hw.api.>", "hw.ctl.>", "hw.reply.>", "hw.reply.*.*",
            "hw.live.>", "hw.live.*.*.>", "hw.live.run.>", "hw.hb.>", "hw.hb.agent.>",
            "hw.hb.queue.>", "hw.hb.engine.*", "hw.wake", "_INBOX.>", "_INBOX.*", "_INBOX.client.>",
            "_INBOX.agent.>", "_INBOX.agent.default.>", "_INBOX.engine.>", "_R_.>", "$JS.>",
            "$JS.API.>", "$JS.ACK.>", "$JS.EVENT.ADVISORY.>", "$KV.>", "$O.>", "$SYS.>", "$SRV.>",
            "$SRV.PING", "foo"]  # fmt: skip
    found = wide + [s for s in published() if not s.startswith(("$JS.API.", "hw.api."))]
    for ns in NAMESPACES:
        found += [f"hw.live.*.{ns}.>", f"hw.live.run.{ns}.>", f"hw.live.log.{ns}.>",
                  f"hw.live.span.{ns}.>", f"hw.hb.agent.{ns}.*", f"hw.hb.queue.{ns}.*",
                  f"hw.ctl.{ns}.a1.*", f"hw.ctl.{ns}.a2.*", f"hw.ctl.{ns}.>",
                  f"_INBOX.agent.{ns}.a1.>", f"_INBOX.agent.{ns}.a2.x.*",
                  f"hw.reply.agent.{ns}.a1.*", f"hw.reply.agent.{ns}.>"]  # fmt: skip
    for user, ns in PEOPLE:
        found += [f"_INBOX.client.{user}.>", f"_INBOX.client.{user}.x.*", f"hw.reply.{user}.*",
                  f"hw.api.{ns}.{user}.*"]  # fmt: skip
    return list(dict.fromkeys(found))


def covers(pattern: str, subject: str) -> bool:
    """Is every subject that `subject` stands for one that the pattern allows?"""
    mine, theirs = pattern.split("."), subject.split(".")
    for i, token in enumerate(mine):
        if token == ">":
            return len(theirs) > i
        if i >= len(theirs) or theirs[i] == ">" or (token != "*" and token != theirs[i]):
            return False
    return len(mine) == len(theirs)


@pytest.fixture(scope="module")
def folder() -> Any:
    with open_folder("rights") as made:
        yield made


@pytest.fixture
async def server(folder: Any) -> AsyncGenerator[Guarded]:
    wanted = write.Wanted(
        folder / "nats",
        namespaces=("default", "other"),
        tenants=("acme=third",),
        agents=("default/a1", "default/a2=gpu", "other/a1"),
        clients=("default/app", "other/shop"),
        viewers=("default/web",),
        operators=("default/ann", "third/tom"),
    )
    async with guarded(folder, wanted) as made:
        yield made


async def test_every_cell_of_the_matrix(server: Guarded) -> None:
    pubs, subs = published(), listened()
    wrong: list[str] = []
    cells = refused = 0
    tls = server.tls()
    for name, (publish, subscribe) in EXPECTED.items():
        tenant = "acme" if name == "tom" else "HW"
        async with raw(server.port, key=server.key(f"{tenant}/{name}"), tls=tls) as nc:
            for verb, subjects, allowed, got in (
                ("publish", pubs, publish, await nc.may_publish(pubs)),
                # Whatever a reply names, it does not open a subject.
                ("request", pubs, publish, await nc.may_publish(pubs, reply="_INBOX.x.y")),
                ("subscribe", subs, subscribe, await nc.may_listen(subs)),
            ):
                for subject, may in zip(subjects, got, strict=True):
                    should = any(covers(pattern, subject) for pattern in allowed)
                    cells, refused = cells + 1, refused + (not should)
                    if may != should:
                        word = "refused" if should else "ALLOWED"
                        wrong.append(f"{name} {verb} {subject}: {word}")
    assert not wrong, "\n".join(wrong)
    # Both kinds were really asked for, and the server said no to each that it should.
    assert cells > 10_000
    assert 0 < refused < cells
    # Only the server's own log knows of all of them.
    assert len(server.violations()) == refused


AT_AN_EDGE = ["hw.key.>", "$KV.headway-settings.>", "$JS.API.DIRECT.GET.KV_headway-settings",
              "$JS.API.STREAM.PURGE.RUNS"]  # fmt: skip
"""The engine's alone, beside what it has elsewhere."""
BACKUP = (
    ["$JS.API.STREAM.NAMES", "$JS.SNAPSHOT.ACK.>",
     *(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("INFO", "SNAPSHOT")
       for stream in ("INGEST", "RUNS", "KV_headway-settings", "OBJ_headway-blobs"))],
    ["_INBOX.client.backup.>"],
)  # fmt: skip


async def test_at_an_edge_the_engine_writes_the_truth_and_nobody_else_does() -> None:
    pubs, subs = published(), listened()
    with open_folder("edge-rights") as folder:
        wanted = write.Wanted(folder / "nats", agents=("a1",), operators=("ann",), edge=True)
        async with guarded(folder, wanted) as made:
            for name in ("engine", "engine-answers", "agent.default.a1", "ann", "backup"):
                publish, subscribe = (EXPECTED | {"backup": BACKUP})[name]
                allowed = publish + (AT_AN_EDGE if name == "engine" else [])
                async with raw(made.port, key=made.key(name), tls=made.tls()) as nc:
                    assert [
                        s for s, may in zip(pubs, await nc.may_publish(pubs), strict=True) if may
                    ] == [s for s in pubs if any(covers(p, s) for p in allowed)]
                    assert [
                        s for s, may in zip(subs, await nc.may_listen(subs), strict=True) if may
                    ] == [s for s in subs if any(covers(p, s) for p in subscribe)]


async def test_a_stranger_and_a_renewed_key_are_turned_away(server: Guarded) -> None:
    old = server.key("HW/app")
    with pytest.raises(ConnectionError, match="Authorization Violation"):
        async with raw(server.port, key=Key.new("user"), tls=server.tls()):
            pass
    with pytest.raises(ConnectionError, match="Authorization Violation"):
        async with raw(server.port, tls=server.tls()):
            pass
    async with raw(server.port, key=old, tls=server.tls()) as nc:
        (server.wanted.folder / "keys" / "HW" / "app.seed").unlink()
        await server.rewrite()
        # The one that stands is cut, and does not come back.
        with pytest.raises(ConnectionError):
            await nc.until_closed()
    with pytest.raises(ConnectionError, match="Authorization Violation"):
        async with raw(server.port, key=old, tls=server.tls()):
            pass
    async with raw(server.port, key=server.key("HW/app"), tls=server.tls()) as nc:
        assert await nc.may_publish(["hw.in.default"]) == [True]


def test_each_verb_of_the_engine_is_somebody_s() -> None:
    nothing: Any = None
    table = Verbs(*[nothing] * 6).table() | ReadVerbs(*[nothing] * 4).table()
    table |= BlobVerbs(*[nothing] * 2).table() | JobVerbs(*[nothing] * 3).table()
    table |= Bundles(*[nothing] * 4).table()
    table = Hub(nothing, None, (), nothing, nothing).over(table, {})
    assert {*table, "logs", "metrics", "spans"} == set(rights.OPERATOR_VERBS) == {*READ, *WRITE}
    assert set(READ_VERBS) >= NO_STORE
