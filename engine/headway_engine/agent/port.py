"""The link port: what the agent needs of NATS, said once for all who implement or use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Sequence


class NoAnswer(HeadwayError):
    """No engine answered in time, or NATS is away; whether it was done is unknown."""

    code = "no_answer"


class WorkItem(NamedTuple):
    """A pulled message: its body, and what the link needs to acknowledge it."""

    body: bytes
    raw: Any


class Near(Protocol):
    """An engine in the agent's own process: asked without NATS, as the same door."""

    def ask(
        self, ns: str, agent: str, verb: str, body: bytes, engine: str | None
    ) -> Future[bytes] | None:
        """The same bytes as by NATS, and the same answer; it may never come.

        None = not here: another engine is asked for, or this one does not hear yet, or no more.
        """
        ...


class Link(Protocol):
    """What the agent needs of NATS; `headway_engine.agent.link` is the real one.

    All but `start` and `request` are best effort and raise nothing while the link is down.
    """

    redelivered: int
    """Messages of WORK that had been delivered before, to this agent or another."""

    @property
    def connected(self) -> bool:
        """Is there a connection now?"""
        ...

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
        """Begin: `want` says for how many runs there is room, the others only queue.

        `on_reply`: `commands.Answers` came (pushed ends of children); `on_back`: connected again,
        so what was pushed meanwhile is gone.
        """
        ...

    def wake(self) -> None:
        """`want` may have grown."""
        ...

    async def stop_pulling(self) -> None:
        """No new work; idempotent."""
        ...

    async def request(
        self,
        verb: str,
        body: bytes,
        engine: str | None,
        timeout: float,  # noqa: ASYNC109 - ends in NoAnswer
    ) -> bytes:
        """Ask an engine (or any); raises NoAnswer."""
        ...

    async def ack(self, items: Sequence[WorkItem]) -> None:
        """These are decided."""
        ...

    async def nak(self, items: Sequence[WorkItem], delay: float) -> None:
        """Give these back, for somebody else after `delay` seconds."""
        ...

    async def working(self, items: Sequence[WorkItem]) -> None:
        """These are not decided yet but somebody is at it: they shall not come again meanwhile."""
        ...

    async def term(self, items: Sequence[WorkItem], reason: str) -> None:
        """Nobody can read these: they never come again, the server keeps the reason."""
        ...

    async def publish_logs(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """(run, epoch, body) of log chunks; best effort, never raises for a link that is down."""
        ...

    async def publish_spans(self, chunks: Sequence[tuple[str, int, bytes]]) -> None:
        """(run, epoch, body) of chunks of spans; as `publish_logs`."""
        ...

    async def publish_beat(self, body: bytes) -> None:
        """The beat for the eyes; best effort."""
        ...

    async def close(self) -> None:
        """Let go of what `start` took; idempotent."""
        ...
