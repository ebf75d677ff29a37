"""Bodies that come in: frames of runners, requests to the engine, bodies of users."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from chaos.fuzz.target import NOW, RUN
from headway import codec, subjects
from headway.framing import Frames
from headway.states import RunState
from headway.wire import Malformed, decode, events, flaw_of_body, frames, rpc
from headway.wire.enqueue import ENQUEUE, ITEM
from headway.wire.fleet import Deployment
from headway.wire.reports import REPORTS, Reports
from headway.wire.saves import SAVES, SaveUsage
from headway_engine import checks, flaws, lifecycle
from headway_engine.agent import plans, redact, spans
from headway_engine.agent.bodies import Assembly, BadParts
from headway_engine.agent.config import Caps
from headway_engine.agent.logs import Bucket, LogStream
from headway_engine.agent.verdict import Evidence, on_frame
from headway_engine.reports import happening_of
from headway_engine.store import saving
from headway_engine.store.records import Run
from headway_ops import say

SCHEMA = (
    b'{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"a":{"type":"integer",'
    b'"minimum":1},"b":{"anyOf":[{"type":"string","maxLength":3},{"$ref":"#/$defs/A"}]},'
    b'"c":{"type":"array","prefixItems":[{"const":1}],"items":{"enum":["x",null]}}},'
    b'"required":["a"],"additionalProperties":false}}}'
)


class Tree(Struct):
    """A user's type with something of everything."""

    n: int = 0
    at: datetime | None = None
    inner: list[Tree] = []
    by: dict[str, float] = {}


# --- the channel


def stream(data: bytes) -> None:
    """Frames cut at every place, then each as the agent takes it."""
    whole, cut = Frames(), Frames()
    parts: list[bytes] = []
    for at in range(0, len(data), 7):
        parts += cut.feed(data[at : at + 7])
    assert whole.feed(data) == parts
    for body in parts:
        frame = decode(frames.FROM_RUNNER, body)
        taken(frame)


def taken(frame: Any) -> None:
    """What the agent does with a frame, as far as it is pure."""
    if isinstance(frame, frames.Part):
        assembly = Assembly()
        with suppress(BadParts):
            assembly.add(frame)
            assembly.take(frame.blob)
    elif isinstance(frame, frames.Log):
        bucket = Bucket(1e6, 1e6, 0.0)
        out = LogStream(redact.Redactor(("the-secret", "a\nb")), bucket, lambda _body: None)
        out.add(frame, 0.0)
        out.add(frame, 1.0)
        out.flush(final=True)
    elif isinstance(frame, frames.Spans):
        redactor = redact.Redactor(("the-secret",))
        for span in frame.spans:
            if spans.fits(span):
                decode(events.SPAN_CHUNK, encode_chunk(spans.clean(span, redactor)))
    elif isinstance(frame, frames.Finish | frames.Fail | frames.Wait):
        for intent in ("", "timeout", "drain", "cancel", "stale"):
            report = on_frame(Evidence(RUN, 1, started=True, intent=intent), frame, None)
            if report is not None:
                reported(Reports("a1", 1, [report]))
    elif isinstance(frame, frames.Checkpoint):
        flaw_of_body(bytes(frame.state))


def encode_chunk(span: events.Span) -> bytes:
    """A chunk as the agent publishes it."""
    return msgspec.json.encode(events.SpanChunk(1, [span], NOW))


def from_runner(data: bytes) -> None:
    """One frame."""
    taken(decode(frames.FROM_RUNNER, data))


# --- the engine's doors


def intake(data: bytes) -> None:
    """An INGEST message: its items are taken or refused one by one."""
    for raw in decode(ENQUEUE, data).items:
        with suppress(Malformed, checks.Unfit):
            enqueue_item(bytes(raw))


def enqueue_item(data: bytes) -> None:
    """One item."""
    item = decode(ITEM, data)
    checks.check_item(item, "default", NOW)
    checks.check_payload(bytes(item.payload), SCHEMA)
    codec.payload_hash(bytes(item.payload))
    subjects.run_event("default", item.run)
    if item.queue:
        subjects.work("default", item.queue)


def payload(data: bytes) -> None:
    """A payload against a schema."""
    checks.check_payload(data, SCHEMA)


def schema(data: bytes) -> None:
    """A payload against somebody's own schema."""
    checks.check_payload(b'{"a":1,"b":["x",{"c":2.5}]}', data)


def saved(data: bytes) -> None:
    """Saves of an agent, up to the statement."""
    saves = decode(SAVES, data).saves
    fit = [s for s in saves if not flaws.of_save(s, "default")]
    good = [s for s in fit if not isinstance(s, SaveUsage)]
    saving.by_namespace(good, ["default"] * len(good))
    for checkpoints, marks in saving.split(good):
        for _, c in checkpoints:
            msgspec.json.encode(saving.checkpoint_data(c))
        for _, m in marks:
            msgspec.json.encode(saving.mark_data(m))
            saving.mark_event(m)


def a_run(state: RunState) -> Run:
    """A run in a state, at epoch 1."""
    return Run(
        id=RUN, ns="default", task="t", queue="default", state=state, n=3, epoch=1, created_at=NOW
    )


def reported(body: Reports) -> None:
    """Reports of an agent: each is decided upon, in every state."""
    for report in body.reports:
        if flaws.of_report(report, "default"):
            continue
        for state in RunState:
            lifecycle.decide(a_run(state), happening_of(report, lambda: 0.5), NOW)


def attempt_reports(data: bytes) -> None:
    """A report request."""
    reported(decode(REPORTS, data))


def deployment(data: bytes) -> None:
    """A deployment, up to the settings of a container."""
    what = decode(msgspec.json.Decoder(Deployment), data)
    info = rpc.VersionInfo(what.version, what.image, what.modules, what.source, what.dev)
    for spec in what.tasks:
        with suppress(plans.NotAllowed):
            limits = plans.plan_of(spec, info, Caps(), "/app").limits
            assert limits.memory > 0
            assert limits.cpus > 0
            assert limits.pids > 0


# --- user bodies


def user_body(data: bytes) -> None:
    """A state, result or payload as the runner and callers read it."""
    for kind in (Any, Tree, list[int], dict[str, Tree], datetime, bytes, str):
        with suppress(codec.Misfit):
            codec.decode(kind, data)
    with suppress(codec.Misfit):
        codec.decode_strictly(Tree, data)
    codec.payload_hash(data)
    if not flaw_of_body(data):
        say.plain(Raw(data))


def opened(data: bytes) -> None:
    """A body as JSON, wrapped or not."""
    codec.opened(data)
