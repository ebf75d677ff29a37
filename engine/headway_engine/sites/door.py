"""The api of a hub: who owns the run that is asked about decides who answers.

What is asked of a site's run is answered from what the hub knows of it, and says how old that is.
What would change it is kept for the site as a command, or refused: a run has one owner. Everything
else is the hub's own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from headway.errors import HeadwayError
from headway.ids import is_run_id
from headway.texts import age
from headway.wire import Malformed, decode, decoder
from headway.wire.api import Done
from headway.wire.runs import (
    LogsPage,
    ResultsAnswer,
    ResultsAsk,
    RunDetail,
    RunsPage,
    RunsQuery,
    SpansPage,
    StateAnswer,
)
from headway_engine.control import ApiRefused
from headway_engine.readverbs import Why
from headway_engine.sites import listing
from headway_engine.sites.bodies import Bodies
from headway_engine.sites.commands import in_words
from headway_engine.sites.merging import meant, merged
from headway_engine.sites.records import Position
from headway_engine.sites.settling import told_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from headway_engine.blobs import Blobs
    from headway_engine.control import Asker, Handler
    from headway_engine.sites import SiteStore
    from headway_engine.sites.catching import Catching
    from headway_engine.sites.commands import Commands

    _Theirs = Callable[[Asker, bytes, str], Awaitable[Any]]
    """Answers for a run of this site."""

log = logging.getLogger("headway.engine.sites")

READS = ("run", "events", "checkpoints", "state", "why", "usage")
"""Verbs that are answered from what is known of a site's run."""
SEEN = ("logs", "spans")
GIVEN = ("cancel", "resume", "replay", "tag")
"""Verbs that are kept for the site, which does them as soon as there is a link."""
WRITES = ("ack", "fork", "bundle")
"""Verbs that are asked of the site itself."""

FEW = 10
"""Results in one question for which the newest word is waited for."""


class _About(Struct):
    run: str = ""
    key: str = ""


_ABOUT, _RUNS, _RESULTS = decoder(_About), decoder(RunsQuery), decoder(ResultsAsk)


class SitesDoor:
    """Puts sites beside the hub's own runs."""

    def __init__(
        self,
        store: SiteStore,
        sites: tuple[str, ...],
        reads: dict[str, Handler],
        seen: Callable[[str], Mapping[str, Handler]],
        commands: Commands,
        catching: Catching,
        bodies: Callable[[str], Blobs],
        now: Callable[[], datetime],
    ) -> None:
        """`reads`: the verbs that read, over the store of sites; `seen`: `logs` and `spans` of one.

        `now`: the store's clock.
        """
        self._store, self._sites, self._reads, self._seen = store, sites, reads, seen
        self._commands, self._catching, self._bodies = commands, catching, bodies
        self._now = now

    def over(self, own: dict[str, Handler]) -> dict[str, Handler]:
        """The table of a hub, from that of its own runs."""
        table = dict(own)
        table["runs"] = self._runs(own["runs"])
        table["result"] = self._result(own["result"])
        for verb in READS:
            read = self._read(verb)
            table[verb] = self._of_site(self._or_sent(own[verb], read), read)
        for verb in SEEN:
            stream = self._stream(verb)
            table[verb] = self._of_site(self._or_sent(own[verb], stream), stream)
        for verb in GIVEN:
            table[verb] = self._of_site(own[verb], self._give(verb), sent=True)
        for verb in WRITES:
            table[verb] = self._of_site(own[verb], self._refuse(verb))
        bodies = Bodies(self._bodies, self.how_old)
        table["blob-get"] = self._of_site(own["blob-get"], bodies.part)
        return table

    def _of_site(
        self,
        own: Handler,
        theirs: _Theirs,
        *,
        sent: bool = False,
    ) -> Handler:
        """Asks the owner: `own` for the hub's runs, `theirs` (with the site) for a site's.

        `sent`: a run that is yet to be made at a site is that site's, too.
        """

        async def handler(asker: Asker, body: bytes) -> Any:
            site = await self._owner(asker, body)
            if not site and sent:
                site = (await self._sent_to(asker, body))[0]
            return await (theirs(asker, body, site) if site else own(asker, body))

        return handler

    async def _owner(self, asker: Asker, body: bytes) -> str:
        try:
            about = decode(_ABOUT, body)
        except Malformed:
            return ""  # its own handler says what is wrong
        run = about.run or (about.key.split("/")[1] if about.key.count("/") > 1 else "")
        if not is_run_id(run):
            found = await self._store.find(asker.ns, run) if len(run) >= 6 else []
            if len(found) != 1:
                return ""
            run = found[0]
        return await self._store.owner(asker.ns, run)

    async def _sent_to(self, asker: Asker, body: bytes) -> tuple[str, str]:
        """(the site that this run was sent to, where it is in words); empty = it was not."""
        try:
            run = decode(_ABOUT, body).run
            found = (await self._commands.sent(asker.ns, [run])).get(run)
        except Malformed:
            return "", ""
        except HeadwayError as e:
            log.warning("what was sent to sites cannot be read now: %s", e)
            return "", ""
        if found is None:
            return "", ""
        site, command = found
        return site, f"{in_words(command, self._now())}; site {site} has not told of the run yet"

    def _or_sent(self, own: Handler, theirs: _Theirs) -> Handler:
        """Of a run that is nobody's: a site may have made it just now, or it waits for one."""

        async def handler(asker: Asker, body: bytes) -> Any:
            unknown: HeadwayError | None = None
            answer: Any = None
            try:
                answer = await own(asker, body)
            except HeadwayError as e:
                if e.code != "not_found":
                    raise
                unknown = e
            run = _about_run(body)
            if not is_run_id(run) or (unknown is None and not _nothing(answer)):
                if unknown is not None:
                    raise unknown
                return answer
            if site := await self._catching.find(asker.ns, run):
                return await theirs(asker, body, site)
            if unknown is not None:
                _, words = await self._sent_to(asker, body)
                raise (ApiRefused("not_found", words) if words else unknown) from None
            return answer

        return handler

    # --- what is known

    def _runs(self, own: Handler) -> Handler:
        async def handler(asker: Asker, body: bytes) -> RunsPage:
            query = decode(_RUNS, body)
            here, there = meant(query, self._sites)
            if not there:
                return await own(asker, body)
            asked = [self._reads["runs"](asker, body)]
            if here:
                asked.insert(0, own(asker, body))
            pages: list[RunsPage] = await asyncio.gather(*asked)
            page = merged(pages, query)
            return aged(page, await self._store.positions())

        return handler

    def _result(self, own: Handler) -> Handler:
        async def handler(asker: Asker, body: bytes) -> ResultsAnswer:
            answer: ResultsAnswer = await own(asker, body)
            unknown = [run for run, status in answer.others.items() if status == "unknown"]
            if unknown:
                await self._catch_up_few(asker.ns, unknown)
                theirs = await self._store.ends(asker.ns, unknown)
                answer.ended += theirs.ended
                for end in theirs.ended:
                    answer.others.pop(end.run, None)
                answer.others |= theirs.others
                await self._add_sent(asker.ns, answer)
            return answer

        return handler

    async def _catch_up_few(self, ns: str, runs: list[str]) -> None:
        """Whoever waits for one result has subscribed before he asks: its end may be told."""
        if len(runs) > FEW:
            return
        owners = await self._store.owners(ns, runs)
        await asyncio.gather(
            *(self._catching.up(site, ns, run) for run, site in owners.items()),
            *(self._catching.find(ns, run) for run in runs if run not in owners),
        )

    async def _add_sent(self, ns: str, answer: ResultsAnswer) -> None:
        """Of enqueues for sites it is known what became of them, if not yet of their runs."""
        unknown = [run for run, status in answer.others.items() if status == "unknown"]
        try:
            found = await self._commands.sent(ns, unknown) if unknown else {}
        except HeadwayError as e:
            raise ApiRefused("unavailable", f"what was sent to sites cannot be read: {e}") from None
        for run, (_, command) in found.items():
            word = told_of(command) if command.outcome else None
            if word is not None and word.outcome == "duplicate":
                answer.aliases[run] = word.winner
            elif word is not None and word.outcome == "rejected":
                answer.refused[run] = word
            else:
                answer.others[run] = "sent"

    def _read(self, verb: str) -> _Theirs:
        async def theirs(asker: Asker, body: bytes, site: str) -> Any:
            if is_run_id(run := _about_run(body)):
                await self._catching.up(site, asker.ns, run)
            answer = await self._reads[verb](asker, body)
            if isinstance(answer, RunDetail):
                answer.why = await self._whole(site, answer.row.run)
            elif isinstance(answer, Why):
                answer.why = await self._whole(site, answer.run)
            elif isinstance(answer, StateAnswer) and answer.key:
                await self._check_link(site, answer.row.size)
            return answer

        return theirs

    def _stream(self, verb: str) -> _Theirs:
        async def theirs(asker: Asker, body: bytes, site: str) -> Any:
            return await self._seen(site)[verb](asker, body)

        return theirs

    async def _whole(self, site: str, run: str) -> str:
        """How old, and which commands were given to the site."""
        now = self._now()
        words = [await self.how_old(site)]
        try:
            words += [in_words(c, now) for _, c in await self._commands.about(run, site)]
        except HeadwayError as e:
            words.append(f"commands cannot be read now: {e}")
        return "; ".join(words)

    async def how_old(self, site: str) -> str:
        """In words: whose the run is, and how old is what is known of it."""
        known = (await self._store.positions()).get(site) or Position(site)
        return told(known, self._now())

    # --- what only the site can do

    def _give(self, verb: str) -> _Theirs:
        async def theirs(asker: Asker, body: bytes, site: str) -> Done:
            run = decode(_ABOUT, body).run
            try:
                command = await self._commands.give(site, asker, verb, run, body)
            except HeadwayError as e:
                raise ApiRefused(
                    "unavailable", f"the command cannot be kept for site {site} now: {e}"
                ) from None
            known = await self._store.get(asker.ns, run)
            return Done(
                run,
                "sent",
                known.state.status if known is not None else "",
                f"kept for site {site}, which does it when the link lets it, until"
                f" {command.until:%Y-%m-%d %H:%M} UTC ({await self.how_old(site)})",
            )

        return theirs

    def _refuse(self, verb: str) -> _Theirs:
        async def theirs(asker: Asker, body: bytes, site: str) -> Any:
            raise ApiRefused(
                "refused",
                f"the run is site {site}'s, and only its owner may do that: `{verb}` it there"
                f" ({await self.how_old(site)})",
            )

        return theirs

    async def _check_link(self, site: str, size: int) -> None:
        """Raises ApiRefused where it is known that a body cannot be had now."""
        known = (await self._store.positions()).get(site) or Position(site)
        now = self._now()
        if known.contact_at is None or now - known.contact_at > listing.SILENT:
            raise ApiRefused(
                "refused",
                f"kept at site {site}: {size:,} bytes, no link to it now ({told(known, now)})",
            )


def _about_run(body: bytes) -> str:
    """The run that is asked about, as it was written; empty = none."""
    try:
        return decode(_ABOUT, body or b"{}").run
    except Malformed:
        return ""


def _nothing(answer: object) -> bool:
    """It would be the same for a run that nobody knows."""
    match answer:
        case LogsPage():
            return not answer.logs
        case SpansPage():
            return not answer.spans
        case _:
            return answer == []


def told(known: Position, now: datetime) -> str:
    """How old is what is known of a site, in words."""
    if known.problem:
        return f"site {known.site} is not followed: {known.problem}"
    if known.as_of is None:
        return f"owned by site {known.site}; all of it is not here yet"
    words = f"owned by site {known.site}; known as it was {age(known.as_of, now)} ago"
    if known.contact_at is not None and known.seq < known.head:
        words += f", {known.head - known.seq:,} messages are on their way"
    return words


def aged(page: RunsPage, sites: dict[str, Position]) -> RunsPage:
    """The page with when all that is known of its sites was true."""
    names = sorted({row.site for row in page.runs} - {""})
    return replace(page, sites={s: sites[s].as_of if s in sites else None for s in names})
