"""What is refused at the doors, so that no batch of strangers suffers from it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headway import codec
from headway.errors import NotEncodable
from headway.safe import safe_json, safe_text
from headway.wire import DEPTH_LIMIT, BlobRef, ErrorInfo, flaw_of_body, too_deep
from headway.wire.enqueue import EnqueueItem
from headway.wire.reports import AttemptFailed, Finished, Suspend
from headway.wire.saves import SaveCheckpoint, SaveMark
from headway_engine import flaws
from headway_engine.checks import Unfit, check_item, check_payload

RUN = "01JGQ0M4N5B6Q7R8S9T0V1W2X3"
JSON = st.recursive(
    st.none() | st.integers(-9, 9) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # any JSON
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # any JSON
    return 0


@given(JSON, st.integers(0, 6))
def test_depth_is_counted_exactly_whatever_stands_in_texts(value: Any, limit: int) -> None:
    assert too_deep(json.dumps(value).encode(), limit) is (depth(value) > limit)


@pytest.mark.parametrize("wide", [b"[]," * 100_000, b'{"a":[1]},' * 50_000, b'"[[[[",' * 100_000])
def test_wide_bodies_are_not_deep(wide: bytes) -> None:
    assert flaw_of_body(b"[" + wide + b"0]") == ""


def test_bodies_that_nobody_could_read_go_no_further() -> None:
    deep = b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1)
    assert "deeper" in flaw_of_body(deep)
    assert flaw_of_body(deep[1:-1]) == ""
    assert flaw_of_body(b'"\xff"') == "not UTF-8"
    assert flaw_of_body('"ü"'.encode()) == ""
    item = EnqueueItem(RUN, "t", Raw(b'{"a":' + deep + b"}"))
    with pytest.raises(Unfit, match="nested deeper"):
        check_item(item, "default", None)
    value: Any = []
    for _ in range(DEPTH_LIMIT):
        value = [value]
    with pytest.raises(NotEncodable, match="nested deeper"):
        codec.encode(value, "the state")


def checkpoint(**fields: Any) -> SaveCheckpoint:
    usual: dict[str, Any] = {"number": 1, "name": "n", "sha256": "", "size": 1}
    return SaveCheckpoint(RUN, 1, **usual | fields)


def mark(**fields: Any) -> SaveMark:
    usual: dict[str, Any] = {"key": "k", "kind": "step", "fn": "f", "status": "done"}
    return SaveMark(RUN, 1, **usual | fields)


FOREIGN = BlobRef("other/run/x", 1, "x")


@pytest.mark.parametrize(
    "save",
    [
        checkpoint(number=0), checkpoint(number=2**31), checkpoint(size=-1),
        checkpoint(ref=FOREIGN),
        checkpoint(name="a\0"), checkpoint(name="x" * 257), checkpoint(sha256="x" * 257),
        mark(kind="enqueue"), mark(kind=""), mark(status="?"), mark(size=2**31), mark(after=-1),
        mark(seconds=1e300), mark(seconds=-1.0), mark(seconds=float("nan")), mark(key="\0"),
        mark(fn="x" * 257), mark(ref=FOREIGN),
    ],
)  # fmt: skip
def test_a_save_that_can_never_be_stored_is_named(save: Any) -> None:
    assert flaws.of_save(save, "default")


def failed(**fields: Any) -> AttemptFailed:
    made: dict[str, Any] = {"cause": "error", "error": ErrorInfo("E")} | fields
    return AttemptFailed(RUN, 1, **made)


@pytest.mark.parametrize(
    "report",
    [
        failed(retry_in=1e300), failed(retry_in=-1.0),
        failed(retry_at=datetime(9999, 1, 1, tzinfo=UTC)),
        failed(retry_at=datetime(2030, 1, 1)), failed(cause="\0"), failed(key="x" * 257),
        failed(lines=-1), failed(lines=2**60), Finished(RUN, 1, size=2**40),
        Finished(RUN, 1, ref=FOREIGN), Suspend(RUN, 1, "k", "sleep", seconds=1e300),
        Suspend(RUN, 1, "\0", "sleep"), Suspend(RUN, 1, "k", "sleep", after=-1),
    ],
)  # fmt: skip
def test_a_report_that_can_never_be_carried_out_is_named(report: Any) -> None:
    assert flaws.of_report(report, "default")


def test_what_runners_say_passes() -> None:
    ref = BlobRef(f"default/{RUN}/x", 1, "x")
    for save in (checkpoint(), checkpoint(ref=ref), mark(), mark(kind="sleep", status="open")):
        assert flaws.of_save(save, "default") == ""
    far = datetime(2100, 1, 1, tzinfo=UTC)
    for report in (failed(), failed(retry_at=far), Finished(RUN, 1, ref=ref)):
        assert flaws.of_report(report, "default") == ""


@given(st.text())
def test_safe_json_is_the_same_value_and_obeyed_by_no_terminal(text: str) -> None:
    shown = safe_json(json.dumps({"x": text}, ensure_ascii=False))
    assert msgspec.json.decode(shown) == {"x": text}
    assert not any(c in shown for c in "\x1b\x9b\x7f\u202e\u200b\U000e0041")


def test_marks_heaped_on_one_letter_are_cut() -> None:
    assert len(safe_text("z" + "\u0301" * 1000)) == 10
    assert safe_text("e\u0301 \u0e01\u0e49") == "e\u0301 \u0e01\u0e49"


@pytest.mark.parametrize(
    "schema",
    [
        b'{"type":{"a":1}}', b'{"minimum":{"enum":[]}}', b'{"properties":["a"]}',
        b'{"properties":{"a":{"prefixItems":{"x":1}}}}', b'{"required":[[]]}', b'{"enum":[{}]}',
        b'{"minItems":"x","type":"array"}', b'{"$ref":"#/a/b"}', b'{"$ref":"#"}',
        b'{"anyOf":[{"$ref":"#"},{"$ref":"#"}],"type":"nothing"}',
    ],
)  # fmt: skip
def test_a_schema_that_makes_no_sense_costs_little_and_ends_no_intake(schema: bytes) -> None:
    for body in (b'{"a":[1],"b":2}', b"{}"):
        try:
            check_payload(body, schema)
        except Unfit as e:
            assert e.code == "bad_payload"  # noqa: PT017 - either is fine
