"""`headway open`: a bundle in the console, or as text and JSON where there is no terminal."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from headway.bundle import Bundle, OfflineClient
from headway.config import Settings
from headway.follow import RunLog
from headway.lines import LineNumbers
from headway.safe import safe_line
from headway_ops import following, say, story

if TYPE_CHECKING:
    from headway.bundle import Manifest
    from headway.wire.runs import RunDetail


def origin_of(manifest: Manifest) -> str:
    """Who made a bundle, when and where, in one line that is safe to show."""
    at = manifest.exported_at
    return safe_line(
        f"exported {at:%Y-%m-%d %H:%M} UTC by {manifest.by}"
        f" from {manifest.namespace} at {manifest.server}",
        400,
    )


def open_bundle(
    file: str, run: str, *, plain: bool, logs: bool, as_json: bool, theme: str, ascii_only: bool
) -> None:
    """Show it. Raises BadBundle, and Fail where it has no such run."""
    bundle = Bundle.open(Path(file))
    # The console paints on stderr.
    terminal = all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))
    if plain or logs or as_json or not terminal:
        with bundle:
            _print(bundle, run, logs=logs, as_json=as_json)
        return
    from headway_ops import console

    console.open_offline(bundle, run or bundle.manifest.run, theme, ascii_only=ascii_only)


def _print(bundle: Bundle, run: str, *, logs: bool, as_json: bool) -> None:
    manifest = bundle.manifest
    client = OfflineClient(bundle, Settings(namespace=manifest.namespace))

    async def one(name: str) -> RunDetail:
        return await client.run(name)

    say.tell(f"offline bundle, {origin_of(manifest)}")
    for note in manifest.notes:
        say.tell(f"note: {note}")
    for name in [run] if run else bundle.runs:
        detail = asyncio.run(one(name))
        if logs:
            numbered = LineNumbers()
            for c, chunk in bundle.logs(detail.row.run):
                log = RunLog(c.epoch, chunk, numbered.missing(c.epoch, chunk) or 0)
                following.print_log(log, as_json=as_json)
        elif as_json:
            say.data(detail)
        else:
            say.show(story.story(detail, manifest.exported_at))
