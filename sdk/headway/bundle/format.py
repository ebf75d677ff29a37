"""The format of a bundle, version 1: its members, what they hold, how large they may be.

| member | what |
| --- | --- |
| `manifest.json` | `Manifest`; the last member: it has the size and sha256 of all others |
| `runs/<run>/run.json` | `RunFile`: the run's row and facts |
| `runs/<run>/payload.json`, `result.json` | the bodies as they were sent |
| `runs/<run>/events.jsonl` | `events.Event`, one a line, all of them |
| `runs/<run>/checkpoints.jsonl` | `commands.CheckpointRow` of those that are kept |
| `runs/<run>/states/<number>.json` | the state of a checkpoint |
| `runs/<run>/marks.jsonl` | `bundles.BundleMark`: steps, once marks, waits, children |
| `runs/<run>/values/<n>.json` | a large value; the mark's `ref` has `values/<n>.json` as its key |
| `runs/<run>/logs.jsonl`, `spans.jsonl` | `Chunk` of a `LogChunk`, a `SpanChunk` |
| `runs/<run>/usage.jsonl` | `commands.UsageRow` by model |
| `runs/<run>/task.json` | `TaskFile`: spec and schema of the task's version, and the deployment |

A reader refuses a newer format and members that it does not know. Hashes prove that the file is
whole, not who made it.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from headway.errors import HeadwayError
from headway.wire import Instant
from headway.wire.budget import Budget
from headway.wire.fields import RunId
from headway.wire.fleet import DeploymentRow, TaskSpec
from headway.wire.runs import RunRow

FORMAT = 1
SUFFIX = ".headway.zip"
MANIFEST = "manifest.json"

_MIB = 1024 * 1024
FILE_LIMIT = 2048 * _MIB
"""Bytes of a bundle."""
WHOLE_LIMIT = 4096 * _MIB
"""Bytes of all members, unpacked."""
MEMBERS_LIMIT = 60_000
DIRECTORY_LIMIT = 16 * _MIB
"""Bytes of the ZIP's table of contents."""
LINE_LIMIT = 8 * _MIB
"""Bytes of a line of a `.jsonl` member."""
RUNS_LIMIT = 1000
"""Runs in a bundle."""

_RUN = r"runs/[0-7][0-9A-HJKMNP-TV-Z]{25}/"
_KINDS: tuple[tuple[re.Pattern[str], int], ...] = tuple(
    (re.compile(rf"\A{pattern}\Z"), mib * _MIB)
    for pattern, mib in (
        (r"manifest\.json", 16),
        (_RUN + r"run\.json", 2),
        (_RUN + r"(payload|result)\.json", 32),
        (_RUN + r"events\.jsonl", 128),
        (_RUN + r"checkpoints\.jsonl", 32),
        (_RUN + r"states/[1-9][0-9]{0,9}\.json", 128),
        (_RUN + r"marks\.jsonl", 256),
        (_RUN + r"values/[1-9][0-9]{0,9}\.json", 32),
        (_RUN + r"logs\.jsonl", 1024),
        (_RUN + r"spans\.jsonl", 256),
        (_RUN + r"usage\.jsonl", 2),
        (_RUN + r"task\.json", 8),
    )
)


class BadBundle(HeadwayError):
    """The file is no run bundle that can be read; nothing of it was used."""

    code = "bad_bundle"


def limit_of(name: str) -> int:
    """How many bytes a member of this name may have; raises BadBundle for any other name."""
    for pattern, limit in _KINDS:
        if pattern.match(name):
            return limit
    raise BadBundle(f"it has a member {name[:120]!r}, which is none of a bundle's")


def member(run: str, name: str) -> str:
    """The name of a run's member."""
    return f"runs/{run}/{name}"


class Member(Struct, frozen=True):
    """What the manifest says of a member."""

    name: str
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


_Text = Annotated[str, Meta(max_length=512)]


class Manifest(Struct, omit_defaults=True):
    """What a bundle is, who made it, and what is in it."""

    format: Literal["headway-bundle"]
    version: int
    run: RunId
    """The one that was exported."""
    exported_at: Instant
    """On the exporter's clock."""
    by: _Text
    """`user@host`, as the exporter called himself."""
    namespace: _Text
    server: _Text
    """Without credentials."""
    members: Annotated[list[Member], Meta(max_length=MEMBERS_LIMIT)]
    runs: Annotated[list[RunId], Meta(max_length=RUNS_LIMIT)] = []
    """All, the exported one first; children after their parents."""
    engine: _Text = ""
    """Version of the engine that told of it."""
    headway: _Text = ""
    """Version of the exporter."""
    left_out: tuple[_Text, ...] = ()
    """What was not wanted: `logs`, `state`."""
    redacted: dict[str, int] = {}
    """Member to how many texts in it hold a mask in place of a secret."""
    notes: Annotated[list[_Text], Meta(max_length=1000)] = []
    """What could not be had, in words."""


class RunFile(Struct, omit_defaults=True):
    """`run.json`."""

    row: RunRow
    root: str
    why: str = ""
    limit_key: str = ""
    trace: str = ""
    budget: Budget | None = None


class TaskFile(Struct, omit_defaults=True):
    """`task.json`."""

    spec: TaskSpec | None = None
    deployment: DeploymentRow | None = None


class Chunk(Struct):
    """A line of `logs.jsonl` and `spans.jsonl`."""

    epoch: Annotated[int, Meta(ge=0, lt=2**62)]
    chunk: Raw
    """An events.LogChunk, an events.SpanChunk."""
