"""Files of `headway nats config`: secrets are 0600 from their first byte, others may be read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from headway import nkeys

if TYPE_CHECKING:
    from pathlib import Path


def keep_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    _write(path, content, 0o600)


def write_public(path: Path, content: bytes) -> None:
    """Write a file for everybody, whole or not at all."""
    _write(path, content, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as f:
        f.write(content)
        f.flush()
        os.fsync(f.fileno())
    new.replace(path)


def seed_in(path: Path, kind: str = "user") -> nkeys.Key:
    """The key of this file, made at its first use; raises BadCredentials for a damaged one.

    So the same call again changes nobody's credentials: remove a file to renew it.
    """
    if path.exists():
        try:
            return nkeys.Key(path.read_text("ascii").strip())
        except (ValueError, UnicodeDecodeError):
            raise nkeys.BadCredentials(
                f"{path}: no seed that can be read; remove the file, a new one is made then"
            ) from None
    key = nkeys.Key.new(kind)
    keep_secret(path, f"{key.seed}\n".encode())
    return key
