"""Golden bytes of every message: a change here is a change of protocol.

`WRITE_GOLDEN=1 pytest tests/unit/test_wire.py` writes the files anew, after such a decision.
"""

from __future__ import annotations

import os
import types
import typing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import wire
from headway.wire import (
    api,
    blobs,
    bundles,
    children,
    enqueue,
    events,
    fleet,
    frames,
    replays,
    reports,
    rpc,
    runs,
    saves,
    sites,
    steering,
)
from headway.wire.api import schemas
from headway.wire.enqueue import ENQUEUE, EnqueueBatch, EnqueueItem
from headway.wire.fleet import Deployment
from headway.wire.saves import SAVES
from headway.wire.steering import CancelAsk

GOLDEN = Path(__file__).parent / "golden"
AGENTS = (rpc, saves, reports, children)
MODULES = (
    api,
    blobs,
    bundles,
    enqueue,
    events,
    fleet,
    frames,
    replays,
    runs,
    sites,
    steering,
    *AGENTS,
)
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"


def structs(module: types.ModuleType) -> list[type[msgspec.Struct]]:
    """The Structs that a module defines, by name."""
    found = [
        v
        for v in vars(module).values()
        if isinstance(v, type) and issubclass(v, msgspec.Struct) and v.__module__ == module.__name__
    ]
    return sorted(found, key=lambda s: s.__name__)


def sample(kind: Any, depth: int = 0) -> Any:
    """A value of the type in which every field is set, the same each time."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        pattern = next((m.pattern for m in kind.__metadata__ if m.pattern), "")
        if "0-7" in pattern:
            return RUN
        found = "a-name" if "a-z" in pattern else sample(args[0], depth)
        for m in kind.__metadata__:
            found = max(found, type(found)(m.ge)) if m.ge is not None else found
            found = min(found, type(found)(m.le)) if m.le is not None else found
        return found
    if origin is typing.Literal:
        return args[-1]
    if origin in (typing.Union, types.UnionType):
        return sample(next(a for a in args if a is not type(None)), depth)
    if origin in (list, tuple):
        if origin is tuple and args[-1] is not Ellipsis:
            return tuple(sample(a, depth + 1) for a in args)
        one = sample(args[0], depth + 1)
        return [one] if origin is list else (one,)
    if origin is dict:
        return {"k": sample(args[1], depth + 1)}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hints = typing.get_type_hints(kind, include_extras=True)
        return kind(
            **{f.name: sample(hints[f.name], depth + 1) for f in msgspec.structs.fields(kind)}
        )
    plain: dict[Any, Any] = {
        str: "text",
        int: 7,
        float: 1.5,
        bool: True,
        bytes: b"\x00\xff",
        datetime: AT,
        msgspec.Raw: msgspec.Raw(b'{"user":"body"}'),
        Any: {"any": 1},
    }
    return plain[kind]


def lines(module: types.ModuleType) -> str:
    """`Name <json of a full one>`, one per line."""
    return "".join(f"{s.__name__} {wire.encode(sample(s)).decode()}\n" for s in structs(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rsplit(".", 1)[1])
def test_the_bytes_on_the_wire_are_those_that_were_agreed(module: types.ModuleType) -> None:
    file = GOLDEN / f"{module.__name__.rsplit('.', 1)[1]}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(lines(module))
    assert lines(module) == file.read_text()


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rsplit(".", 1)[1])
def test_agreed_bytes_decode_to_the_same_values(module: types.ModuleType) -> None:
    kinds = {s.__name__: s for s in structs(module)}
    for line in (GOLDEN / f"{module.__name__.rsplit('.', 1)[1]}.txt").read_text().splitlines():
        name, _, body = line.partition(" ")
        value = wire.decode(wire.decoder(kinds[name]), body.encode())
        assert wire.encode(value) == body.encode()


@pytest.mark.parametrize("file", sorted((GOLDEN / "first").glob("*.txt")), ids=lambda f: f.stem)
def test_what_the_first_version_said_is_understood_for_ever(file: Path) -> None:
    """Fault row 59: bodies of older SDKs, agents and engines. `golden/first` is never rewritten."""
    kinds = {s.__name__: s for module in MODULES for s in structs(module)}
    for line in file.read_text().splitlines():
        name, _, body = line.partition(" ")
        value = wire.decode(wire.decoder(kinds[name]), body.encode())
        # Nothing of it is lost on the way through a later version.
        said = msgspec.json.decode(wire.encode(value))
        assert msgspec.json.decode(body) == said


def test_frames_from_a_runner_are_decoded_strictly() -> None:
    good = b'{"type":"started","slot":1}'
    assert wire.decode(frames.FROM_RUNNER, good) == frames.RunStarted(1)
    with pytest.raises(wire.Malformed, match="run"):
        wire.decode(frames.FROM_RUNNER, b'{"type":"started","slot":1,"run":"x"}')


@pytest.mark.parametrize(
    "kind",
    [
        EnqueueItem,
        EnqueueBatch,
        CancelAsk,
        Deployment,
        replays.ForkAsk,
    ]
    + [s for s in structs(frames) if s in typing.get_args(frames.FromRunner)],
)
def test_untrusted_doors_refuse_unknown_fields(kind: type[msgspec.Struct]) -> None:
    assert kind.__struct_config__.forbid_unknown_fields


@pytest.mark.parametrize("kind", [s for m in (*AGENTS, events) for s in structs(m)])
def test_between_our_own_parts_unknown_fields_are_ignored(kind: type[msgspec.Struct]) -> None:
    assert not kind.__struct_config__.forbid_unknown_fields
    body = wire.encode(sample(kind))[:-1] + b',"of_a_later_version":1}'
    wire.decode(wire.decoder(kind), body)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
def test_decoders_raise_nothing_but_malformed(body: bytes) -> None:
    doors: list[Any] = [frames.FROM_RUNNER, frames.TO_RUNNER, ENQUEUE, SAVES]
    for decoder in doors:
        try:
            wire.decode(decoder, body)
        except wire.Malformed:
            continue


def test_deep_nesting_and_bad_utf8_are_malformed() -> None:
    for body in (b"[" * 200_000, b'{"type":"\xff\xfe"}', b'{"type":"log","lines":' + b"[" * 99_999):
        with pytest.raises(wire.Malformed):
            wire.decode(frames.FROM_RUNNER, body)


def test_an_absent_user_body_is_left_out() -> None:
    frame = frames.Finish(slot=1, seq=2)
    assert wire.encode(frame) == b'{"type":"done","slot":1,"seq":2}'
    assert wire.decode(frames.FROM_RUNNER, wire.encode(frame)).result is wire.NOTHING


def test_user_bodies_ride_as_their_exact_bytes() -> None:
    body = b'{ "a":1.0,  "b":"\\u0000" }'
    frame = frames.Finish(slot=1, seq=2, result=msgspec.Raw(body))
    assert bytes(wire.decode(frames.FROM_RUNNER, wire.encode(frame)).result) == body


def test_the_schemas_of_what_foreign_clients_may_send() -> None:
    known = schemas()
    assert {"EnqueueBatch", "EnqueueItem", "Answers", "Deployment", "TaskSpec"} <= set(known)
    item = known["EnqueueItem"]
    assert item["additionalProperties"] is False
    assert set(item["required"]) == {"run", "task"}
    assert item["properties"]["payload"] == {}
    assert item["properties"]["run"]["pattern"]
    msgspec.json.encode(known)
