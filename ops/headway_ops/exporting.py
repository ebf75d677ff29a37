"""`headway export`: one run (or a tree of them) into one file.

Reading rights are enough. Everything is asked for page by page and written at once: a run with a
million lines takes no more memory than one with ten. The file has its name only when it is whole.
"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from msgspec import Raw
from msgspec.structs import replace

from headway._version import __version__
from headway.bundle.format import RUNS_LIMIT, SUFFIX, Chunk, Manifest, RunFile, TaskFile, member
from headway.bundle.writer import BundleWriter, Full
from headway.errors import HeadwayError, NoSuchRun, Refused
from headway.follow import stored_logs
from headway.lines import LineNumbers
from headway.wire import NOTHING, BlobRef, Malformed, decode, encode
from headway.wire.bundles import BundleAsk, BundlePage
from headway.wire.events import LOG_CHUNK, Event
from headway.wire.runs import (
    CheckpointRow,
    RunAsk,
    RunsPage,
    RunsQuery,
    SpansAsk,
    SpansPage,
    UsageAsk,
    UsageRow,
)
from headway_engine.agent.provider import from_dotenv, from_toml
from headway_ops import link, say
from headway_ops.redacting import Cleaner
from headway_ops.say import Exit, Fail, in_a_folder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from headway.client import Client
    from headway.wire.fleet import TaskSpec
    from headway.wire.runs import RunDetail

EVENTS_PAGE = 500
SPANS_PAGE = 200


class Wanted(NamedTuple):
    """What shall be in the file."""

    logs: bool
    state: bool
    tree: bool
    secrets: tuple[str, ...]
    """Values that must not be in it."""


def export(run: str, to: str, wanted: Wanted, *, force: bool, as_json: bool) -> None:
    """Write the file; its name goes to stdout (not for `-o -`), what is in it to stderr."""
    link.prefix_of(run)
    if to == "-" and sys.stdout.isatty():
        raise Fail(
            "-o - writes a ZIP file to stdout, and this is a terminal", "-o FILE", Exit.USAGE
        )
    if to != "-":
        _free(Path(to), force=force)

    async def work(client: Client) -> tuple[str, Manifest]:
        full = await link.run_id(client, run)
        if to == "-":
            return "-", await _write(client, full, sys.stdout.buffer, wanted)
        target = _free(Path(to or f"{full}{SUFFIX}"), force=force)
        part = target.with_name(f".{target.name}.part")
        # What is in it is nobody else's business on this machine.
        file = os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_RDWR, 0o600), "w+b")
        try:
            with file:
                made = await _write(client, full, file, wanted)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return str(target), made

    where, made = link.with_client(work)
    for note in made.notes:
        say.tell(f"note: {note}")
    hidden = sum(made.redacted.values())
    left = f"; left out: {', '.join(made.left_out)}" if made.left_out else ""
    say.tell(
        f"{len(made.runs)} run{'s' if len(made.runs) > 1 else ''}, {hidden} texts redacted{left}"
    )
    if where == "-":
        return
    if as_json:
        say.data({"file": where, "manifest": replace(made, members=[])})
    else:
        say.line(where)


def _free(target: Path, *, force: bool) -> Path:
    """The path, if it may be written; raises Fail."""
    if target.is_file() and not force:
        raise Fail(f"{target} is there already", "another -o FILE, or --force", Exit.USAGE)
    return in_a_folder(target, "-o")


def secrets_in(files: Iterable[str], settings_url: str) -> tuple[str, ...]:
    """All values of provider files, and the password of NATS. Raises Fail."""
    found: list[str] = []
    for name in files:
        text = Path(name).read_text(encoding="utf-8")
        try:
            values = from_toml(text) if name.endswith(".toml") else from_dotenv(text)
        except ValueError as e:
            raise Fail(f"{name}: {e}", "NAME=value lines, or TOML", Exit.USAGE) from None
        found += values.values()
    credentials, at, _ = settings_url.rpartition("//")[2].rpartition("@")
    if at:
        found.append(credentials.rpartition(":")[2])
    return tuple(found)


async def _write(client: Client, run: str, to: IO[bytes], wanted: Wanted) -> Manifest:
    writer = BundleWriter(to)
    try:
        made = await _Export(client, writer, wanted).runs(run)
        writer.close(made)
    except BaseException:
        with suppress(Exception):
            writer.abandon()
        raise
    return made


class _Export:
    """Fills one bundle."""

    def __init__(self, client: Client, writer: BundleWriter, wanted: Wanted) -> None:
        self._client, self._writer, self._wanted = client, writer, wanted
        self._secrets = set(wanted.secrets)
        self._cleaner = Cleaner(self._secrets)
        self._redacted: dict[str, int] = {}
        self._notes: list[str] = []

    async def runs(self, run: str) -> Manifest:
        info = await self._client.info()
        runs = [run]
        for one in runs:  # grows while it is walked through
            await self._run(one)
            if self._wanted.tree:
                runs += await self._children(one, RUNS_LIMIT - len(runs))
        left = [
            word for word, there in (("logs", self._wanted.logs), ("state", self._wanted.state))
            if not there
        ]  # fmt: skip
        settings = self._client.settings
        return Manifest(
            "headway-bundle", 1, run, datetime.now(UTC), _who(), self._client.namespace,
            settings.shown_url[:512], [], runs, info.version, __version__, tuple(left),
            self._redacted, self._notes[:1000],
        )  # fmt: skip

    def _note(self, text: str) -> None:
        self._notes.append(text[:512])

    def _add(self, run: str, name: str, body: bytes) -> tuple[int, str]:
        """A whole member, redacted; its size and hash as they are now."""
        name = member(run, name)
        before = self._cleaner.found
        with self._writer.member(name) as sink:
            sink.write(self._cleaner.json(body))
        self._counted(name, before)
        return sink.told.size, sink.told.sha256

    def _counted(self, name: str, before: int) -> None:
        if self._cleaner.found > before:
            self._redacted[name] = self._cleaner.found - before

    async def _children(self, run: str, room: int) -> list[str]:
        found: list[str] = []
        ask = RunsQuery(query=f"parent:{run}", sort="oldest")
        while True:
            page = await self._client.api("runs", ask, RunsPage)
            found += [row.run for row in page.runs]
            if len(found) > room:
                self._note(f"more than {RUNS_LIMIT:,} runs: only the first are here")
                return found[:room]
            if not page.next:
                return found
            ask.after = page.next

    async def _run(self, run: str) -> None:
        client = self._client
        detail = await client.run(run)
        facts = await client.api("bundle", BundleAsk(run), BundlePage)
        self._know(facts.spec)
        row = detail.row
        file = RunFile(row, facts.root, detail.why, facts.limit_key, facts.trace, detail.budget)
        self._add(run, "run.json", encode(file))
        await self._bodies(run, detail)
        self._add(run, "task.json", encode(TaskFile(facts.spec, facts.deployment)))
        await self._lines(run, "events.jsonl", self._events(run))
        await self._checkpoints(run, detail)
        await self._marks(run)
        if self._wanted.logs:
            await self._lines(run, "logs.jsonl", self._logs(run), cut=True)
        await self._lines(run, "spans.jsonl", self._spans(run), cut=True)
        ask = UsageAsk(by="model", run=run)
        used = await client.api("usage", ask, list[UsageRow])
        self._add(run, "usage.jsonl", b"".join(encode(u) + b"\n" for u in used))

    def _know(self, spec: TaskSpec | None) -> None:
        """Secrets that the task names, if the exporter's environment has them."""
        names = () if spec is None else spec.secrets
        values = [
            value
            for name in names
            for variable in (name, f"HEADWAY_TASK_{name}")
            if (value := os.environ.get(variable))
        ]
        if not self._secrets.issuperset(values):
            found = self._cleaner.found
            self._secrets.update(values)
            self._cleaner = Cleaner(self._secrets)
            self._cleaner.found = found

    async def _bodies(self, run: str, detail: RunDetail) -> None:
        for name, body, ref in (
            ("payload", detail.payload, detail.payload_ref),
            ("result", detail.result, detail.result_ref),
        ):
            text = bytes(body)
            if ref is not None:
                try:
                    text = await self._client.fetch_blob(ref)
                except (NoSuchRun, Refused) as e:
                    self._note(f"{name} of {run}: {e}")
                    continue
            if text:
                self._add(run, f"{name}.json", text)
            elif name == "payload":
                self._note(f"payload of {run}: the engine does not give it")

    async def _lines(
        self, run: str, name: str, lines: AsyncGenerator[bytes], *, cut: bool = False
    ) -> None:
        """A `.jsonl` member, redacted line by line. `cut`: end it where no more fits, and say so.

        The output's lines are redacted together before, and not again.
        """
        clean = bytes if name == "logs.jsonl" else self._cleaner.json
        full = member(run, name)
        before = self._cleaner.found
        with self._writer.member(full) as sink:
            try:
                async for line in lines:
                    sink.line(clean(line))
            except Full as e:
                if not cut:
                    raise
                self._note(f"{full} was cut: {e}")
            finally:
                await lines.aclose()
        self._counted(full, before)

    async def _events(self, run: str) -> AsyncGenerator[bytes]:
        after, n = 0, EVENTS_PAGE
        while True:
            try:
                page = await self._client.api("events", RunAsk(run, after, n), list[Event])
            except Refused as e:
                if e.code != "too_large" or n == 1:
                    raise
                n = max(1, n // 4)
                continue
            for event in page:
                after = event.n
                yield encode(event)
            if len(page) < n:
                return

    async def _checkpoints(self, run: str, detail: RunDetail) -> None:
        try:
            rows = await self._client.api("checkpoints", RunAsk(run), list[CheckpointRow])
        except Refused as e:
            if e.code != "too_large":
                raise
            rows = detail.checkpoints
            self._note(f"of {run} only the last {len(rows)} checkpoints are here")
        self._add(run, "checkpoints.jsonl", b"".join(encode(row) + b"\n" for row in rows))
        for row in rows if self._wanted.state else ():
            try:
                _, body = await self._client.state(run, row.number)
            except (NoSuchRun, Refused) as e:
                self._note(f"state of checkpoint {row.number} of {run}: {e}")
                continue
            self._add(run, f"states/{row.number}.json", body)

    async def _pages(self, run: str) -> AsyncGenerator[BundlePage]:
        ask = BundleAsk(run)
        while True:
            page = await self._client.api("bundle", ask, BundlePage)
            yield page
            if not page.more or not page.marks:
                return
            ask.after = page.marks[-1].key

    async def _marks(self, run: str) -> None:
        # Large values first: one member is written at a time.
        large: dict[str, BlobRef] = {}
        if self._wanted.state:
            async for page in self._pages(run):
                for mark in page.marks:
                    if mark.ref is None:
                        continue
                    try:
                        body = await self._client.fetch_blob(mark.ref)
                    except (NoSuchRun, Refused) as e:
                        self._note(f"value of {mark.key!r} of {run}: {e}")
                        continue
                    name = f"values/{len(large) + 1}.json"
                    large[mark.key] = BlobRef(name, *self._add(run, name, body))

        async def lines() -> AsyncGenerator[bytes]:
            async for page in self._pages(run):
                for mark in page.marks:
                    mark.ref = large.get(mark.key)
                    if not self._wanted.state:
                        mark.value = NOTHING
                    yield encode(mark)

        await self._lines(run, "marks.jsonl", lines())

    async def _logs(self, run: str) -> AsyncGenerator[bytes]:
        numbered = LineNumbers()
        missing = 0
        async for _, epoch, data in stored_logs(self._client, run):
            try:
                chunk = decode(LOG_CHUNK, data)
            except Malformed:
                continue
            gap = numbered.missing(epoch, chunk)
            if gap is None:
                continue
            missing += gap
            chunk.lines = self._cleaner.lines(chunk.lines)
            yield encode(Chunk(epoch, Raw(encode(chunk))))
        if missing:
            self._note(f"{missing:,} lines of the output of {run} are missing: LOGS has them not")

    async def _spans(self, run: str) -> AsyncGenerator[bytes]:
        ask = SpansAsk(run, n=SPANS_PAGE)
        while True:
            try:
                page = await self._client.api("spans", ask, SpansPage)
            except HeadwayError as e:
                self._note(f"spans of {run}: {e}")
                return
            for one in page.spans:
                ask.after = one.seq
                yield encode(Chunk(one.epoch, one.chunk))
            if not page.more or not page.spans:
                return


def _who() -> str:
    """The exporter as this machine knows him."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"[:512]
