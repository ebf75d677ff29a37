"""RunHandle: one run, as its caller sees it."""

# ruff: noqa: ASYNC109 - `result(timeout=...)` ends in an error that names the run.
from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from headway import codec, journal
from headway.errors import RunFailed
from headway.follow import follow_events, follow_logs
from headway.states import RunState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from headway.client import Client
    from headway.enqueues import RunRecord
    from headway.follow import RunLog
    from headway.wire.api import Done
    from headway.wire.enqueue import Ended
    from headway.wire.events import Event
    from headway.wire.runs import RunDetail

T = TypeVar("T")


class RunHandle(Generic[T]):
    """A run that was enqueued, or `client.handle(run_id)`. Cheap; keep only the id if you like."""

    __slots__ = ("_client", "_record", "_result_type")

    def __init__(self, client: Client, record: RunRecord, result_type: Any) -> None:
        self._client, self._record, self._result_type = client, record, result_type

    @property
    def id(self) -> str:
        """The run's id; of a duplicate, the id of the run that holds the key."""
        return self._record.winner or self._record.id

    @property
    def enqueued_id(self) -> str:
        """The id made by this caller; another one than `id` only for a duplicate."""
        return self._record.id

    @property
    def recorded(self) -> str:
        """`recorded`: the store has it. `accepted`: JetStream has it (see `durability`).

        Of a run that was sent to a site: `accepted`, the hub keeps it; `recorded`, the site has
        it; `rejected` by the site; `expired`, there was no link in time.
        """
        if (refusal := self._record.refusal) is not None:
            return "expired" if refusal.code == "expired" else "rejected"
        return "accepted" if self._record.state == "accepted" else "recorded"

    @property
    def duplicate(self) -> bool:
        """True if the key belonged to another run already: this handle is that run's."""
        return bool(self._record.winner)

    @property
    def durability(self) -> str:
        """What *accepted* is worth here: `fsynced`, `replicated`, `lazy`, or `unknown`."""
        return self._client.durability

    async def result(self, timeout: float | None = None) -> T:
        """The result, as soon as the run has ended; pushed, not polled.

        Raises RunFailed if it ended without one, TimeoutError after `timeout` seconds, and what
        intake refused the enqueue with.
        """
        ended = await self._client.ended(self._record, timeout)
        if journal.armed:
            self._note(ended)
        if ended.status.lower() != RunState.SUCCEEDED.status:
            e = ended.error
            if e is None:
                raise RunFailed(ended.run, ended.status.lower(), "", "")
            raise RunFailed(ended.run, ended.status.lower(), e.type, e.message, e.traceback)
        raw = bytes(ended.result)
        if ended.result_ref is not None:
            raw = await self._client.fetch_blob(ended.result_ref)
        return cast("T", codec.decode(self._result_type, raw or b"null"))

    def _note(self, ended: Ended) -> None:
        ref = ended.result_ref
        digest = sha256(bytes(ended.result)).hexdigest() if ref is None else ref.sha256
        journal.note(
            "result",
            ns=self._client.namespace,
            run=ended.run,
            status=ended.status.lower(),
            sha256=digest,
        )

    async def status(self) -> str:
        """Where the run is now, in lower case: `running`, `succeeded` ..."""
        return (await self.detail()).row.status.lower()

    async def detail(self) -> RunDetail:
        """Everything the engine knows of it. Raises NoSuchRun."""
        return await self._client.run(self.id)

    async def cancel(self, reason: str = "") -> Done:
        """Ask for a cancel; once answered it is final. Also for a run not yet recorded."""
        return await self._client.cancel(self.id, reason)

    async def tag(self, add: str | Sequence[str] = (), remove: str | Sequence[str] = ()) -> Done:
        """Add tags to the run and remove others; see `Client.tag`."""
        return await self._client.tag(self.id, add, remove)

    def events(self, after: int = 0) -> AsyncGenerator[Event]:
        """The run's events from number `after` + 1 on, as they come, until it has ended."""
        return follow_events(self._client, self.id, after)

    def logs(self) -> AsyncGenerator[RunLog]:
        """The run's output, stored and live, until it has ended; gaps are said."""
        return follow_logs(self._client, self.id)

    def __repr__(self) -> str:
        return f"RunHandle({self.id!r}, {self.recorded})"
