"""The pull loop: messages of a durable consumer, as many as the caller has room for.

One subscription for the life of the loop, one inbox token per request. It answers every status of
the server, has a watchdog, and asks again at once after a reconnect (nats-py's own fetch stays
silent for its whole timeout there). Acks are plain publishes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headway.bus import Connection, JetStreamRefused, publish_all
from headway.errors import NotReachable
from headway.natspy import nats_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = logging.getLogger("headway.pull")

_ENDED = frozenset({"404", "408"})
_PAUSE = 0.25
_INBOX_REQUESTS = 256
"""Requests for which one inbox serves. Where a request crosses accounts, the broker remembers the
way back of each one for as long as somebody listens there."""


class Delivery(NamedTuple):
    """What the server says of a delivered message, read from its ack subject."""

    stream: str
    consumer: str
    delivered: int
    """How often it was delivered, this time included."""
    stream_seq: int
    time_ns: int
    """When JetStream stored it, ns since the Unix epoch."""
    pending: int
    """Messages of this consumer after it."""


def delivery_of(msg: Msg) -> Delivery:
    """The facts of a delivered message."""
    t = msg.reply.split(".")
    i = 4 if len(t) > 9 else 2  # with domain and account hash in front, or without
    return Delivery(t[i], t[i + 1], int(t[i + 2]), int(t[i + 3]), int(t[i + 5]), int(t[i + 6]))


async def ack(nc: NatsClient, messages: Iterable[Msg]) -> None:
    """Done with these: a lost ack only means one more delivery."""
    await publish_all(nc, [(m.reply, b"+ACK") for m in messages])


class LateAcks:
    """Acks that nobody waits for, sent together a little later: they stay out of the way of runs.

    What is not sent when the process dies is delivered once more, which is harmless wherever the
    message has done its work. `flush` before the connection is closed.
    """

    def __init__(self, nc: NatsClient, delay: float = 0.1) -> None:
        self._nc, self._delay = nc, delay
        self._waiting: list[Msg] = []
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    def put(self, messages: Iterable[Msg]) -> None:
        """Done with these."""
        self._waiting += messages
        if self._timer is None and self._waiting:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._delay, self._due, loop)

    def _due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._sending = loop.create_task(self._send())

    async def _send(self) -> None:
        messages, self._waiting = self._waiting, []
        try:
            await ack(self._nc, messages)
        except nats_errors.Error as e:
            log.debug("ack: %s", e)

    async def flush(self) -> None:
        """Send what waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._send()


async def nak(nc: NatsClient, messages: Iterable[Msg], delay: float = 0.0) -> None:
    """Give these back, to be delivered again after `delay` seconds."""
    body = b"-NAK" if delay <= 0 else b'-NAK {"delay":%d}' % int(delay * 1e9)
    await publish_all(nc, [(m.reply, body) for m in messages])


async def working(nc: NatsClient, messages: Iterable[Msg]) -> None:
    """Not decided yet: their `ack_wait` begins again."""
    await publish_all(nc, [(m.reply, b"+WPI") for m in messages])


async def term(nc: NatsClient, messages: Iterable[Msg], reason: str) -> None:
    """Never deliver these again; the reason goes into the server's advisory."""
    body = b"+TERM " + " ".join(reason.split())[:200].encode()
    for m in messages:
        await nc.publish(m.reply, body)


class Ledger:
    """What was asked for and has not come: pure bookkeeping.

    A delivered message does not say which request it serves, so the oldest is taken; a final status
    says how many of its own request will not come. The total is what counts, and it is exact.
    """

    def __init__(self) -> None:
        self._asked: dict[int, tuple[int, float]] = {}
        # Fully booked here, though the server may have served another one instead of it.
        self._booked: dict[int, float] = {}
        self.total = 0

    def ask(self, k: int, batch: int, until: float) -> None:
        """Request number k for `batch` messages ends by itself at `until`."""
        self._asked[k] = (batch, until)
        self.total += batch

    def came(self, count: int) -> None:
        """That many messages were delivered."""
        while count > 0 and self._asked:
            k = next(iter(self._asked))
            left, until = self._asked[k]
            taken = min(left, count)
            count -= taken
            self.total -= taken
            if taken == left:
                del self._asked[k]
                self._booked[k] = until
            else:
                self._asked[k] = (left - taken, until)

    def ended(self, k: int, unserved: int | None) -> None:
        """Request k is over; so many of its messages will not come (None = not said)."""
        left, _ = self._asked.pop(k, (0, 0.0))
        self._booked.pop(k, None)
        self.total -= left
        if unserved is None or unserved == left:
            return
        if unserved > left:
            self.came(unserved - left)
            return
        # Messages that were booked on another one belonged to this one.
        extra = left - unserved
        if self._asked:
            other = next(iter(self._asked))
            have, until = self._asked[other]
            self._asked[other] = (have + extra, until)
        elif self._booked:
            other, until = self._booked.popitem()
            self._asked[other] = (extra, until)
        else:
            return
        self.total += extra

    def expire(self, now: float) -> None:
        """Forget requests that must have ended; their status was lost."""
        for k in [k for k, (_, until) in self._asked.items() if until <= now]:
            left, _ = self._asked.pop(k)
            self.total -= left
        while self._booked and next(iter(self._booked.values())) <= now:
            del self._booked[next(iter(self._booked))]

    def clear(self) -> None:
        """Nothing is on its way any more."""
        self._asked.clear()
        self._booked.clear()
        self.total = 0


class PullLoop:
    """Pulls a durable consumer until it is stopped.

    `want()`: for how many messages the caller has room now, those already asked for included; call
    `wake()` when it grows. `deliver(batch)` is called with what has arrived together, at once and
    in no task of its own: it must only enqueue, and what it raises ends `run()`. More than wanted
    can come after a lost status: give it back with `nak`. `repair()` is awaited when the consumer
    seems to be gone. A crash of the process leaves what was delivered to the consumer's `ack_wait`.
    """

    def __init__(
        self,
        nc: Connection,
        stream: str,
        durable: str,
        *,
        want: Callable[[], int],
        deliver: Callable[[list[Msg]], None],
        repair: Callable[[], Awaitable[None]] | None = None,
        expires: float = 5.0,
        heartbeat: float = 2.5,
        max_batch: int = 1000,
        priority: int | None = None,
    ) -> None:
        self._nc, self._stream, self._durable = nc, stream, durable
        self._want, self._deliver, self._repair = want, deliver, repair
        self._expires, self._heartbeat, self._max_batch = expires, heartbeat, max_batch
        self._priority = priority
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = ""
        self._subs: deque[tuple[float, Subscription]] = deque()
        self._k = 0
        self._ledger = Ledger()
        self._arrived: deque[Msg] = deque()
        self._event = asyncio.Event()
        self._stopping = False
        self._due = False
        self._failure: Exception | None = None
        self._trouble = ""
        self._heard = 0.0
        self.delivered = 0
        """Messages delivered so far."""

    def wake(self) -> None:
        """`want()` may have grown."""
        if self._gap():
            self._event.set()

    @property
    def outstanding(self) -> int:
        """Messages that were asked for and have not come."""
        return self._ledger.total

    def _on_message(self, msg: Msg) -> None:
        self._arrived.append(msg)
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._take)

    def _on_reconnect(self) -> None:
        # Whatever was asked on the old connection will never be answered.
        self._ledger.clear()
        self._event.set()

    async def run(self) -> None:
        """Pull until `stop()`; returns after everything in flight was delivered or given back."""
        loop = asyncio.get_running_loop()
        self._heard = loop.time()
        unhook = self._nc.when_back(self._on_reconnect)
        try:
            while not self._stopping:
                self._event.clear()
                if self._failure is not None:
                    raise self._failure
                self._watch(loop.time())
                if self._trouble:
                    await self._mend()
                    continue
                await self._ask(loop.time())
                await self._rest()
        finally:
            unhook()
            # Drain: what the server sent before it heard of the end still arrives, and goes back.
            if not self._nc.is_closed:
                for _, sub in self._subs:
                    await sub.drain() if self._nc.is_connected else await sub.unsubscribe()
                await nak(self._nc, [m for m in self._arrived if _is_delivery(m)])

    def stop(self) -> None:
        """End `run()`; idempotent, and may come before it."""
        self._stopping = True
        self._event.set()

    def _take(self) -> None:
        """Hand on what has arrived, and read the statuses between; `run` sleeps on if it can."""
        self._due = False
        if self._stopping:
            return  # it goes back
        self._heard = asyncio.get_running_loop().time()
        batch: list[Msg] = []
        try:
            while self._arrived:
                msg = self._arrived.popleft()
                if _is_delivery(msg):
                    batch.append(msg)
                else:
                    # Statuses count what came before them.
                    self._ledger.came(len(batch))
                    self._hand_on(batch)
                    batch = []
                    self._on_status(msg)
            self._ledger.came(len(batch))
            self._hand_on(batch)
        except Exception as e:
            self._failure = e
        if self._failure is not None or self._trouble or self._gap():
            self._event.set()

    def _watch(self, now: float) -> None:
        """Forget requests that have ended unheard, and all of them when the server is silent."""
        self._ledger.expire(now)
        if self._ledger.total and now - self._heard > 2 * self._heartbeat:
            log.debug("%s/%s: no heartbeat, asking again", self._stream, self._durable)
            self._ledger.clear()

    def _hand_on(self, batch: list[Msg]) -> None:
        if batch:
            self.delivered += len(batch)
            self._deliver(batch)

    def _on_status(self, msg: Msg) -> None:
        headers: dict[str, str] = msg.headers or {}
        status = headers.get("Status", "")
        if status == "100":
            return
        token = msg.subject.rsplit(".", 1)[-1]
        k = int(token) if token.isdigit() else -1
        unserved = headers.get("Nats-Pending-Messages", "")
        self._ledger.ended(k, int(unserved) if unserved.isdigit() else None)
        if status not in _ENDED:
            self._trouble = f"{status} {headers.get('Description', '')}".strip()

    async def _mend(self) -> None:
        """The server refused (409) or nobody is there (503): pause, have it repaired, go on."""
        trouble, self._trouble = self._trouble, ""
        log.info("%s/%s: %s", self._stream, self._durable, trouble)
        self._ledger.clear()
        await asyncio.sleep(_PAUSE)
        if self._repair is not None and self._nc.is_connected and not self._stopping:
            try:
                await self._repair()
            except (NotReachable, JetStreamRefused) as e:
                log.warning("%s/%s: %s", self._stream, self._durable, e)

    def _gap(self) -> int:
        """For how many messages to ask now; 0 = none."""
        room = self._want()
        batch = min(room - self._ledger.total, self._max_batch)
        # A request that still waits takes what comes: only a real gap is worth another one.
        return 0 if batch <= 0 or (self._ledger.total and batch * 4 < room) else batch

    async def _ask(self, now: float) -> None:
        batch = self._gap()
        if not batch or not self._nc.is_connected:
            return
        if self._k % _INBOX_REQUESTS == 0:
            await self._renew_inbox(now)
        self._k += 1
        body: dict[str, int | str] = {
            "batch": batch,
            "expires": int(self._expires * 1e9),
            "idle_heartbeat": int(self._heartbeat * 1e9),
        }
        if self._priority is not None:
            body |= {"group": "g", "priority": self._priority}
        if not self._ledger.total:
            self._heard = now
        self._ledger.ask(self._k, batch, now + self._expires + 2 * self._heartbeat)
        await self._nc.publish(
            self._subject, msgspec.json.encode(body), reply=f"{self._inbox}.{self._k}"
        )

    async def _renew_inbox(self, now: float) -> None:
        """Listen on a new one; those before it end when what was asked under them must have."""
        while len(self._subs) > 1 and self._subs[0][0] <= now:
            await self._subs.popleft()[1].unsubscribe()
        self._inbox = self._nc.new_inbox()
        sub = await self._nc.listen(f"{self._inbox}.*", self._on_message)
        if self._subs:
            until = now + self._expires + 2 * self._heartbeat
            self._subs[-1] = (until, self._subs[-1][1])
        self._subs.append((now, sub))

    async def _rest(self) -> None:
        """Until something arrives, or the watchdog's next look while something is awaited."""
        if self._event.is_set():
            await asyncio.sleep(0)  # others get their turn although messages keep coming
            return
        try:
            async with asyncio.timeout(self._heartbeat if self._ledger.total else None):
                await self._event.wait()
        except TimeoutError:
            return


def _is_delivery(msg: Msg) -> bool:
    return msg.reply.startswith("$JS.ACK.")
