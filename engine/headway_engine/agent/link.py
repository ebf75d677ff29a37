"""The link port on NATS: core requests, pull loops on WORK, plain publishes. See `port`."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from headway import bus, pull, subjects
from headway.errors import NotReachable
from headway.natspy import nats_errors
from headway_engine.agent.port import NoAnswer, WorkItem
from headway_engine.agent.resend import Resend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from headway_engine.agent.port import Near

log = logging.getLogger("headway.agent")


class NatsLink:
    """The link of one agent over one connection, which the caller opens and closes."""

    def __init__(self, nc: bus.Connection, ns: str, agent: str, near: Near | None = None) -> None:
        """`near`: the engine of this process, which is asked first."""
        self._nc, self._ns, self._agent, self._near = nc, ns, agent, near
        self._loops: list[pull.PullLoop] = []
        self._acks = pull.LateAcks(nc)
        self._tasks: list[asyncio.Task[None]] = []
        self._subs: list[Subscription] = []
        self._unhook: list[Callable[[], None]] = []
        self._output = Resend(time.monotonic)
        self._resending: asyncio.Task[None] | None = None
        self.redelivered = 0

    @property
    def connected(self) -> bool:
        """See the port."""
        return self._nc.is_connected

    async def start(
        self,
        *,
        queues: Sequence[str],
        want: Callable[[], int],
        deliver: Callable[[list[WorkItem]], None],
        on_ctl: Callable[[bytes], None],
        on_reply: Callable[[bytes], None],
        on_back: Callable[[], None],
    ) -> None:
        """See the port."""

        async def heard(msg: Msg) -> None:
            on_ctl(msg.data)

        async def told(msg: Msg) -> None:
            on_reply(msg.data)

        everything = subjects.agent_reply(self._ns, self._agent, "*")
        self._subs.append(await self._nc.subscribe(subjects.ctl(self._ns, self._agent), cb=heard))
        self._subs.append(await self._nc.subscribe(everything, cb=told))
        self._unhook = [
            self._nc.when_away(self._output.lost),
            self._nc.when_back(self._back),
            self._nc.when_back(on_back),
        ]

        def arrived(batch: list[Msg]) -> None:
            self.redelivered += sum(pull.delivery_of(m).delivered > 1 for m in batch)
            deliver([WorkItem(m.data, m) for m in batch])

        for queue in queues:
            loop = pull.PullLoop(
                self._nc,
                subjects.WORK,
                subjects.work_consumer(self._ns, queue),
                want=want,
                deliver=arrived,
            )
            self._loops.append(loop)
            self._tasks.append(asyncio.get_running_loop().create_task(self._pull(loop, queue)))

    async def _pull(self, loop: pull.PullLoop, queue: str) -> None:
        try:
            await loop.run()
        except Exception:
            log.exception("pulling queue %s ended", queue)
            raise

    def wake(self) -> None:
        """See the port."""
        for loop in self._loops:
            loop.wake()

    async def stop_pulling(self) -> None:
        """See the port."""
        for loop in self._loops:
            loop.stop()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._loops.clear()

    async def request(
        self,
        verb: str,
        body: bytes,
        engine: str | None,
        timeout: float,  # noqa: ASYNC109 - ends in NoAnswer
    ) -> bytes:
        """See the port."""
        if self._near is not None:
            answer = self._near.ask(self._ns, self._agent, verb, body, engine)
            if answer is not None:
                return await _within(answer, verb, timeout)
        subject = subjects.rpc(self._ns, self._agent, verb, engine)
        try:
            return (await bus.ask(self._nc, subject, body, timeout=timeout)).data
        except (NotReachable, nats_errors.Error) as e:
            raise NoAnswer(str(e)) from None

    async def ack(self, items: Sequence[WorkItem]) -> None:
        """See the port. A lost ack means one more delivery, which the next claim refuses."""
        self._acks.put(i.raw for i in items)

    async def nak(self, items: Sequence[WorkItem], delay: float) -> None:
        """See the port."""
        await self._say("nak", pull.nak(self._nc, [i.raw for i in items], delay))

    async def working(self, items: Sequence[WorkItem]) -> None:
        """See the port."""
        await self._say("working", pull.working(self._nc, [i.raw for i in items]))

    async def term(self, items: Sequence[WorkItem], reason: str) -> None:
        """See the port."""
        await self._say("term", pull.term(self._nc, [i.raw for i in items], reason))

    async def _say(self, what: str, saying: Awaitable[None]) -> None:
        # Lost ones only mean another delivery.
        try:
            await saying
        except nats_errors.Error as e:
            log.debug("%s: %s", what, e)

    async def publish_logs(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """See the port. What is said while the link is away comes when it is back."""
        messages = [(subjects.log(self._ns, run, epoch), b) for run, epoch, b in chunks]
        self._output.add(messages)
        if not self._output.away:
            await self._publish(messages)

    def _back(self) -> None:
        self._stop_resending()
        self._resending = asyncio.get_running_loop().create_task(self._resend())

    def _stop_resending(self) -> None:
        if self._resending is not None:
            self._resending.cancel()

    async def _resend(self) -> None:
        # What is said meanwhile queues up behind: lines stay in their order.
        while self._nc.is_connected and (messages := self._output.take()):
            await self._publish(messages)

    async def publish_spans(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """See the port."""
        await self._publish([(subjects.span(self._ns, run, epoch), b) for run, epoch, b in chunks])

    async def publish_beat(self, body: bytes) -> None:
        """See the port."""
        await self._publish([(subjects.beat_agent(self._ns, self._agent), body)])

    async def _publish(self, messages: list[tuple[str, bytes]]) -> None:
        if not self._nc.is_connected:
            return  # what is buffered now would arrive late and in the way
        try:
            await bus.publish_all(self._nc, messages)
        except nats_errors.Error as e:
            log.debug("publish: %s", e)

    async def close(self) -> None:
        """See the port; the connection stays open."""
        await self.stop_pulling()
        if not self._nc.is_closed:
            await self._acks.flush()
        self._stop_resending()
        for unhook in self._unhook:
            unhook()
        subs, self._subs = self._subs, []
        for sub in subs:
            if not self._nc.is_closed:
                await sub.unsubscribe()


async def _within(answer: asyncio.Future[bytes], verb: str, seconds: float) -> bytes:
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise NoAnswer(f"no answer to {verb} from this engine within {seconds:.1f} s") from None
