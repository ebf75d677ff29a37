"""What attempts say: saves (checkpoints, steps, once marks) and reports (their transitions).

A save is one conditional statement per batch at the store, event included; a report is decided by
the lifecycle. Both are answered after the commit, with one outcome per item in order, or with
`busy`: nothing was decided, ask again. Repeating either is safe.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, TypeVar

from headway import faults
from headway.errors import Refused
from headway.states import OPEN
from headway.wire import CHECKPOINT_LIMIT, decode, encode
from headway.wire.reports import REPORTS, Reported, ReportOutcome
from headway.wire.rpc import GET_PART, PUT_PART, URL_ASK, GetAnswer, PutAnswer, UrlAnswer
from headway.wire.saves import SAVES, AnySave, Saved, SaveOutcome, SaveUsage
from headway_engine import flaws
from headway_engine.blobs import BlobsDown, NoBlob, blob_key
from headway_engine.commits import Commits, Grouping
from headway_engine.counters import Counters
from headway_engine.reports import happening_of, outcome_of
from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headway.wire.reports import Report
    from headway_engine.blobs import Blobs
    from headway_engine.blobs.uploads import Uploads
    from headway_engine.door import Asked, Door
    from headway_engine.happenings import Told
    from headway_engine.relay import Relay
    from headway_engine.service import Health
    from headway_engine.store import Store
    from headway_engine.store.records import Outcome, SaveDone

BUSY = 0.2
"""Seconds after which an agent asks again; it adds jitter."""

Owned = tuple[str, AnySave]
"""A save with the namespace of the agent that sent it."""

_SAVED_BUSY = encode(Saved(busy=BUSY))
_REPORTED_BUSY = encode(Reported(busy=BUSY))
_GOING = "an older copy is going"

BodyAnswer = TypeVar("BodyAnswer", PutAnswer, UrlAnswer, GetAnswer)


class SaveLanes(Grouping["Owned", "SaveDone"]):
    """`store.save` in groups; the events go to the relay before the callers hear of it."""

    def __init__(
        self,
        store: Store,
        relay: Relay,
        health: Health,
        *,
        lanes: int = 2,
        batch: int = 128,
        capacity: int = 20_000,
        counters: Counters | None = None,
    ) -> None:
        counted = counters if counters is not None else Counters()

        async def act(saves: list[Owned]) -> list[SaveDone]:
            done = await store.save([s for _, s in saves], [ns for ns, _ in saves])
            if faults.armed:
                await faults.point("engine.saves.committed")
            for (_, save), d in zip(saves, done, strict=True):
                if d.events:
                    relay.events(d.ns, save.run, d.task, "", d.events)
                if not isinstance(save, SaveUsage):
                    counted.save(d)
            return done

        super().__init__("saves", act, _run_of, health, lanes=lanes, batch=batch, capacity=capacity)


def _run_of(owned: Owned) -> str:
    return owned[1].run


class Attempts:
    """Serves `save`, `report` and the verbs of large bodies (`blob_put`, `blob_url` ...)."""

    def __init__(
        self,
        store: Store,
        saves: SaveLanes,
        commits: Commits,
        blobs: Blobs,
        uploads: Uploads,
        heard: Callable[[str, str, int, int], None],
    ) -> None:
        """`heard(ns, agent, free, shared_free)`: what an envelope says of the agent's slots."""
        self._store, self._saves, self._commits = store, saves, commits
        self._blobs, self._uploads, self._heard = blobs, uploads, heard
        self.rejected = 0

    def serve(self, door: Door) -> None:
        """Hang the verbs into the door."""
        door.serve_quick("save", self._save)
        door.serve_quick("report", self._report)
        door.serve_slow("blob_put", self._put, PutAnswer("busy", busy=BUSY))
        door.serve_slow("blob_url", self._url, UrlAnswer("busy", busy=BUSY))
        door.serve_slow("blob_done", self._done, PutAnswer("busy", busy=BUSY))
        door.serve_slow("blob_get", self._get, GetAnswer("busy", busy=BUSY))

    def _save(self, asked: Asked) -> None:
        body = decode(SAVES, asked.body)
        if not asked.is_from(body.agent):
            return
        saves, bad = body.saves, [flaws.of_save(s, asked.ns) for s in body.saves]
        if any(bad):
            self._save_some(asked, saves, bad)
            return

        def done(outcomes: list[SaveDone] | None) -> None:
            if outcomes is None:
                asked.send(_SAVED_BUSY)
                return
            asked.answer(Saved([SaveOutcome(o.outcome, o.n, o.message) for o in outcomes]))

        if not saves:
            asked.answer(Saved())
        elif not self._saves.submit([(asked.ns, s) for s in saves], done):
            asked.send(_SAVED_BUSY)

    def _save_some(self, asked: Asked, saves: list[AnySave], bad: list[str]) -> None:
        """Poison is answered alone (DECISIONS A2); the rest is saved."""
        good = [s for s, flaw in zip(saves, bad, strict=True) if not flaw]
        self.rejected += len(saves) - len(good)

        def done(outcomes: list[SaveDone] | None) -> None:
            if outcomes is None:
                asked.send(_SAVED_BUSY)
                return
            found = iter(outcomes)
            answer = Saved()
            for flaw in bad:
                if flaw:
                    answer.outcomes.append(SaveOutcome("rejected", 0, flaw))
                else:
                    o = next(found)
                    answer.outcomes.append(SaveOutcome(o.outcome, o.n, o.message))
            asked.answer(answer)

        if not good:
            done([])
        elif not self._saves.submit([(asked.ns, s) for s in good], done):
            asked.send(_SAVED_BUSY)

    def _report(self, asked: Asked) -> None:
        body = decode(REPORTS, asked.body)
        if not asked.is_from(body.agent):
            return
        self._heard(asked.ns, asked.agent, body.free, body.shared_free)
        reports: list[Report] = body.reports
        bad = [flaws.of_report(r, asked.ns) for r in reports]
        moves: list[Told] = [
            (r.run, happening_of(r, random.random), asked.ns)
            for r, flaw in zip(reports, bad, strict=True)
            if not flaw
        ]

        def done(outcomes: list[Outcome] | None) -> None:
            if outcomes is None:
                asked.send(_REPORTED_BUSY)
                return
            found = iter(outcomes)
            asked.answer(
                Reported([
                    ReportOutcome("rejected", flaw) if flaw else outcome_of(r, next(found))
                    for r, flaw in zip(reports, bad, strict=True)
                ])
            )  # fmt: skip

        if not moves:
            done([])
        elif not self._commits.submit(moves, done):
            asked.send(_REPORTED_BUSY)

    async def _put(self, asked: Asked) -> None:
        part = decode(PUT_PART, asked.body)

        async def put() -> PutAnswer:
            if part.last and not await self._keep(asked.ns, part.run, part.sha256):
                return PutAnswer("busy", message=_GOING, busy=BUSY)
            ref = await self._uploads.part(
                asked.ns,
                part.run,
                f"{part.epoch}-{part.upload}"[:64],
                part.index,
                part.data,
                last=part.last,
                digest=part.sha256,
                limit=CHECKPOINT_LIMIT,
            )
            if faults.armed and part.last:
                await faults.point("engine.blobs.stored")
            return PutAnswer(ref=ref)

        await self._of_attempt(asked, part.run, part.epoch, PutAnswer, put)

    async def _url(self, asked: Asked) -> None:
        ask = decode(URL_ASK, asked.body)

        async def url() -> UrlAnswer:
            if not await self._keep(asked.ns, ask.run, ask.sha256):
                return UrlAnswer("busy", message=_GOING, busy=BUSY)
            url, headers = await self._uploads.url(
                asked.ns, ask.run, ask.size, ask.sha256, limit=CHECKPOINT_LIMIT
            )
            return UrlAnswer(url=url, headers=headers)

        await self._of_attempt(asked, ask.run, ask.epoch, UrlAnswer, url)

    async def _done(self, asked: Asked) -> None:
        ask = decode(URL_ASK, asked.body)

        async def done() -> PutAnswer:
            return PutAnswer(ref=await self._uploads.done(asked.ns, ask.run, ask.size, ask.sha256))

        await self._of_attempt(asked, ask.run, ask.epoch, PutAnswer, done)

    async def _get(self, asked: Asked) -> None:
        part = decode(GET_PART, asked.body)
        if not part.key.startswith(f"{asked.ns}/{part.run}/"):
            asked.answer(GetAnswer("refused", message="not a blob of this run"))
            return
        length = min(max(1, part.length), 512 * 1024)

        async def get() -> GetAnswer:
            try:
                return GetAnswer(data=await self._blobs.get(part.key, max(0, part.offset), length))
            except NoBlob as e:
                return GetAnswer("not_found", message=str(e))

        await self._of_attempt(asked, part.run, part.epoch, GetAnswer, get)

    async def _of_attempt(
        self,
        asked: Asked,
        run: str,
        epoch: int,
        kind: type[BodyAnswer],
        work: Callable[[], Awaitable[BodyAnswer]],
    ) -> None:
        """Answer with what `work` gives, if the attempt is the asker's; else with why not."""
        try:
            if await self._holds(asked, run, epoch):
                answer = await work()
            else:
                answer = kind("stale_epoch", message="the attempt is not this agent's")
        except Refused as e:
            answer = kind("refused", message=str(e))
        except (BlobsDown, StoreDown) as e:
            answer = kind("busy", message=str(e), busy=BUSY)
        asked.answer(answer)

    async def _keep(self, ns: str, run: str, digest: str) -> bool:
        """A body is about to be written; False while an older copy of it is being removed."""
        return await self._store.keep_blob(ns, run, blob_key(ns, run, digest))

    async def _holds(self, asked: Asked, run: str, epoch: int) -> bool:
        """An agent reads and writes bodies of its own attempts only; raises StoreDown."""
        record = await self._store.get(asked.ns, run)
        return (
            record is not None
            and (record.agent, record.epoch) == (asked.agent, epoch)
            and record.state in OPEN
        )
