"""Delivers a report: a real side effect, for `once`.

It writes a file, named by its content, and a line with the run's token in a ledger. The token is
the same in every attempt and the ledger is append-only: it shows how often the delivery happened.
"""

from __future__ import annotations

import os
import re
import tempfile
from hashlib import sha256
from pathlib import Path

from msgspec import Struct

from headway import token

LEDGER = "deliveries.log"


class Delivery(Struct, frozen=True):
    """What was written where. `deliveries`: lines in the ledger with this run's token."""

    path: str
    sha256: str
    deliveries: int


def report_directory(asked: str) -> Path:
    """Where to write: the payload's directory, else HEADWAY_REPORT_DIR, else a temporary one.

    In a container with a read-only root only the last can be written; it ends with the container,
    and the report's text is in the run's result anyway.
    """
    fallback = Path(tempfile.gettempdir()) / "headway-reports"
    for name in (asked, os.environ.get("HEADWAY_REPORT_DIR", "")):
        if name:
            try:
                Path(name).mkdir(parents=True, exist_ok=True)
            except OSError:
                continue
            if os.access(name, os.W_OK):
                return Path(name)
    fallback.mkdir(parents=True, exist_ok=True)
    return fallback


def deliver(directory: str, text: str) -> Delivery:
    """The side effect: write the file, then its line in the ledger. Runs inside `once`."""
    folder, name = report_directory(directory), token()
    digest = sha256(text.encode()).hexdigest()
    path = folder / f"{slug(text)}-{digest[:8]}.md"
    draft = folder / f"{name}.tmp"
    draft.write_text(text, "utf-8")
    draft.replace(path)  # a reader sees the whole file or none
    with (folder / LEDGER).open("a", encoding="utf-8") as ledger:
        ledger.write(f"{name} {digest} {path}\n")
        ledger.flush()
        os.fsync(ledger.fileno())
    return Delivery(str(path), digest, len(ledger_lines(folder, name)))


def slug(text: str) -> str:
    """The report's first line as a part of a file name."""
    return "-".join(re.findall(r"[a-z0-9]+", text.partition("\n")[0].lower()))[:60] or "report"


def ledger_lines(folder: Path, name: str) -> list[str]:
    """The ledger's lines of one token."""
    ledger = folder / LEDGER
    lines = ledger.read_text("utf-8").splitlines() if ledger.exists() else []
    return [line for line in lines if line.startswith(f"{name} ")]


def delivered(directory: str, name: str) -> Delivery | None:
    """What the ledger knows of a token: this answers the question after a crash in `deliver`."""
    lines = ledger_lines(report_directory(directory), name)
    if not lines:
        return None
    _, digest, path = lines[-1].split(" ", 2)
    return Delivery(path, digest, len(lines))
