"""Every decoder of the product, with what it may raise: one list for property tests and fuzzers.

A target takes bytes that anybody may have written. It returns, or raises one of its declared
errors; anything else is a bug. Of two equal keys in a JSON object the last one counts, everywhere;
fields that a type does not know are refused at the doors to strangers (enqueue, api, frames of
runners) and ignored between our own parts.
"""

from __future__ import annotations

from contextlib import suppress
from types import ModuleType  # noqa: TC003 - beside the others
from typing import Any

import msgspec

from chaos.fuzz import doors, texts
from chaos.fuzz.target import AGREED, JSON_SEEDS, RUN, Target
from headway import codec
from headway.bundle import BadBundle
from headway.framing import FrameError
from headway.wire import (
    Malformed,
    api,
    children,
    decode,
    enqueue,
    events,
    frames,
    reports,
    rpc,
    saves,
)
from headway_engine import bundles, checks, verbs
from headway_engine.config import BadConfig
from support import bundled


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


UTF8 = (UnicodeDecodeError,)
ITEMS = (AGREED["EnqueueItem"],)
TEXT_SEEDS = (b"\x1b[2J", "\u202e\x9b".encode(), b"a-name", RUN.encode(), b"hw.>", b"1h30m", b"2g")
TOML_SEEDS = (
    b'[nats]\nurl = "nats://x"\n[engine]\nlease = 15.0\n[agent]\nstate_dir = "/x"\n',
    b"[agent.warm]\nlow = 1\n", b"a = " + b"[" * 300 + b"]" * 300, b"[secrets]\nA = 1\n",
)  # fmt: skip
PAYLOAD_SEEDS = (*JSON_SEEDS, b'{"a":1,"b":"xyz","c":[1,"x"]}')
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
    Target("frames.stream", doors.stream, (FrameError, Malformed), _framed(_frames())),
    Target("frames.from_runner", doors.from_runner, (Malformed,), _frames()),
    Target("enqueue.intake", doors.intake, (Malformed,), (AGREED["EnqueueBatch"],)),
    Target("enqueue.item", doors.enqueue_item, (Malformed, checks.Unfit), ITEMS),
    Target("payload", doors.payload, (checks.Unfit,), PAYLOAD_SEEDS),
    Target("payload.schema", doors.schema, (checks.Unfit,), (doors.SCHEMA,)),
    Target("saves", doors.saved, (Malformed,), (AGREED["Saves"],)),
    Target("reports", doors.attempt_reports, (Malformed,), (AGREED["Reports"],)),
    Target("deployment", doors.deployment, (Malformed,), (AGREED["Deployment"],)),
    Target("codec.body", doors.user_body),
    Target("codec.opened", doors.opened, (codec.Misfit,)),
    Target("shown.events", texts.shown_events, (Malformed,), (AGREED["RunEvents"],)),
    Target("shown.run", texts.shown_run, (Malformed,), (AGREED["RunDetail"],)),
    Target("shown.lists", texts.shown_lists, (Malformed,), (AGREED["RunsPage"],)),
    Target("shown.text", texts.text, UTF8, TEXT_SEEDS),
    Target("log.redacted", texts.redacted, (), TEXT_SEEDS),
    Target("settings.file", texts.settings_file, (BadConfig,), TOML_SEEDS),
    Target("settings.variable", texts.settings_variable, (), TEXT_SEEDS),
    Target("settings.provider", texts.provided, (), TOML_SEEDS),
    Target("bundle.file", texts.bundle_file, (BadBundle,), (bundled.packed(),)),
    Target("agent.journal", texts.journal_file, (), JOURNAL_SEEDS),
    Target("subjects.names", texts.names, UTF8, TEXT_SEEDS),
    Target("options.words", texts.words, (), TEXT_SEEDS),
]
BY_NAME = {t.name: t for t in TARGETS}
assert len(BY_NAME) == len(TARGETS)
