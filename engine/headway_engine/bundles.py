"""Run bundles: the verb `bundle` reads what a file of a run needs, `fork-bundle` runs one from it.

A bundle comes from anywhere: all of it is checked here as what a client enqueues, and its task must
be deployed. What it does may be repeated at any point: uploaded bodies lie under the new run's id
before the one commit that names them.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from headway.errors import Refused
from headway.ids import is_run_id
from headway.tags import flaw_of_tags
from headway.wire import (
    CHECKPOINT_LIMIT,
    INLINE_LIMIT,
    PAYLOAD_LIMIT,
    STEP_LIMIT,
    Malformed,
    clean_text,
    decode,
    decoder,
    flaw_of_body,
)
from headway.wire.bundles import MARKS_LIMIT, BundleAsk, BundleFork, BundleMark, BundlePage
from headway.wire.rpc import MarkRecord
from headway_engine.blobs import NoBlob, store_blob
from headway_engine.checks import check_payload, check_state, no_task
from headway_engine.forks import known_fork, record_copy
from headway_engine.names import unknown_queue
from headway_engine.store.forking import given
from headway_engine.store.records import Body, GivenMark, GivenPoint

if TYPE_CHECKING:
    from headway.wire import BlobRef
    from headway.wire.bundles import BundlePoint, Given
    from headway.wire.replays import Forked
    from headway_engine.blobs import Blobs
    from headway_engine.control import Asker, Handler
    from headway_engine.dispatch import Dispatcher
    from headway_engine.relay import Relay
    from headway_engine.store import Store

PAGE_MARKS = 100
"""Marks that are read for a page; large values are references."""
PAGE_BYTES = 400 * 1024
"""About how many bytes of marks a page holds."""

_ASK, _FORK = decoder(BundleAsk), decoder(BundleFork)
_MARKS = decoder(list[BundleMark])


class Bundles:
    """The two verbs."""

    def __init__(self, store: Store, blobs: Blobs, dispatcher: Dispatcher, relay: Relay) -> None:
        self._store, self._blobs = store, blobs
        self._dispatcher, self._relay = dispatcher, relay

    def table(self) -> dict[str, Handler]:
        """Verb to handler."""
        return {"bundle": self._bundle, "fork-bundle": self._fork}

    async def _bundle(self, asker: Asker, body: bytes) -> BundlePage:
        ask = decode(_ASK, body)
        run = await self._store.get(asker.ns, ask.run)
        if run is None:
            raise Refused(f"no run {ask.run} in namespace {asker.ns}", "not_found")
        spec = await self._store.spec(asker.ns, run.task, run.version)
        rows = await self._store.deployments(asker.ns) if run.version and not ask.after else []
        found = await self._store.mark_page(asker.ns, run.id, ask.after, PAGE_MARKS + 1)
        more = len(found) > PAGE_MARKS
        marks: list[BundleMark] = []
        size = 0
        for mark in found[:PAGE_MARKS]:
            size += len(bytes(mark.value)) + 500
            if size > PAGE_BYTES and marks:
                more = True
                break
            marks.append(mark)
        return BundlePage(
            run.id,
            run.root or run.id,
            run.limit_key,
            run.trace,
            None if spec is None else spec[1],
            next((row for row in rows if row.version == run.version), None),
            marks,
            more,
        )

    async def _fork(self, asker: Asker, body: bytes) -> Forked:
        return await self.fork(asker.ns, decode(_FORK, body), asker.actor)

    async def fork(self, ns: str, ask: BundleFork, actor: str) -> Forked:
        """Run it here; asking again with the same new id answers `already`.

        Raises Refused with what is wrong, StoreDown, BlobsDown.
        """
        check_fork(ask)
        if (known := await known_fork(self._store, ns, ask.new_run, ask.origin)) is not None:
            return known
        spec = await self._store.spec(ns, ask.task, ask.version)
        if spec is None:
            raise no_task(ask.task, ns, ask.version)
        if ask.queue:
            names = await self._store.named_queues(ns)
            if ask.queue not in names:
                raise Refused(unknown_queue(ask.queue, ns, names), "unknown_queue")
        payload = await self._body(ns, ask, ask.payload, "payload", PAYLOAD_LIMIT)
        if payload.body.lstrip()[:1] != b"{":
            raise Refused(
                "payload: expected a JSON object of parameter name to value", "bad_payload"
            )
        check_payload(payload.body, bytes(spec[1].payload_schema))
        point, checked = None, ""
        if (at := ask.point) is not None:
            what = f"the state of checkpoint {at.number}"
            state = await self._body(ns, ask, at.state, what, CHECKPOINT_LIMIT)
            checked = _check_state(ask, at, state, bytes(spec[1].state_schema))
            point = GivenPoint(at.number, at.name, at.schema, state)
        marks = [await self._mark(ns, ask, m) for m in await self._marks(ns, ask)]
        now = await self._store.now()
        new = given(ns, ask, spec[1], now, payload, point, marks, actor)
        out = await record_copy(self._store, self._dispatcher, self._relay, ns, new)
        known = await known_fork(self._store, ns, ask.new_run, ask.origin)
        assert known is not None
        if out.outcome == "recorded":
            known.outcome = "ok"
            known.checked = checked
        return known

    async def _marks(self, ns: str, ask: BundleFork) -> list[BundleMark]:
        if ask.marks_ref is None:
            marks = ask.marks
        else:
            body = await self._uploaded(ns, ask, ask.marks_ref, "marks", PAYLOAD_LIMIT)
            if flaw := flaw_of_body(body):
                raise Refused(f"marks: {flaw}", "bad_request")
            try:
                marks = decode(_MARKS, body)
            except Malformed as e:
                raise Refused(f"marks: {e}", "bad_request") from None
        if len(marks) > MARKS_LIMIT:
            raise Refused(f"marks: {len(marks):,}, at most {MARKS_LIMIT:,}", "too_large")
        if len({m.key for m in marks}) != len(marks):
            raise Refused("marks: a key stands there twice", "bad_request")
        return marks

    async def _mark(self, ns: str, ask: BundleFork, mark: BundleMark) -> GivenMark:
        if mark.status != "done":
            raise Refused(f"mark {mark.key!r} is {mark.status}: only done ones", "bad_request")
        for text in (mark.key, mark.fn, mark.token, mark.resolved):
            check_text(text, "marks")
        what, value, ref, size = f"the value of mark {mark.key!r}", mark.value, None, 0
        if mark.ref is not None:
            body = await self._uploaded(ns, ask, mark.ref, what, STEP_LIMIT)
            _check_body(body, what)
            ref, size = mark.ref, len(body)
        elif text := bytes(value):
            if len(text) > INLINE_LIMIT:
                raise Refused(f"{what}: over {INLINE_LIMIT:,} bytes it is uploaded", "too_large")
            _check_body(text, what)
            size = len(text)
        if mark.error is not None:
            for text_ in (mark.error.type, mark.error.message, mark.error.traceback):
                check_text(text_, "marks")
        record = MarkRecord(
            mark.key, mark.kind, mark.fn, "done", 0, value, ref, mark.error, mark.due_at,
            mark.resolved,
        )  # fmt: skip
        return GivenMark(record, mark.token, mark.after, size)

    async def _body(self, ns: str, ask: BundleFork, given_: Given, what: str, limit: int) -> Body:
        if (given_.ref is None) == (not bytes(given_.value)):
            raise Refused(f"{what}: give one of value and ref", "bad_request")
        if given_.ref is not None:
            body = await self._uploaded(ns, ask, given_.ref, what, limit)
        else:
            body = bytes(given_.value)
        _check_body(body, what)
        digest = sha256(body).hexdigest()
        if len(body) <= INLINE_LIMIT:
            return Body(body, None, len(body), digest)
        return Body(body, await store_blob(self._blobs, ns, ask.new_run, body), len(body), digest)

    async def _uploaded(
        self, ns: str, ask: BundleFork, ref: BlobRef, what: str, limit: int
    ) -> bytes:
        """A body that was uploaded for the new run, checked against its reference."""
        if ref.key != f"{ns}/{ask.new_run}/{ref.sha256}":
            raise Refused(f"{what}: not a blob of the new run", "bad_request")
        if ref.size > limit:
            raise Refused(f"{what}: {ref.size:,} bytes, at most {limit:,}", "too_large")
        try:
            body = await self._blobs.get(ref.key, 0, limit + 1)
        except NoBlob as e:
            raise Refused(f"{what}: {e}", "bad_request") from None
        if len(body) != ref.size or sha256(body).hexdigest() != ref.sha256:
            raise Refused(f"{what}: the uploaded body differs from its hash", "bad_request")
        return body


def _check_state(
    ask: BundleFork, at: BundlePoint, state: Body, schema: bytes
) -> Literal["", "ok", "unlike"]:
    """Whether an edited state fits the type that the task registered; raises Unfit.

    What was saved as another type (an older version, which `migrate=` knows) cannot be told.
    """
    if "state" not in ask.edited or not schema:
        return ""
    if at.schema and at.schema != sha256(schema).hexdigest()[:16]:
        return "unlike"
    check_state(state.body, schema)
    return "ok"


def check_fork(ask: BundleFork) -> None:
    """What can be seen without the store; raises Refused."""
    for what, run in (("new_run", ask.new_run), ("origin", ask.origin), ("root", ask.root)):
        if not is_run_id(run):
            raise Refused(f"{what}: no run id", "bad_request")
    if ask.new_run in (ask.origin, ask.root):
        raise Refused("new_run: a new id, not the run's own", "bad_request")
    texts: list[Any] = [ask.site, ask.version, ask.limit_key, *ask.clear]
    if ask.point is not None:
        texts += [ask.point.name, ask.point.schema]
    for text in texts:
        check_text(text, "bundle")
    if flaw := flaw_of_tags(ask.tags):
        raise Refused(f"tags: {flaw}", "bad_request")


def check_text(text: str, what: str) -> None:
    """Raises Refused for what no column can keep."""
    if not clean_text(text):
        raise Refused(f"{what}: NUL and lone surrogates cannot be stored", "bad_request")


_ANY = decoder(Any)


def _check_body(body: bytes, what: str) -> None:
    if flaw := flaw_of_body(body):
        raise Refused(f"{what}: {flaw}", "bad_request")
    try:
        decode(_ANY, body)
    except Malformed as e:
        raise Refused(f"{what}: no JSON: {e}"[:500], "bad_request") from None
