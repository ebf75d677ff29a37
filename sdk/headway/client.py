"""Client: enqueue runs, await their results, steer them.

One client per process and event loop: `await default_client()`. Callbacks of NATS only book what
they hear; nothing is decided or waited for in them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from headway import bus, config, journal, subjects
from headway.codec import payload_hash
from headway.enqueues import MESSAGE_ITEMS, Outbox
from headway.errors import HeadwayError, NotRecorded, SomeRefused, refusal_of
from headway.handles import RunHandle
from headway.ids import new_run_id
from headway.results import Results
from headway.sending import send_all
from headway.steering import Steering
from headway.wire import INLINE_LIMIT, NOTHING, Malformed, decode, encode
from headway.wire.api import Done
from headway.wire.enqueue import ANSWERS, Ended, EnqueueItem
from headway.wire.sites import SEND_TTL
from headway.wire.steering import ReplayAsk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from nats.aio.msg import Msg

    from headway.enqueues import RunRecord

log = logging.getLogger("headway.client")


class Client(Steering):
    """A connection to Headway. Make it with `Client.open()` or `default_client()`.

    Here are enqueues and results; `steering` has the verbs that look at runs and move them,
    `bodies` what is large, `asking` the requests below all of it.
    """

    def __init__(self, connection: bus.Connection, settings: config.Settings, reply: str) -> None:
        """`reply`: the subject on which this process hears, see `subjects.reply`."""
        super().__init__(connection, settings)
        self.id = reply.rsplit(".", 1)[-1]
        """Random: of this process and event loop."""
        self._listens = False
        self.outbox = Outbox(connection, settings, settings.user, reply)
        self.results = Results(connection, self.namespace, self.outbox, self.ask_results)

    @classmethod
    async def open(cls, settings: config.Settings | None = None) -> Client:
        """Connect; settings come from HEADWAY_* variables. Raises NotReachable."""
        settings = settings or config.from_environment()
        nc = await bus.connect(settings, kind="client", ident=settings.user)
        # Not to be guessed: whoever knows it, and is let, could listen to our answers.
        return cls(nc, settings, subjects.reply(settings.user, secrets.token_hex(12)))

    async def close(self) -> None:
        """Send what waits, stop waiting, disconnect. May be called again."""
        if self.connection.is_closed:
            return
        await self.results.close()
        if self.connection.is_connected:
            await self.outbox.close()
        await self.connection.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _on_answers(self, msg: Msg) -> None:
        try:
            answers = decode(ANSWERS, msg.data)
        except Malformed as e:
            log.warning("an answer could not be read: %s", e)
            return
        if answers.durability:
            self.durability = answers.durability
        for recorded in answers.recorded:
            self.outbox.note(recorded)
            if recorded.outcome != "recorded":
                self.results.on_known(recorded.run)
        for ended in answers.ended:
            self.results.on_ended(ended)

    # --- enqueue

    async def submit(
        self, items: Sequence[EnqueueItem], result_type: Any = Any
    ) -> list[RunHandle[Any]]:
        """Enqueue runs; returns when all are recorded, or accepted and the engine is silent.

        A duplicate's handle is that of the run which holds the key. Raises BadPayload, KeyConflict
        or Refused (one item), SomeRefused (several), QueueFull, ReadOnly, NotReachable, and
        NotRecorded where *accepted* would not survive a power cut. After NotReachable it is unknown
        whether they were enqueued: repeat with the same items.
        """
        if not items:
            return []
        self.may("an enqueue")
        hashes = [payload_hash(bytes(i.payload)) for i in items] if journal.armed else []
        await self._listen()
        for i in items:
            if len(bytes(i.payload)) > INLINE_LIMIT:
                await self._stow(i)
        records: list[RunRecord] = []
        submission = self.outbox.submission(len(items))
        for at in range(0, len(items), MESSAGE_ITEMS):
            if at:
                await asyncio.sleep(0)  # the engine begins with the first while we go on
            part = items[at : at + MESSAGE_ITEMS]
            made = [self.outbox.record(i.run, own=True) for i in part]
            self.outbox.put(submission, made, [Raw(encode(i)) for i in part])
            records += made
        in_time = await self.outbox.recorded(submission, self.settings.request_timeout)
        handles: list[RunHandle[Any]] = [RunHandle(self, r, result_type) for r in records]
        if not in_time:
            await self._fall_back(handles)
        if journal.armed:
            self._note(items, records, hashes)
        refused = [(r.id, r.refusal.code, r.refusal.reason) for r in records if r.refusal]
        if refused and len(items) == 1:
            raise refusal_of(refused[0][1], refused[0][2])
        if refused:
            raise SomeRefused(handles, refused)
        return handles

    async def send(
        self,
        site: str,
        items: Sequence[EnqueueItem],
        result_type: Any = Any,
        *,
        ttl: float = SEND_TTL,
    ) -> list[RunHandle[Any]]:
        """Enqueue runs at a site of this hub; returns when the hub keeps them for it.

        Until there is a link they wait there, `ttl` seconds at most, and each is made once. Its
        handle says `accepted`, then `recorded` when the site has it, or `rejected` or `expired`;
        `result()` raises Refused for those two. Raises Refused for a site that the hub does not
        have, or for an item that it cannot send; NotReachable: repeat with the same items.
        """
        self.may("an enqueue")
        await self._listen()
        records = await send_all(self, site, items, ttl)
        return [RunHandle(self, record, result_type) for record in records]

    async def _listen(self) -> None:
        """Hear answers; not before: those who only look have no right to it."""
        if not self._listens:
            self._listens = True
            await self.connection.listen(self.outbox.reply, self._on_answers)

    def _note(
        self,
        items: Sequence[EnqueueItem],
        records: Sequence[RunRecord],
        hashes: Sequence[str],
    ) -> None:
        """What the caller is about to hear, into the journal."""
        for item, record, digest in zip(items, records, hashes, strict=True):
            if record.refusal is None:
                journal.note(
                    "enqueue",
                    ns=self.namespace,
                    run=record.id,
                    word=record.state,
                    winner=record.winner,
                    task=item.task,
                    key=item.key or "",
                    payload=digest,
                )

    async def _fall_back(self, handles: list[RunHandle[Any]]) -> None:
        """Not recorded in time: is *accepted* good enough on this NATS?"""
        if self.durability == "unknown":
            try:
                self.durability = (await self.info()).durability or "unknown"
            except HeadwayError as e:
                log.info("asking the engine: %s", e)
        if self.durability == "lazy":
            raise NotRecorded(handles)
        log.warning(
            "%d enqueues are accepted but not recorded yet: engine or store is behind (%s)",
            sum(h.recorded == "accepted" for h in handles),
            self.durability,
        )

    async def _stow(self, item: EnqueueItem) -> None:
        """Put a large payload into blobs; the item then carries the reference."""
        item.payload_ref = await self.upload(item.run, bytes(item.payload), "the payload")
        item.payload = NOTHING

    # --- handles and results

    def handle(self, run: str, result_type: Any = Any) -> RunHandle[Any]:
        """A handle to any run by its id, also of another client's; nothing is sent."""
        return RunHandle(self, self.outbox.record(run), result_type)

    async def ended(self, record: RunRecord, within: float | None) -> Ended:
        """Wait for a run's end; see RunHandle.result."""
        return await self.results.wait(record, within)

    async def result(self, run: str, result_type: Any = Any, within: float | None = None) -> Any:
        """The result of any run by its id; see RunHandle.result."""
        return await self.handle(run, result_type).result(within)

    async def replay(
        self,
        run: str,
        *,
        clear: tuple[str, ...] = (),
        version: str = "",
        queue: str | None = None,
        result_type: Any = Any,
    ) -> RunHandle[Any]:
        """A new run with the same payload, from the start; done once marks and tokens are kept."""
        new_run = new_run_id()
        ask = ReplayAsk(run, new_run, clear=clear, version=version, queue=queue)
        done = await self.api("replay", ask, Done)
        return self.handle(done.run or new_run, result_type)


_clients: dict[tuple[int, int], asyncio.Future[Client]] = {}


async def default_client() -> Client:
    """The client of this process and event loop, connected at the first call (DECISIONS F8).

    A forked child and another loop get their own. It is closed when `asyncio.run` ends.
    """
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop))
    opening = _clients.get(key)
    if opening is not None and opening.get_loop() is not loop:
        opening = None  # an ended loop's address was given out again
    if opening is not None and opening.done():
        failed = opening.cancelled() or opening.exception() is not None
        if failed or opening.result().connection.is_closed:
            opening = None
    if opening is None:
        opening = _clients[key] = loop.create_task(_open_default(key))
    return await asyncio.shield(opening)


async def _open_default(key: tuple[int, int]) -> Client:
    client = await Client.open()
    # asyncio.run closes asynchronous generators when it ends: the one hook that a loop offers.
    guard = _closing(client, key)
    await anext(guard)
    _guards[key] = guard
    return client


_guards: dict[tuple[int, int], AsyncGenerator[None]] = {}


async def _closing(client: Client, key: tuple[int, int]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        _clients.pop(key, None)
        _guards.pop(key, None)
        await client.close()
