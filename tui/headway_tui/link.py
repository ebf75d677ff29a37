"""The console's one connection to NATS: made after the first paint, kept for ever, watched.

nats is imported here only, when the screen stands. Callbacks write down what they hear and set
flags; nothing is painted or decided in them.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from headway import subjects
from headway.errors import HeadwayError
from headway.wire import Malformed, decode
from headway.wire.events import AGENT_BEAT, ENGINE_BEAT, AgentBeat, EngineBeat
from headway_tui.model.bands import SILENT_AFTER, Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct
    from nats.aio.msg import Msg

    from headway.client import Client
    from headway.config import Settings

T = TypeVar("T")

AGENT_GONE = 15.0
DROPPED = ("log_lines_dropped", "spans_dropped")
"""What agents count of output that nobody will see."""
CONNECT_WITHIN = 1.5
PING_EVERY = 2.0
_FIRST_PAUSE, _LAST_PAUSE = 0.25, 2.0


class Link:
    """Connection, beats, and what is known of both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Client | None = None
        """Made once; its connection comes and goes."""
        self.connected = False
        self.since = time.monotonic()
        """When it was connected or lost."""
        self.trouble = ""
        """Why there is no connection, or what we may not hear."""
        self.tries = 0
        self.rtt = 0.0
        """Seconds of the last round trip to NATS."""
        self.engines: dict[str, tuple[EngineBeat, float]] = {}
        self.agents: dict[str, tuple[AgentBeat, float]] = {}
        self.offline = ""
        """A bundle is shown: which, in words. Nothing is live then, and nothing can be written."""
        self.as_of: datetime | None = None
        """When the bundle was made."""
        self._store: bool | None = None
        self._store_since = self.since
        self._drops: dict[str, tuple[int, int]] = {}
        """Per agent: lines and spans dropped when it was heard first, and by now."""
        self.lives = 0
        """Connections made so far: a screen that sees another number reads anew."""
        self.changed = asyncio.Event()
        self._now = asyncio.Event()

    async def run(self) -> None:
        """Connect, again and again until it stands; then watch. Ends by cancellation."""
        module = await asyncio.to_thread(importlib.import_module, "headway.client")
        # A connection that does not stand by then is said to be missing, and tried again.
        quick = replace(
            self.settings, connect_timeout=min(CONNECT_WITHIN, self.settings.connect_timeout)
        )
        pause = _FIRST_PAUSE
        while True:
            try:
                client: Client = await module.Client.open(quick)
                break
            except HeadwayError as e:
                self.trouble, self.tries = str(e), self.tries + 1
                self._mark()
            try:
                async with asyncio.timeout(pause * random.uniform(0.7, 1.3)):
                    await self._now.wait()
            except TimeoutError:
                pause = min(_LAST_PAUSE, pause * 2)
            self._now.clear()
        try:
            await self._watch(client)
        finally:
            self.client, self.connected = None, False
            await client.close()

    async def _watch(self, client: Client) -> None:
        nc = client.connection
        nc.when_back(self._back)
        nc.when_away(self._away)
        self.client = client
        await nc.subscribe(subjects.beat_engine(), cb=self._on_engine)
        await nc.subscribe(subjects.beat_agent(client.namespace), cb=self._on_agent)
        self._back()
        while True:
            if nc.is_connected:
                begun = time.perf_counter()
                try:
                    await nc.flush(timeout=5)
                    self.rtt = time.perf_counter() - begun
                except Exception as e:  # the link broke meanwhile; the hooks say so
                    self.trouble = str(e) or type(e).__name__
                if nc.denied:
                    self.trouble = nc.denied
                elif nc.unheard:
                    subject = next(reversed(nc.unheard))
                    self.trouble = (
                        f"your NATS user may not read {subject}: what comes on it is not shown"
                    )
            self._mark()
            await asyncio.sleep(PING_EVERY)

    def hurry(self) -> None:
        """Try to connect now."""
        self._now.set()

    def _back(self) -> None:
        self.connected, self.since, self.trouble = True, time.monotonic(), ""
        self.lives += 1
        self._mark()

    def _away(self) -> None:
        self.connected, self.since = False, time.monotonic()
        self._mark()

    def _mark(self) -> None:
        self.changed.set()

    async def _on_engine(self, msg: Msg) -> None:
        try:
            beat = decode(ENGINE_BEAT, msg.data)
        except Malformed:
            return
        self.engines[beat.engine] = (beat, time.monotonic())
        if (ok := self.store_ok()) is not self._store:
            self._store, self._store_since = ok, time.monotonic()

    async def _on_agent(self, msg: Msg) -> None:
        try:
            beat = decode(AGENT_BEAT, msg.data)
        except Malformed:
            return
        self.agents[beat.agent] = (beat, time.monotonic())
        now = sum(int(beat.counters.get(name, 0)) for name in DROPPED)
        first, last = self._drops.get(beat.agent, (now, now))
        # An agent that has started anew counts from 0 again.
        self._drops[beat.agent] = (first if now >= last else first - last, now)

    # --- what is known

    def silent(self) -> float:
        """Seconds since an engine was heard, or since the connection stands."""
        heard = max((at for _, at in self.engines.values()), default=0.0)
        return time.monotonic() - max(heard, self.since)

    def store_ok(self) -> bool | None:
        """What the engines say of their store; None if none was heard of late."""
        late = time.monotonic() - SILENT_AFTER
        said = [beat.store_ok for beat, at in self.engines.values() if at > late]
        return any(said) if said else None

    def edge(self) -> bool:
        """Runs are kept in JetStream, by the word of the engine that was heard last."""
        last = max(self.engines.values(), key=lambda heard: heard[1], default=None)
        return last is not None and last[0].store == "edge"

    def agents_now(self) -> tuple[int, int]:
        """Agents that beat, of those that did since the start."""
        late = time.monotonic() - SILENT_AFTER
        for name in [n for n, (_, at) in self.agents.items() if at < late - AGENT_GONE * 20]:
            del self.agents[name]
        return sum(at > late for _, at in self.agents.values()), len(self.agents)

    def facts(self, behind: float = 0.0) -> Facts:
        """All of it together, for the band."""
        now, late = time.monotonic(), time.monotonic() - SILENT_AFTER
        return Facts(
            datetime.now().astimezone(), self.connected, self.lives > 0, now - self.since,
            self.tries, self.trouble, self.silent(), self.store_ok(), now - self._store_since,
            self.agents_now(), sum(b.open for b, at in self.agents.values() if at > late), behind,
            self.edge(),
        )  # fmt: skip

    def dropped(self) -> int:
        """Lines and spans that agents have dropped since they were heard first."""
        return sum(now - first for first, now in self._drops.values())

    def unshipped(self) -> int:
        """Runs that this site had to remove before its hub had confirmed them, ever."""
        told = (beat.counters.get("unshipped", 0) for beat, _ in self.engines.values())
        return int(max(told, default=0))

    async def ask(self, verb: str, body: Struct | None, kind: type[T]) -> T:
        """A request to the engine; raises HeadwayError, also while there is no connection."""
        if self.client is None or not self.connected:
            raise HeadwayError("there is no connection to NATS: it is tried again and again")
        return await self.client.api(verb, body, kind)

    async def hear(self, subject: str, on_message: Callable[[Msg], None]) -> Any:
        """Subscribe; what to await in order to stop."""
        from headway.steadynats import settled  # by now nats is loaded

        assert self.client is not None

        async def heard(msg: Msg) -> None:
            on_message(msg)

        sub = await self.client.connection.subscribe(subject, cb=heard)

        await settled(self.client.connection)
        return sub
