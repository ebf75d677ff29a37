"""User values survive JSON exactly, or are refused by name."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import codec, wire
from headway.errors import NotEncodable, TooLarge
from headway.wire.frames import FROM_RUNNER, Checkpoint

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.text(st.sampled_from('a\x00\ud800"')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Note(msgspec.Struct):
    """A Struct of the types that JSON has no word for."""

    text: str
    at: datetime
    price: Decimal
    ids: tuple[UUID, ...] = ()
    by_number: dict[int, bytes] = {}


@dataclass
class Plain:
    """A dataclass."""

    a: int
    b: list[str]


class Typed(TypedDict):
    """A TypedDict."""

    x: int


class Model(pydantic.BaseModel):
    """A pydantic model."""

    name: str
    at: datetime


NOW = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@given(VALUES)
def test_any_json_value_survives_exactly_and_rides_in_a_frame(value: Any) -> None:
    body = codec.encode(value)
    frame = Checkpoint(1, 1, 1, "n", "", len(body), msgspec.Raw(body))
    arrived = wire.decode(FROM_RUNNER, wire.encode(frame))
    assert codec.decode(Any, arrived.state) == value


@pytest.mark.parametrize("text", ["a\x00b", "\ud800", "x\udfffy", "\ude00\ud83d", "{\x7f\u2028"])
def test_nul_and_lone_surrogates_survive_in_every_kind_of_value(text: str) -> None:
    note = Note(text, NOW, Decimal("1.10"), (UUID(int=7),), {1: b"\xff"})
    assert codec.decode(Note, codec.encode(note)) == note
    assert codec.decode(Plain, codec.encode(Plain(1, [text]))) == Plain(1, [text])
    model = Model(name="x", at=NOW)
    model.name = text
    assert codec.decode(list[Model], codec.encode([model])) == [model]
    assert codec.decode(dict[str, int], codec.encode({text: 1})) == {text: 1}


def test_two_surrogates_that_make_a_pair_come_back_as_their_character() -> None:
    # JSON has no way to tell them apart.
    assert codec.decode(str, codec.encode("\ud83d\ude00")) == "\U0001f600"


def test_numbers_that_json_parsers_change_survive() -> None:
    assert codec.decode(int, codec.encode(2**200)) == 2**200
    assert math.isnan(codec.decode(list[float], codec.encode([math.nan]))[0])
    assert codec.decode(dict[str, float], codec.encode({"x": -math.inf})) == {"x": -math.inf}


def test_a_value_that_looks_like_the_wrapper_survives() -> None:
    value = {"$headway-json": "[1]"}
    assert codec.decode(Any, codec.encode(value)) == value


def test_plain_values_are_plain_json() -> None:
    assert codec.encode({"a": [1, "é", None]}) == '{"a":[1,"é",null]}'.encode()
    assert codec.encode(Typed(x=1)) == b'{"x":1}'
    assert codec.encode(Model(name="n", at=NOW)) == msgspec.json.encode({"name": "n", "at": NOW})


def test_over_the_limit_names_the_body() -> None:
    with pytest.raises(TooLarge, match="checkpoint 'big' is 102 bytes, the limit is 100"):
        codec.encode("x" * 100, "checkpoint 'big'", 100)


@pytest.mark.parametrize("value", [object(), lambda: 1, {"f": open}, 1j])
def test_what_cannot_be_encoded_names_the_body(value: Any) -> None:
    with pytest.raises(NotEncodable, match="step 's' cannot be written as JSON"):
        codec.encode(value, "step 's'")


def test_endless_nesting_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotEncodable):
        codec.encode(loop)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nope", b"\xff", b'"\\ud800', b"[" * 100_000, b'{"text":1}']
)
def test_bad_bodies_raise_only_misfit(body: bytes) -> None:
    with pytest.raises(codec.Misfit):
        codec.decode(Note, body)


def test_a_misfit_names_the_path() -> None:
    with pytest.raises(codec.Misfit, match=r"\$\[1\]\.b\[0\]"):
        codec.decode(list[Plain], b'[{"a":1,"b":[]},{"a":1,"b":[2]}]')


def test_strictly_an_unknown_field_is_a_misfit() -> None:
    assert codec.decode(Plain, b'{"a":1,"b":[],"old":2}') == Plain(1, [])
    with pytest.raises(codec.Misfit, match=r"\$\.old"):
        codec.decode_strictly(Plain, b'{"a":1,"b":[],"old":2}')
    with pytest.raises(codec.Misfit, match=r"\$\[0\]\.old"):
        codec.decode_strictly(list[Model], b'[{"name":"n","at":"2026-01-01T00:00:00Z","old":2}]')


def test_the_schema_hash_changes_with_the_schema_only() -> None:
    one = msgspec.defstruct("S", [("a", int)])
    same = msgspec.defstruct("S", [("a", int)])
    other = msgspec.defstruct("S", [("b", int)])
    assert codec.schema_hash(one) == codec.schema_hash(same) != codec.schema_hash(other)
    assert len(codec.schema_hash(Model)) == 16


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@given(_JSON, st.booleans(), st.sampled_from([None, 1]))
def test_the_payload_hash_does_not_depend_on_how_json_was_written(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    expected = sha256(body).hexdigest()
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert codec.payload_hash(text.encode()) == expected


@given(st.text(alphabet='{}[]",:0123456789eE+-.\\ntrufals \x7f', max_size=40))
def test_the_payload_hash_of_any_text_is_that_of_its_value_or_of_itself(text: str) -> None:
    try:
        body = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")).encode()
    except ValueError:
        body = text.encode()
    assert codec.payload_hash(text.encode()) == sha256(body).hexdigest()


def test_the_payload_hash_is_of_a_canonical_form() -> None:
    same = {b'{"a":1,"b":"\xc3\xa9"}', b'{ "b" : "\\u00e9", "a":1 }'}
    assert len({codec.payload_hash(b) for b in same}) == 1
    assert codec.payload_hash(b'{"a":1}') != codec.payload_hash(b'{"a":2}')
    assert codec.payload_hash(b"not json") != codec.payload_hash(b"not json2")
    assert codec.payload_hash(codec.encode("\ud800")) == codec.payload_hash(b'"\\ud800"')
    assert codec.payload_hash(b"[" * 100_000)


def test_pydantic_is_used_only_if_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic")
    with pytest.raises(NotEncodable):
        codec.encode(Model(name="n", at=NOW))
    assert "pydantic" not in sys.modules
