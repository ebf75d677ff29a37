"""Reads a bundle that anybody may have made: all of it is checked before any of it is used.

Opening reads the table of contents, then every member once against its size and hash in the
manifest; nothing is ever unpacked to a folder, so no name in it can reach one. What is asked for
later is decoded strictly by type and within the bounds of `format`. Anything wrong is a BadBundle
that says what.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, TypeVar

import msgspec

from headway.bundle.format import (
    DIRECTORY_LIMIT,
    FILE_LIMIT,
    FORMAT,
    LINE_LIMIT,
    MANIFEST,
    MEMBERS_LIMIT,
    WHOLE_LIMIT,
    BadBundle,
    Chunk,
    Manifest,
    RunFile,
    TaskFile,
    limit_of,
    member,
)
from headway.wire import Malformed, clean_text, decode, decoder, flaw_of_body
from headway.wire.bundles import BundleMark
from headway.wire.events import Event, LogChunk, SpanChunk
from headway.wire.runs import CheckpointRow, RunRow, UsageRow

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import datetime
    from pathlib import Path

T = TypeVar("T")

PART = 256 * 1024
YEARS = range(2000, 3000)
"""Times outside of it are nobody's: what is computed with them would not fit a time."""

_END = struct.Struct("<4s4H2LH")
_TAIL = _END.size + 65_536
_BROKEN = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OverflowError, RuntimeError,
    struct.error, UnicodeError, ValueError, KeyError, IndexError, AttributeError, TypeError,
)  # fmt: skip
"""What zipfile raises for what is no ZIP, or a damaged one."""

_MANIFEST, _RUN, _TASK = decoder(Manifest), decoder(RunFile), decoder(TaskFile)
_EVENT, _CHECKPOINT, _MARK = decoder(Event), decoder(CheckpointRow), decoder(BundleMark)
_CHUNK, _LOG, _SPANS, _USAGE = (
    decoder(Chunk), decoder(LogChunk), decoder(SpanChunk), decoder(UsageRow)
)  # fmt: skip
_ANY = decoder(Any)


class Bundle:
    """An open bundle. `close` it, or use it as a context manager."""

    def __init__(self, file: IO[bytes], name: str = "") -> None:
        """Read and check all of a seekable file. Raises BadBundle; the file stays open then."""
        self.name = name
        self._file = file
        _check_directory(file)
        with _broken():
            self._zip = zipfile.ZipFile(file)
        self._infos = {i.filename: i for i in self._zip.infolist()}
        if len(self._infos) != len(self._zip.infolist()):
            raise BadBundle("a member is in it twice")
        if len(self._infos) > MEMBERS_LIMIT:
            raise BadBundle(f"more than {MEMBERS_LIMIT:,} members")
        self._check_members()
        self.manifest = self._manifest()
        self._verify()
        self._index: dict[str, set[str]] = {}
        for name_ in self._infos:
            if name_ != MANIFEST:
                _, run, rest = name_.split("/", 2)
                self._index.setdefault(run, set()).add(rest)
        if set(self.runs) != set(self._index) or self.manifest.run not in self._index:
            raise BadBundle("its manifest names other runs than it holds")
        self._files = {run: self._run_file(run) for run in self.runs}

    @classmethod
    def open(cls, path: Path) -> Bundle:
        """Open a file. Raises BadBundle, and OSError if it cannot be read."""
        file = path.open("rb")
        try:
            return cls(file, path.name)
        except BadBundle as e:
            file.close()
            raise BadBundle(f"{path}: {e}") from None
        except BaseException:
            file.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- checks at the door

    def _check_members(self) -> None:
        whole = 0
        for info in self._infos.values():
            limit = limit_of(info.filename)
            if info.flag_bits & 0x1:
                raise BadBundle(f"{info.filename} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadBundle(f"{info.filename} is compressed in another way than deflate")
            if info.file_size > limit:
                raise BadBundle(
                    f"{info.filename} would have {info.file_size:,} bytes, at most {limit:,}"
                )
            whole += info.file_size
        if whole > WHOLE_LIMIT:
            raise BadBundle(f"unpacked it would have {whole:,} bytes, at most {WHOLE_LIMIT:,}")

    def _manifest(self) -> Manifest:
        if MANIFEST not in self._infos:
            raise BadBundle(
                "it has no manifest.json: this is no run bundle, or its export was broken off"
            )
        body = self.read(MANIFEST)
        version = _version_of(body)
        if version > FORMAT:
            raise BadBundle(
                f"it is of format {version}, this Headway reads {FORMAT}: take a newer one"
            )
        made = _decoded(_MANIFEST, body, MANIFEST)
        _check_time(made.exported_at, MANIFEST)
        if not made.runs:
            made.runs = [made.run]
        return made

    def _verify(self) -> None:
        """Every member against the manifest: sizes, hashes, and that there is no other."""
        told = {m.name: m for m in self.manifest.members}
        if len(told) != len(self.manifest.members) or {*told, MANIFEST} != set(self._infos):
            raise BadBundle("its manifest and its members differ")
        for name, known in told.items():
            digest, size = sha256(), 0
            with self._opened(name) as raw, _broken(name):
                while part := raw.read(PART):
                    digest.update(part)
                    size += len(part)
            if (size, digest.hexdigest()) != (known.size, known.sha256):
                raise BadBundle(f"{name} differs from its hash in the manifest: it is damaged")

    def _run_file(self, run: str) -> RunFile:
        name = member(run, "run.json")
        if "run.json" not in self._index[run]:
            raise BadBundle(f"{name} is missing")
        made = _decoded(_RUN, self.read(name), name)
        row = made.row
        if row.run != run:
            raise BadBundle(f"{name} tells of another run")
        _check_row(row, name)
        return made

    # --- reading

    @contextmanager
    def _opened(self, name: str) -> Generator[IO[bytes]]:
        with _broken(name):
            raw = self._zip.open(self._infos[name])
        try:
            yield raw
        finally:
            raw.close()

    def read(self, name: str) -> bytes:
        """A whole member, which must be text that can be decoded. Raises BadBundle."""
        with self._opened(name) as raw, _broken(name):
            body = raw.read(limit_of(name) + 1)
        if flaw := flaw_of_body(body):
            raise BadBundle(f"{name}: {flaw}")
        return body

    def lines(self, name: str) -> Iterator[bytes]:
        """The lines of a member, one at a time. Raises BadBundle."""
        with self._opened(name) as raw:
            number = 0
            while True:
                with _broken(name):
                    line = raw.readline(LINE_LIMIT + 1)
                if not line:
                    return
                number += 1
                if len(line) > LINE_LIMIT:
                    raise BadBundle(f"line {number} of {name} is longer than {LINE_LIMIT:,} bytes")
                if flaw := flaw_of_body(line):
                    raise BadBundle(f"line {number} of {name}: {flaw}")
                if line.strip():
                    yield line

    # --- what it holds

    @property
    def runs(self) -> list[str]:
        """The exported run, then the others."""
        return self.manifest.runs

    def has(self, run: str, name: str) -> bool:
        """True if the run has that member."""
        return name in self._index.get(run, ())

    def size(self, run: str, name: str) -> int:
        """Bytes of a member, unpacked."""
        return self._infos[member(run, name)].file_size

    def digest(self, run: str, name: str) -> str:
        """The sha256 of a member."""
        full = member(run, name)
        return next(m.sha256 for m in self.manifest.members if m.name == full)

    def run(self, run: str) -> RunFile:
        """A run's row and facts."""
        return self._files[run]

    def task(self, run: str) -> TaskFile:
        """The task that it is a run of."""
        name = member(run, "task.json")
        if not self.has(run, "task.json"):
            return TaskFile()
        return _decoded(_TASK, self.read(name), name)

    def body(self, run: str, name: str) -> bytes:
        """A user body; `b""` if it is not there. Raises BadBundle if it is no JSON."""
        if not self.has(run, name):
            return b""
        body = self.read(member(run, name))
        _decoded(_ANY, body, name)
        return body

    def state(self, run: str, number: int) -> bytes:
        """The state of a checkpoint, `b""` if the bundle has none."""
        return self.body(run, f"states/{number}.json")

    def _rows(self, run: str, name: str, kind: msgspec.json.Decoder[T]) -> Iterator[T]:
        if self.has(run, name):
            for line in self.lines(member(run, name)):
                yield _decoded(kind, line, name)

    def events(self, run: str) -> Iterator[Event]:
        """Its events, in order."""
        last = 0
        for event in self._rows(run, "events.jsonl", _EVENT):
            if event.n <= last:
                raise BadBundle("events.jsonl: its numbers do not rise")
            last = event.n
            _check_time(event.at, "events.jsonl")
            yield event

    def checkpoints(self, run: str) -> list[CheckpointRow]:
        """Those that were kept, in order."""
        found = list(self._rows(run, "checkpoints.jsonl", _CHECKPOINT))
        for row in found:
            _check_time(row.at, "checkpoints.jsonl")
            if not 0 < row.number < 2**31:
                raise BadBundle("checkpoints.jsonl: a number that no checkpoint has")
        return sorted(found, key=lambda c: c.number)

    def marks(self, run: str) -> Iterator[BundleMark]:
        """Its marks in order of their keys; a large value is named by `ref`."""
        for mark in self._rows(run, "marks.jsonl", _MARK):
            _check_time(mark.at, "marks.jsonl")
            if mark.due_at is not None:
                _check_time(mark.due_at, "marks.jsonl")
            if mark.ref is not None and not self._is_value(run, mark.ref.key):
                raise BadBundle(f"marks.jsonl: {mark.ref.key[:80]!r} is no value of a bundle")
            if not clean_text(mark.key):
                raise BadBundle("marks.jsonl: a key with NUL or a lone surrogate")
            yield mark

    def value(self, run: str, mark: BundleMark) -> bytes:
        """The value of a mark; `b""` if it has none, or it was left out."""
        if mark.ref is None:
            return bytes(mark.value)
        return self.body(run, mark.ref.key)

    def _is_value(self, run: str, name: str) -> bool:
        return name.startswith("values/") and self.has(run, name)

    def logs(self, run: str) -> Iterator[tuple[Chunk, LogChunk]]:
        """Its output, chunk by chunk."""
        for one in self._rows(run, "logs.jsonl", _CHUNK):
            chunk = _decoded(_LOG, bytes(one.chunk), "logs.jsonl")
            _check_time(chunk.at, "logs.jsonl")
            yield one, chunk

    def spans(self, run: str) -> Iterator[tuple[Chunk, SpanChunk]]:
        """Its spans, chunk by chunk."""
        for one in self._rows(run, "spans.jsonl", _CHUNK):
            chunk = _decoded(_SPANS, bytes(one.chunk), "spans.jsonl")
            _check_time(chunk.at, "spans.jsonl")
            yield one, chunk

    def usage(self, run: str) -> list[UsageRow]:
        """What it has used, by model."""
        return list(self._rows(run, "usage.jsonl", _USAGE))


def _check_directory(file: IO[bytes]) -> None:
    """Refuse by size what would cost memory merely to look at; raises BadBundle."""
    size = file.seek(0, os.SEEK_END)
    if size > FILE_LIMIT:
        raise BadBundle(f"the file has {size:,} bytes, a bundle at most {FILE_LIMIT:,}")
    file.seek(max(0, size - _TAIL))
    tail = file.read(_TAIL)
    file.seek(0)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(tail):
        raise BadBundle("it is no ZIP file, or its end is missing")
    _, _, _, _, count, directory, _, _ = _END.unpack_from(tail, at)
    # A count or size of all ones stands for a ZIP64 end record, which no bundle needs.
    if count > MEMBERS_LIMIT or directory > DIRECTORY_LIMIT:
        raise BadBundle("its table of contents is larger than that of any bundle")
    if tail[max(0, at - 20) : at].startswith(b"PK\x06\x07"):
        raise BadBundle("its table of contents is of a kind (ZIP64) that no bundle has")


@contextmanager
def _broken(name: str = "") -> Generator[None]:
    """What a damaged ZIP makes zipfile raise, as BadBundle."""
    try:
        yield
    except BadBundle:
        raise
    except _BROKEN as e:
        where = f"{name}: " if name else ""
        raise BadBundle(f"{where}the ZIP file is damaged: {e}"[:300]) from None


def _version_of(body: bytes) -> int:
    class Head(msgspec.Struct):
        format: str
        version: int

    head = _decoded(decoder(Head), body, MANIFEST)
    if head.format != "headway-bundle" or head.version < 1:
        raise BadBundle("its manifest.json is none of a run bundle")
    return head.version


def _decoded(kind: msgspec.json.Decoder[T], body: bytes, name: str) -> T:
    try:
        return decode(kind, body)
    except Malformed as e:
        raise BadBundle(f"{name}: {e}") from None


def _check_time(at: datetime, name: str) -> None:
    if at.year not in YEARS:
        raise BadBundle(f"{name}: a time in the year {at.year}")


def _check_row(row: RunRow, name: str) -> None:
    for at in (row.created_at, row.due_at, row.started_at, row.ended_at):
        if at is not None:
            _check_time(at, name)
    numbers = (row.epoch, row.n, row.attempt, row.max_attempts, row.checkpoint, row.priority,
               row.tokens_in, row.tokens_out)  # fmt: skip
    if not all(-(2**62) < n < 2**62 for n in numbers) or not 0 <= row.cost_usd < 1e18:
        raise BadBundle(f"{name}: a number that no run has")
