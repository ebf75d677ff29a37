"""Forks: a new run from a checkpoint of another, for the verb and for replay jobs.

What it does may be repeated at any point: blobs are copied under keys that hold their hash, and the
rows are written in one commit under an id that the caller made.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

from headway.errors import Refused
from headway.forks import apply, check_edit, check_start, choose, failures_of, no_checkpoint
from headway.tags import flaw_of_tags
from headway.wire import (
    CHECKPOINT_LIMIT,
    INLINE_LIMIT,
    PAYLOAD_LIMIT,
    BlobRef,
    clean_text,
    flaw_of_body,
)
from headway.wire.replays import Forked
from headway_engine.blobs import NoBlob, store_blob
from headway_engine.checks import Unfit, check_payload, check_state
from headway_engine.names import unknown_queue
from headway_engine.store.forking import forked, moved
from headway_engine.store.records import Body

if TYPE_CHECKING:
    from headway.wire.events import Event
    from headway.wire.fleet import TaskSpec
    from headway.wire.replays import BodyEdit, ForkAsk
    from headway_engine.blobs import Blobs
    from headway_engine.dispatch import Dispatcher
    from headway_engine.relay import Relay
    from headway_engine.store import Store
    from headway_engine.store.forking import ForkSource
    from headway_engine.store.records import EnqueueOutcome, NewRun

EVENTS_PAGE = 2000


class Forks:
    """Makes forks."""

    def __init__(self, store: Store, blobs: Blobs, dispatcher: Dispatcher, relay: Relay) -> None:
        self._store, self._blobs = store, blobs
        self._dispatcher, self._relay = dispatcher, relay

    async def fork(self, ns: str, ask: ForkAsk, actor: str, job: str = "") -> Forked:
        """Fork; asking again with the same new id answers `already`, a dry run writes nothing.

        `job`: the replay job that asks. Raises Refused with what is wrong, StoreDown, BlobsDown.
        """
        check_ask(ask)
        if (known := await self._known(ns, ask)) is not None:
            return known
        if ask.queue:
            names = await self._store.named_queues(ns)
            if ask.queue not in names:
                raise Refused(unknown_queue(ask.queue, ns, names), "unknown_queue")
        source = await self._store.fork_source(ns, ask.run)
        if source is None:
            raise Refused(f"no run {ask.run} in namespace {ns}", "not_found")
        failures = failures_of(await self._events(ns, ask)) if ask.start == "before-error" else []
        start = choose(ask.start, source.checkpoints, failures)
        if start is None and ask.start != "start" and ask.missing == "error":
            message = no_checkpoint(ask.start, ask.run, source.checkpoints)
            raise Refused(message, "no_checkpoint")
        if start is None and ask.state is not None:
            raise Refused(
                "state: a fork from the start has no state to edit; edit the payload, or choose"
                " a checkpoint",
                "bad_request",
            )
        state, checked = None, ""
        if ask.state is not None and start is not None:
            found = await self._store.state(ns, ask.run, start.number)
            if found is None:
                raise Refused(f"checkpoint {start.number} is gone", "conflict")
            state = await self._edited(ns, ask, ask.state, found[1], found[2], "state")
            checked = await self._check_state(ns, source, ask, state.body, found[1], found[2])
        payload = None
        if ask.payload is not None:
            payload = await self._edited(
                ns, ask, ask.payload, source.payload, source.payload_ref, "payload"
            )
            await self._check_payload(ns, source, ask, payload)
        new = forked(source, ask, await self._store.now(), start, state, payload, actor, job)
        if isinstance(new, str):
            raise Refused(new)
        point = new.fork
        kept = () if point is None else point.kept
        again = () if point is None else point.cleared
        number, name = (0, "") if start is None else (start.number, start.name)
        if ask.dry_run:
            return Forked(ask.new_run, "planned", "", number, name, kept, again, checked)
        for key in new.blobs:
            # Before the rows that name them; repeating it is safe.
            try:
                body = await self._blobs.get(key)
            except NoBlob as e:
                raise Refused(f"a body of run {ask.run} is gone: {e}", "conflict") from None
            await self._blobs.put(moved(key, ask.run, ask.new_run), body)
        out = await record_copy(self._store, self._dispatcher, self._relay, ns, new)
        if out.outcome != "recorded" and (known := await self._known(ns, ask)) is not None:
            return known
        status = out.record.state.status if out.record is not None else ""
        return Forked(ask.new_run, "ok", status, number, name, kept, again, checked)

    async def _known(self, ns: str, ask: ForkAsk) -> Forked | None:
        return await known_fork(self._store, ns, ask.new_run, ask.run)

    async def _events(self, ns: str, ask: ForkAsk) -> list[Event]:
        found: list[Event] = []
        after = 0
        while page := await self._store.events(ns, ask.run, after, EVENTS_PAGE):
            found += [e for e in page if "error" in e.data]
            after = page[-1].n
        return found

    async def _edited(
        self,
        ns: str,
        ask: ForkAsk,
        edit: BodyEdit,
        inline: bytes,
        ref: BlobRef | None,
        what: str,
    ) -> Body:
        """The edited body, stored under the new run if it is large."""
        limit = CHECKPOINT_LIMIT if what == "state" else PAYLOAD_LIMIT
        given = edit.ref
        try:
            if given is not None:
                if given.key != f"{ns}/{ask.new_run}/{given.sha256}":
                    raise Refused(f"{what}: not a blob of the new run", "bad_request")
                body = await self._blobs.get(given.key)
                if len(body) != given.size or sha256(body).hexdigest() != given.sha256:
                    raise Refused(f"{what}: the uploaded body differs from its hash", "bad_request")
            else:
                # What is replaced whole need not be read.
                old = inline
                if ref is not None and not bytes(edit.value):
                    old = await self._blobs.get(ref.key)
                body = apply(edit, old, what)
        except NoBlob as e:
            raise Refused(f"{what}: {e}", "bad_request") from None
        if len(body) > limit:
            raise Refused(f"{what}: {len(body):,} bytes, at most {limit:,}", "too_large")
        if flaw := flaw_of_body(body):
            raise Refused(f"{what}: {flaw}", "bad_request")
        digest = sha256(body).hexdigest()
        if len(body) <= INLINE_LIMIT or ask.dry_run:
            return Body(body, None, len(body), digest)
        return Body(body, await store_blob(self._blobs, ns, ask.new_run, body), len(body), digest)

    async def _check_payload(
        self, ns: str, source: ForkSource, ask: ForkAsk, payload: Body
    ) -> None:
        if payload.body.lstrip()[:1] != b"{":
            raise Refused(
                "payload: expected a JSON object of parameter name to value", "bad_payload"
            )
        if (spec := await self._spec(ns, source, ask)) is not None:
            try:
                check_payload(payload.body, bytes(spec.payload_schema))
            except Unfit as e:
                raise Refused(str(e), e.code) from None

    async def _check_state(
        self,
        ns: str,
        source: ForkSource,
        ask: ForkAsk,
        state: bytes,
        inline: bytes,
        ref: BlobRef | None,
    ) -> Literal["", "ok", "unlike"]:
        """Whether the edited state fits the type that the task registered; raises Refused.

        If the state before it does not fit either (saved by an older version, and `migrate=` knows
        what to do with it), the schema says nothing about the new one.
        """
        spec = await self._spec(ns, source, ask)
        schema = b"" if spec is None else bytes(spec.state_schema)
        if not schema:
            return ""
        try:
            check_state(state, schema)
        except Unfit as e:
            with suppress(Unfit, NoBlob):
                before = inline if ref is None else await self._blobs.get(ref.key)
                check_state(before, schema)
                raise Refused(str(e), e.code) from None
            return "unlike"
        return "ok"

    async def _spec(self, ns: str, source: ForkSource, ask: ForkAsk) -> TaskSpec | None:
        """Of the version that the fork will run with."""
        version = source.run.version if ask.version == "original" else ask.version
        found = await self._store.spec(ns, source.run.task, version)
        return None if found is None else found[1]


async def known_fork(store: Store, ns: str, new_run: str, origin: str) -> Forked | None:
    """The answer, if this new id is a run already; raises Refused if it is another's."""
    run = await store.get(ns, new_run)
    if run is None:
        return None
    first = (await store.events(ns, new_run, 0, 1))[:1]
    if run.origin != origin or not first or first[0].kind != "forked":
        raise Refused(f"run id {new_run} belongs to another run", "conflict")
    data = first[0].data
    return Forked(
        run.id,
        "already",
        run.state.status,
        data.get("checkpoint", 0),
        data.get("name", ""),
        tuple(data.get("kept", ())),
        tuple(data.get("cleared", ())),
    )


async def record_copy(
    store: Store, dispatcher: Dispatcher, relay: Relay, ns: str, new: NewRun
) -> EnqueueOutcome:
    """Commit a replay or fork, and tell of it; raises Refused if the store does not take it."""
    outcomes, dispatches = await store.enqueue(ns, [new], {})
    counts = {new.run.queue: (0, 1) if new.run.shared else (1, 0)}
    dispatcher.settle(ns, counts, {}, dispatches)
    out = outcomes[0]
    if out.record is not None:
        relay.events(ns, out.run, out.record.task, out.record.queue, out.events)
    if out.outcome == "rejected":
        raise Refused(out.reason, out.code or "refused")
    return out


def check_ask(ask: ForkAsk) -> None:
    """What can be seen without the store; raises Refused."""
    check_start(ask.start)
    for what, edit in (("state", ask.state), ("payload", ask.payload)):
        if edit is not None:
            check_edit(edit, what)
    if ask.run == ask.new_run:
        raise Refused("new_run: a new id, not the run's own", "bad_request")
    for text in (ask.start, ask.version, *ask.clear):
        if not clean_text(text):
            raise Refused("NUL and lone surrogates cannot be stored", "bad_request")
    if flaw := flaw_of_tags(ask.tags):
        raise Refused(f"tags: {flaw}", "bad_request")
