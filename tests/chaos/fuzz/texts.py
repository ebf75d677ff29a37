"""Text and files from outside: what is shown, settings, names, bundles, an agent's journal."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from chaos.fuzz.target import NOW
from headway import ids, subjects
from headway.channel import parse_address
from headway.errors import BadName, BadPolicy
from headway.retry import seconds
from headway.safe import safe_json, safe_line, safe_text
from headway.tasks import memory_bytes
from headway.wire import decode, events
from headway.wire.runs import RunDetail, RunsPage
from headway_engine.agent import journal, provider, redact
from headway_engine.config import BadConfig, load_config
from headway_ops import render, say, story
from support import bundled

if TYPE_CHECKING:
    from collections.abc import Callable


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
