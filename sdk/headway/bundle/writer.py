"""Makes a bundle in one pass: what is written is not kept, however long the run's output is."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, TYPE_CHECKING

from headway.bundle.format import (
    LINE_LIMIT,
    MANIFEST,
    MEMBERS_LIMIT,
    WHOLE_LIMIT,
    BadBundle,
    Manifest,
    Member,
    limit_of,
)
from headway.wire import encode

if TYPE_CHECKING:
    from collections.abc import Generator

_LEVEL = 6


class Full(BadBundle):
    """A member, or the bundle, is as large as it may be."""

    code = "too_large"


class Sink:
    """One member that is being written."""

    def __init__(self, name: str, raw: IO[bytes], room: int) -> None:
        self.name, self.size = name, 0
        self._raw, self._hash = raw, sha256()
        self._limit = min(limit_of(name), room)

    def fits(self, size: int) -> bool:
        """True if so many bytes still fit."""
        return self.size + size <= self._limit

    def write(self, data: bytes) -> None:
        """Add bytes; raises Full, and then none of them is written."""
        if not self.fits(len(data)):
            raise Full(
                f"{self.name} would have more than {self._limit:,} bytes: leave something out"
                " (--no-logs, --no-state)"
            )
        self._raw.write(data)
        self._hash.update(data)
        self.size += len(data)

    def line(self, data: bytes) -> None:
        """Add a line of a `.jsonl` member."""
        if len(data) >= LINE_LIMIT:
            raise Full(f"a line of {self.name} has {len(data):,} bytes, at most {LINE_LIMIT:,}")
        self.write(data + b"\n")

    @property
    def told(self) -> Member:
        """Its line of the manifest."""
        return Member(self.name, self.size, self._hash.hexdigest())


class BundleWriter:
    """Writes members one after the other, then the manifest. The file need not be seekable."""

    def __init__(self, to: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(
            to, "w", zipfile.ZIP_DEFLATED, allowZip64=False, compresslevel=_LEVEL
        )
        self._members: list[Member] = []
        self._whole = 0

    @contextmanager
    def member(self, name: str) -> Generator[Sink]:
        """Write one member, bit by bit. Raises Full."""
        if len(self._members) >= MEMBERS_LIMIT - 1:
            raise Full(f"more than {MEMBERS_LIMIT:,} members: leave something out (--no-state)")
        # The time of a member says nothing; without it the same run gives the same bytes.
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._zip.open(info, "w") as raw:
            sink = Sink(name, raw, WHOLE_LIMIT - self._whole)
            yield sink
        self._whole += sink.size
        self._members.append(sink.told)

    def add(self, name: str, data: bytes) -> None:
        """Write one member at once."""
        with self.member(name) as sink:
            sink.write(data)

    def close(self, manifest: Manifest) -> None:
        """Write the manifest (its `members` are filled in) and end the file."""
        manifest.members = self._members
        info = zipfile.ZipInfo(MANIFEST)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._zip.open(info, "w") as raw:
            Sink(MANIFEST, raw, WHOLE_LIMIT).write(encode(manifest))
        self._zip.close()

    def abandon(self) -> None:
        """End the file as it is: without its manifest it is no bundle."""
        self._zip.close()
