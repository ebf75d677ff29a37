"""The verbs `bundle` and `fork-bundle` on a real engine: large bodies, repeats, refusals."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from headway.codec import schema_hash, schema_of
from headway.ids import new_run_id
from headway.wire import BlobRef, encode
from headway.wire.blobs import BlobPut
from headway.wire.bundles import BundleAsk, BundleFork, BundleMark, BundlePage, BundlePoint, Given
from headway.wire.fleet import TaskSpec
from headway.wire.reports import Finished
from headway.wire.saves import SaveCheckpoint
from headway_ops.verify import Ask, verify
from support.factories import EPOCH
from support.stacks import assigned, stack

if TYPE_CHECKING:
    from support.engines import Caller

SPEC = TaskSpec("noop", payload_schema=Raw(b'{"type":"object","required":["x"]}'))


def asked(**fields: Any) -> BundleFork:
    usual: dict[str, Any] = {
        "new_run": new_run_id(), "origin": new_run_id(), "root": new_run_id(), "task": "noop",
        "payload": Given(Raw(b'{"x":1}')), "point": BundlePoint(3, "turn-3", Given(Raw(b"[3]"))),
        "marks": [BundleMark("mail", "once", EPOCH, token="t-1", value=Raw(b"1"))],
    }  # fmt: skip
    return BundleFork(**usual | fields)


async def uploaded(caller: Caller, run: str, body: bytes) -> BlobRef:
    part = BlobPut(run, secrets.token_hex(4), 0, True, body, sha256(body).hexdigest())
    return msgspec.convert(await caller.api("blob-put", part), BlobRef)


async def refused(caller: Caller, ask: BundleFork) -> tuple[str, str]:
    answer = await caller.api_raw("fork-bundle", ask)
    assert answer.error is not None
    return answer.error.code, answer.error.message


async def test_it_runs_with_what_it_was_given_and_is_read_back_as_a_bundle_reads(
    nats: str, database: str
) -> None:
    async with stack(nats, database, SPEC) as (_, caller, agent):
        await agent.start()
        ask = asked()
        state = encode({"text": secrets.token_hex(100_000)})
        ref = await uploaded(caller, ask.new_run, state)
        ask.point = BundlePoint(3, "turn-3", Given(ref=ref), "ab12")
        marks = [*ask.marks, BundleMark("ask", "step", EPOCH, after=2, value=Raw(b'"a"'))]
        ask.marks, ask.marks_ref = [], await uploaded(caller, ask.new_run, encode(marks))
        told = await caller.api("fork-bundle", ask)
        assert (told["outcome"], told["checkpoint"], told["kept"]) == ("ok", 3, ["mail"])
        assert (await caller.api("fork-bundle", ask))["outcome"] == "already"
        given = await assigned(agent, ask.new_run)
        assert (given.checkpoint, given.state_ref) == (3, ref)
        assert [m.key for m in given.marks] == ["ask", "mail"]
        answer = await caller.api_raw("bundle", BundleAsk(ask.new_run))
        page = msgspec.json.decode(bytes(answer.data), type=BundlePage)
        assert (page.root, page.more) == (ask.root, False)
        assert [(m.key, bytes(m.value)) for m in page.marks] == [("ask", b'"a"'), ("mail", b"1")]
        assert page.spec is not None
        assert page.deployment is not None
        assert page.deployment.version == "v1"
        digest = sha256(b"1").hexdigest()
        saved = await agent.save(
            SaveCheckpoint(ask.new_run, given.epoch, 4, "turn-4", digest, 1, state=Raw(b"1"))
        )
        assert [s.outcome for s in saved] == ["ok"]
        await agent.report(Finished(ask.new_run, given.epoch, Raw(b"1"), size=1))
        report = await verify(Ask(database))
        assert not report.violations, report.violations


async def test_what_cannot_be_is_refused_in_words(nats: str, database: str) -> None:
    async with stack(nats, database, SPEC) as (_, caller, agent):
        await agent.start()
        large = Raw(b'"' + b"x" * 140_000 + b'"')
        mark = BundleMark("k", "step", EPOCH)
        elsewhere = BlobRef(f"default/{new_run_id()}/{'0' * 64}", 5, "0" * 64)
        for fields, code, said in (
            ({"task": "nobody"}, "unknown_task", "headway deploy"),
            ({"version": "v9"}, "unknown_task", "v9"),
            ({"queue": "nobody"}, "unknown_queue", "nobody"),
            ({"payload": Given(Raw(b"{}"))}, "bad_payload", "x"),
            ({"payload": Given(Raw(b"[1]"))}, "bad_payload", "object"),
            ({"payload": Given()}, "bad_request", "value and ref"),
            ({"payload": Given(ref=elsewhere)}, "bad_request", "not a blob of the new run"),
            ({"point": BundlePoint(1, "\x00", Given(Raw(b"1")))}, "bad_request", "NUL"),
            ({"marks": [mark, mark]}, "bad_request", "twice"),
            ({"marks": [replace(mark, status="started")]}, "bad_request", "done"),
            ({"marks": [replace(mark, value=large)]}, "too_large", "uploaded"),
            ({"tags": (" ",)}, "bad_request", "blank"),
        ):  # fmt: skip
            found = await refused(caller, asked(**fields))
            assert found[0] == code, (fields, found)
            assert said in found[1], (fields, found)
        same = asked()
        assert (await refused(caller, replace(same, origin=same.new_run)))[0] == "bad_request"
        huge = replace(same, marks_ref=BlobRef(f"default/{same.new_run}/x", 20_000_000, "x"))
        assert (await refused(caller, huge))[0] == "too_large"
        # An id that is somebody else's is not taken over.
        word = await caller.enqueue(payload=b'{"x":1}')
        assert (await refused(caller, replace(same, new_run=word.run)))[0] == "conflict"


class Notes(Struct):
    """The state of a task."""

    turn: int


async def test_an_edited_state_fits_the_type_that_the_task_declares(
    nats: str, database: str
) -> None:
    spec = replace(SPEC, state_schema=Raw(schema_of(Notes)))
    async with stack(nats, database, spec) as (_, caller, agent):
        await agent.start()

        def ask(state: bytes, saved_as: str, *edited: str) -> BundleFork:
            point = BundlePoint(1, "turn-1", Given(Raw(state)), saved_as)
            return asked(point=point, edited=edited)

        same, other = schema_hash(Notes), "0" * 16
        code, said = await refused(caller, ask(b'{"turn":"two"}', same, "state"))
        assert (code, "state.turn" in said) == ("bad_state", True)
        assert (await refused(caller, ask(b'{"turns":2}', "", "state")))[0] == "bad_state"
        for given, checked in (
            (ask(b'{"turn":2}', same, "state"), "ok"),
            (ask(b'{"turns":2}', other, "state"), "unlike"),  # migrate= knows what to do with it
            (ask(b'{"turns":2}', same), ""),  # as it was saved
        ):
            told = await caller.api("fork-bundle", given)
            assert (told["outcome"], told.get("checked", "")) == ("ok", checked)
