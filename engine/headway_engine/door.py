"""The door for agents: requests on `hw.rpc.<ns>.<agent>.<verb>`, routed by verb.

Callbacks of NATS only decode and enqueue (DECISIONS E5). Nothing is answered unless the reply is an
inbox, since broker permissions do not check reply subjects; and the sender in the subject, which
the broker vouches for, must be the one in the body. An agent in the same process asks without NATS,
by the name in the settings that both of them have (`ask`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from headway import subjects
from headway.errors import HeadwayError
from headway.steadynats import settled
from headway.wire import Malformed, encode
from headway.wire.rpc import RpcError
from headway_engine.service import Service
from headway_engine.store import StoreDown
from headway_engine.strikes import Strikes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

    from headway_engine.post import Post

    Quick = Callable[["Asked"], None]
    Slow = Callable[["Asked"], Awaitable[None]]

log = logging.getLogger("headway.engine")

BAD_BODY = (HeadwayError, ArithmeticError, LookupError, TypeError, ValueError)
"""What a body may make a handler raise, at worst."""
PENDING_MESSAGES = 65_536
PENDING_BYTES = 256 * 1024 * 1024


class Asked:
    """One request of an agent."""

    __slots__ = ("agent", "body", "ns", "send")

    def __init__(self, send: Callable[[bytes], None], ns: str, agent: str, body: bytes) -> None:
        """`send`: answers with what is encoded already; never waits, never raises."""
        self.send, self.ns, self.agent, self.body = send, ns, agent, body

    def answer(self, answer: Any) -> None:
        """Encode and send."""
        self.send(encode(answer))

    def refuse(self, code: str, message: str) -> None:
        """Not served, and asking the same again will not help."""
        self.answer(RpcError(code, message[:500]))

    def is_from(self, agent: str) -> bool:
        """True if the body names who the broker says has sent it; else it is refused."""
        if agent == self.agent:
            return True
        self.refuse("forbidden", f"this subject belongs to agent {self.agent!r}")
        return False


class Door(Service):
    """Hears rpc requests; `quick` verbs run in the callback, `slow` ones in a few workers."""

    name = "door"

    def __init__(
        self,
        nc: NatsClient,
        post: Post,
        engine: str,
        *,
        workers: int = 8,
        capacity: int = 4096,
        store_down: Callable[[], bool] = lambda: False,
    ) -> None:
        """`nc`: the connection that hears requests; `capacity`: slow requests that may wait.

        `store_down`: then slow verbs are answered `busy` at once. They must not queue up behind
        those that wait for the store: beats are among them.
        """
        super().__init__()
        self._nc, self._post, self._engine = nc, post, engine
        self._quick: dict[str, Quick] = {}
        self._slow: dict[str, Slow] = {}
        self._busy: dict[str, bytes] = {}
        self._queue: asyncio.Queue[tuple[str, Slow, Asked] | None] = asyncio.Queue(capacity)
        self._workers, self._store_down = workers, store_down
        self._strikes = Strikes("an rpc")
        self._open = False
        """Requests are heard; what came before the end is still served."""

    @property
    def strikes(self) -> int:
        """Requests whose reply was no inbox of their sender: dropped, never answered."""
        return self._strikes.count

    def serve_quick(self, verb: str, handler: Quick) -> None:
        """A verb whose handler only decodes and enqueues."""
        self._quick[verb] = handler

    def serve_slow(self, verb: str, handler: Slow, busy: Any) -> None:
        """A verb whose handler awaits; `busy` is answered when too many wait."""
        self._slow[verb] = handler
        self._busy[verb] = encode(busy)

    async def _on_message(self, msg: Msg) -> None:
        reply = msg.reply
        ns, agent, verb = subjects.parse_rpc(msg.subject)
        if not subjects.may_answer(reply, "agent", ns, agent):
            self._strikes.add(msg.subject, reply)
            return
        self._hear(verb, Asked(partial(self._post.put, reply), ns, agent, msg.data))

    def ask(
        self, ns: str, agent: str, verb: str, body: bytes, engine: str | None
    ) -> asyncio.Future[bytes] | None:
        """See `agent.port.Near`."""
        if not self._open or engine not in (None, self._engine):
            return None
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def send(body: bytes) -> None:
            if not answer.done():  # whoever asked may have stopped waiting
                answer.set_result(body)

        self._hear(verb, Asked(send, ns, agent, body))
        return answer

    def _hear(self, verb: str, asked: Asked) -> None:
        quick = self._quick.get(verb)
        try:
            if quick is not None:
                quick(asked)
                return
            slow = self._slow.get(verb)
            if slow is None:
                asked.refuse("not_served", f"this engine does not serve rpc {verb[:64]!r}")
                return
            if self._store_down():
                asked.send(self._busy[verb])
                return
            try:
                self._queue.put_nowait((verb, slow, asked))
            except asyncio.QueueFull:
                asked.send(self._busy[verb])
        except Malformed as e:
            asked.refuse("malformed", str(e))
        except BAD_BODY as e:
            _refuse_body(asked, verb, e)

    async def run(self) -> None:
        """Hear and serve until stopped; what waits then is still served."""
        limits: dict[str, Any] = {
            "pending_msgs_limit": PENDING_MESSAGES,
            "pending_bytes_limit": PENDING_BYTES,
        }
        shared = await self._nc.subscribe(
            subjects.RPC_ANY, queue=subjects.ENGINE_QUEUE, cb=self._on_message, **limits
        )
        own = await self._nc.subscribe(subjects.rpc_of(self._engine), cb=self._on_message, **limits)
        await settled(self._nc)
        self._open = True
        self.passed.fire()
        async with asyncio.TaskGroup() as group:
            for i in range(self._workers):
                group.create_task(self._work(), name=f"headway-door-{i}")
            await self.stopping.wait()
            self._open = False
            if not self._nc.is_closed:
                with contextlib.suppress(Exception):  # the link may be away
                    await shared.unsubscribe()
                    await own.unsubscribe()
            for _ in range(self._workers):
                await self._queue.put(None)

    async def _work(self) -> None:
        while (entry := await self._queue.get()) is not None:
            verb, handler, asked = entry
            try:
                await handler(asked)
            except Malformed as e:
                asked.refuse("malformed", str(e))
            except StoreDown:
                asked.send(self._busy[verb])
            except BAD_BODY as e:
                _refuse_body(asked, verb, e)


def _refuse_body(asked: Asked, verb: str, error: BaseException) -> None:
    """The store, or our own code, stumbled over what is in a body: its sender hears of it alone.

    Asking again would not help, and no other agent must suffer: an engine that ended here would be
    asked the same again after its restart.
    """
    log.warning("rpc %s of %s was refused: %r", verb, asked.agent, error, exc_info=error)
    asked.refuse("bad_request", f"{type(error).__name__}: {error}")
