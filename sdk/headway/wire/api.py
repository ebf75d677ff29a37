"""What every answer on `hw.api.<ns>.<user>.<verb>` has in common, and the published schemas."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from headway.wire import NOTHING, Instant, decoder
from headway.wire.enqueue import Answers, EnqueueBatch, EnqueueItem
from headway.wire.fleet import Deployment, QueueAsk
from headway.wire.runs import FacetsAsk, ResultsAsk, RunAsk, RunsQuery
from headway.wire.steering import AckAsk, BulkAsk, CancelAsk, ReplayAsk, ResumeAsk, TagAsk

# --- hw.api


class ApiError(Struct, omit_defaults=True):
    """Any api answer may be this instead: `{"error": {...}}`."""

    code: str
    """bad_request, bad_query, not_found, refused, conflict, stale, unavailable, not_served ..."""
    message: str
    column: int = 0
    """With `bad_query`: where in the text, from 1."""


class ApiAnswer(Struct, omit_defaults=True):
    """The envelope of every api answer: one of the two is set."""

    data: Raw = NOTHING
    error: ApiError | None = None


class Done(Struct, omit_defaults=True):
    """The answer of a command: what happened, and the run's status after it."""

    run: str
    outcome: str
    """`ok`, `already`, `sent` (a hub keeps it for the site that owns the run), or the code of a
    refusal."""
    status: str = ""
    message: str = ""


class Info(Struct, omit_defaults=True):
    """`info`: who answers."""

    engine: str
    version: str
    store: str
    """`postgres`, `edge`."""
    store_ok: bool
    durability: str
    now: Instant
    schema: int = 0
    detail: dict[str, Any] = {}
    roles: tuple[str, ...] = ()
    """Which of its services this engine runs; empty = all."""


API_ANSWER = decoder(ApiAnswer)


def schemas() -> dict[str, Any]:
    """JSON Schemas of what foreign clients may send and hear."""
    from headway.wire.replays import ForkAsk

    types = [
        EnqueueBatch,
        EnqueueItem,
        Answers,
        ApiAnswer,
        RunsQuery,
        FacetsAsk,
        RunAsk,
        ResultsAsk,
        CancelAsk,
        ResumeAsk,
        AckAsk,
        TagAsk,
        BulkAsk,
        ReplayAsk,
        ForkAsk,
        QueueAsk,
        Deployment,
    ]
    from headway.wire.twins import twin

    made: dict[type, Any] = {}
    _, components = msgspec.json.schema_components([twin(t, made) for t in types])
    return components
