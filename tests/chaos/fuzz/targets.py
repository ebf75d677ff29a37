"""Every decoder of the product, with what it may raise: one list for property tests and fuzzers.

A target takes bytes that anybody may have written. It returns, or raises one of its declared
errors; anything else is a bug. Of two equal keys in a JSON object the last one counts, everywhere;
fields that a type does not know are refused at the doors to strangers (enqueue, api, frames of
runners) and ignored between our own parts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable  # noqa: TC003 - a dataclass field
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType  # noqa: TC003 - beside the others
from typing import Any

import msgspec
from msgspec import Raw, Struct

from headway import codec, ids, subjects
from headway.bundle import BadBundle
from headway.channel import parse_address
from headway.errors import BadName, BadPolicy
from headway.framing import FrameError, Frames
from headway.retry import seconds
from headway.safe import safe_json, safe_line, safe_text
from headway.states import RunState
from headway.tasks import memory_bytes
from headway.wire import (
    Malformed,
    api,
    children,
    decode,
    enqueue,
    events,
    flaw_of_body,
    frames,
    reports,
    rpc,
    saves,
)
from headway.wire.enqueue import ENQUEUE, ITEM
from headway.wire.fleet import Deployment
from headway.wire.reports import REPORTS, Reports
from headway.wire.runs import RunDetail, RunsPage
from headway.wire.saves import SAVES, SaveUsage
from headway_engine import bundles, checks, flaws, lifecycle, verbs
from headway_engine.agent import journal, plans, provider, redact, spans
from headway_engine.agent.bodies import Assembly, BadParts
from headway_engine.agent.config import Caps
from headway_engine.agent.logs import Bucket, LogStream
from headway_engine.agent.verdict import Evidence, on_frame
from headway_engine.config import BadConfig, load_config
from headway_engine.reports import happening_of
from headway_engine.store import saving
from headway_engine.store.records import Run
from headway_ops import render, say, story
from support import bundled

GOLDEN = Path(__file__).parents[2] / "unit" / "golden"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"
SCHEMA = (
    b'{"$ref":"#/$defs/A","$defs":{"A":{"type":"object","properties":{"a":{"type":"integer",'
    b'"minimum":1},"b":{"anyOf":[{"type":"string","maxLength":3},{"$ref":"#/$defs/A"}]},'
    b'"c":{"type":"array","prefixItems":[{"const":1}],"items":{"enum":["x",null]}}},'
    b'"required":["a"],"additionalProperties":false}}}'
)
JSON_SEEDS = (
    b"null", b"true", b"-0", b"1e308", b"12345678901234567890", b'"text"', b'"\\ud800"', b"[]",
    b'{"a":1,"a":2}', b'{"$headway-json":"[1e999]"}', b'{"a":{"b":[{"c":[1,null]}]}}',
    b'"\\u0000"', b"[" * 400 + b"]" * 400,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """One decoder."""

    name: str
    run: Callable[[bytes], object]
    declared: tuple[type[BaseException], ...] = ()
    seeds: tuple[bytes, ...] = JSON_SEEDS


def golden() -> dict[str, bytes]:
    """Struct name to the bytes that were agreed on, of all modules of the wire."""
    found: dict[str, bytes] = {}
    for file in sorted(GOLDEN.glob("*.txt")):
        for line in file.read_bytes().splitlines():
            name, _, body = line.partition(b" ")
            found[name.decode()] = body
    return found


AGREED = golden()


class Tree(Struct):
    """A user's type with something of everything."""

    n: int = 0
    at: datetime | None = None
    inner: list[Tree] = []
    by: dict[str, float] = {}


def decoders(module: ModuleType) -> dict[str, Any]:
    """The decoders of a module, by name."""
    found: dict[str, Any] = {n.strip("_"): getattr(module, n) for n in dir(module)}
    return {n: d for n, d in found.items() if isinstance(d, msgspec.json.Decoder) and n.isupper()}


def _plain(name: str, *modules: ModuleType) -> Target:
    """All decoders of these modules at once: each gets the same body."""
    them = {n: d for module in modules for n, d in decoders(module).items()}

    def run(data: bytes) -> None:
        for dec in them.values():
            with suppress(Malformed):
                decode(dec, data)

    seeds = tuple(b for b in AGREED.values() if any(_fits(d, b) for d in them.values()))
    return Target(f"decoders.{name}", run, (), seeds)


def _fits(dec: Any, body: bytes) -> bool:
    with suppress(Malformed):
        decode(dec, body)
        return True
    return False


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


# --- what is shown


def shown_events(data: bytes) -> None:
    """Events as lines of a timeline."""
    body = decode(events.RUN_EVENTS, data)
    for event in body.events:
        story.event_text(event)
        story.review_hint(body.run, event.data)
    story.timeline(sorted(body.events, key=lambda e: e.n))


def shown_run(data: bytes) -> None:
    """A run's whole story."""
    detail = decode(_DETAIL, data)
    story.story(detail, NOW)
    say.plain(detail)


def shown_lists(data: bytes) -> None:
    """Lists of runs, queues, agents."""
    render.runs_table(decode(_PAGE, data).runs, NOW)


_DETAIL = msgspec.json.Decoder(RunDetail)
_PAGE = msgspec.json.Decoder(RunsPage)


def text(data: bytes) -> None:
    """Text from outside."""
    shown = data.decode("utf-8", "surrogatepass")
    for safe in (safe_text(shown), safe_line(shown), safe_text(safe_text(shown))):
        assert not any(c in safe for c in "\x1b\x9b\x07\r\x00\u202e")
        safe.encode()
    value = msgspec.json.encode(safe_text(shown)).decode()
    assert safe_json(value) == safe_json(safe_json(value))


def redacted(data: bytes) -> None:
    """Lines that may hold secrets: after it none does, however the lines are cut."""
    shown = data.decode("utf-8", "replace")
    secret = "correct-horse-battery"
    redactor = redact.Redactor((secret,))
    lines = (shown + secret + shown).split("\n")
    assert secret not in "".join(redactor.lines(lines))
    redactor.open_tail(lines)


# --- settings, names, files


def _file(data: bytes, suffix: str, use: Callable[[Path], object]) -> None:
    with tempfile.NamedTemporaryFile(suffix=suffix) as f:
        f.write(data)
        f.flush()
        use(Path(f.name))


def settings_file(data: bytes) -> None:
    """headway.toml."""
    _file(data, ".toml", lambda path: load_config(path, {}))


def settings_variable(data: bytes) -> None:
    """HEADWAY_* variables."""
    value = data.decode("utf-8", "surrogateescape")
    for name in ("ENGINE_LEASE", "ENGINE_ROLES", "AGENT_STATE_DIR", "AGENT_WARM", "NATS_URL"):
        with suppress(BadConfig):
            load_config(None, {f"HEADWAY_{name}": value})


def provided(data: bytes) -> None:
    """A provider's file, as TOML and as dotenv lines."""
    for suffix in (".toml", ".env"):
        with suppress(provider.NotProvided, OSError, ValueError):
            _file(data, suffix, lambda path: provider.Provider(path).resolve(("A",)))


def journal_file(data: bytes) -> None:
    """The agent's journal, with whatever a crash left in it."""
    _file(data, ".journal", journal.read)


def names(data: bytes) -> None:
    """Text that shall become part of a subject."""
    given = data.decode("utf-8", "surrogatepass")
    builders: list[Callable[[str], str]] = [
        subjects.ingest,
        lambda t: subjects.work(t, "q"),
        lambda t: subjects.run_event("n", t),
        lambda t: subjects.rpc("n", t, "v"),
        lambda t: subjects.api("n", t, "v"),
        lambda t: subjects.reply(t, "x"),
        lambda t: subjects.work_consumer("n", t),
        lambda t: subjects.inbox_prefix("client", t),
    ]
    for build in builders:
        with suppress(BadName):
            made = build(given)
            assert not any(c in made for c in " *>\r\n\t\0")
            assert given in made
            assert "." not in given
    if ids.is_run_id(given):
        ids.time_of(given)
    if subjects.is_reply(given):
        assert given.count(".") == 3


def words(data: bytes) -> None:
    """Durations, sizes and addresses that people write."""
    given = data.decode("utf-8", "replace")
    for read in (seconds, memory_bytes):
        with suppress(BadPolicy):
            assert read(given) >= 0
    with suppress(ValueError):
        parse_address(given)


def bundle_file(data: bytes) -> None:
    """A run bundle of a stranger, read to its end."""
    bundled.used(bundled.opened(data))


UTF8 = (UnicodeDecodeError,)
ITEMS = (AGREED["EnqueueItem"],)
TEXT_SEEDS = (b"\x1b[2J", "\u202e\x9b".encode(), b"a-name", RUN.encode(), b"hw.>", b"1h30m", b"2g")
TOML_SEEDS = (
    b'[nats]\nurl = "nats://x"\n[engine]\nlease = 15.0\n[agent]\nstate_dir = "/x"\n',
    b"[agent.warm]\nlow = 1\n", b"a = " + b"[" * 300 + b"]" * 300, b"[secrets]\nA = 1\n",
)  # fmt: skip
JOURNAL_SEEDS = (b'{"type":"session","session":1}\n{"type":"end","run":"x","epoch":1}\n{"type"',)


def _frames(*names: str) -> tuple[bytes, ...]:
    every = [
        s.__name__ for s in vars(frames).values() if isinstance(s, type) and s.__name__ in AGREED
    ]
    return tuple(AGREED[n] for n in names or every)


def _framed(bodies: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return tuple(len(b).to_bytes(4, "big") + b for b in bodies)


TARGETS: list[Target] = [
    _plain("bundles", bundles),
    _plain("clients", enqueue, api),
    _plain("events", events),
    _plain("frames", frames),
    _plain("agents", rpc, saves, reports, children),
    _plain("verbs", verbs),
    Target("frames.stream", stream, (FrameError, Malformed), _framed(_frames())),
    Target("frames.from_runner", from_runner, (Malformed,), _frames()),
    Target("enqueue.intake", intake, (Malformed,), (AGREED["EnqueueBatch"],)),
    Target("enqueue.item", enqueue_item, (Malformed, checks.Unfit), ITEMS),
    Target("payload", payload, (checks.Unfit,), (*JSON_SEEDS, b'{"a":1,"b":"xyz","c":[1,"x"]}')),
    Target("payload.schema", schema, (checks.Unfit,), (SCHEMA,)),
    Target("saves", saved, (Malformed,), (AGREED["Saves"],)),
    Target("reports", attempt_reports, (Malformed,), (AGREED["Reports"],)),
    Target("deployment", deployment, (Malformed,), (AGREED["Deployment"],)),
    Target("codec.body", user_body),
    Target("codec.opened", opened, (codec.Misfit,)),
    Target("shown.events", shown_events, (Malformed,), (AGREED["RunEvents"],)),
    Target("shown.run", shown_run, (Malformed,), (AGREED["RunDetail"],)),
    Target("shown.lists", shown_lists, (Malformed,), (AGREED["RunsPage"],)),
    Target("shown.text", text, UTF8, TEXT_SEEDS),
    Target("log.redacted", redacted, (), TEXT_SEEDS),
    Target("settings.file", settings_file, (BadConfig,), TOML_SEEDS),
    Target("settings.variable", settings_variable, (), TEXT_SEEDS),
    Target("settings.provider", provided, (), TOML_SEEDS),
    Target("bundle.file", bundle_file, (BadBundle,), (bundled.packed(),)),
    Target("agent.journal", journal_file, (), JOURNAL_SEEDS),
    Target("subjects.names", names, UTF8, TEXT_SEEDS),
    Target("options.words", words, (), TEXT_SEEDS),
]
BY_NAME = {t.name: t for t in TARGETS}
assert len(BY_NAME) == len(TARGETS)
