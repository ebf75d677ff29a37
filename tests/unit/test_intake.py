from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from headway.ids import new_run_id
from headway.wire import BlobRef, encode
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import TaskSpec
from headway_engine.checks import Unfit, check_item, check_payload, needs_check, no_task
from headway_engine.newruns import new_run

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MS = int(NOW.timestamp() * 1000)
RUN = new_run_id(MS)


def item(**fields: Any) -> EnqueueItem:
    given: dict[str, Any] = {"run": RUN, "task": "noop", "payload": Raw(b"{}")}
    return EnqueueItem(**(given | fields))


def recorded(spec: TaskSpec | None = None, reply: str = "", **fields: Any) -> Any:
    return new_run("ns", item(**fields), spec or TaskSpec("noop"), NOW, b"{}", None, "h", reply)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"tags": ("a\x00b",)}, "bad_request"),
        ({"tags": ("",)}, "bad_request"),
        ({"tags": ("good", " \t")}, "bad_request"),
        ({"key": "\udc80"}, "bad_request"),
        ({"key": ""}, "bad_request"),
        ({"key": "k", "key_scope": "parent"}, "bad_request"),
        ({"limit_key": "\x00"}, "bad_request"),
        ({"at": datetime(2026, 1, 1)}, "bad_request"),
        ({"run": new_run_id(MS - 3_600_001)}, "bad_id"),
        ({"run": new_run_id(MS + 3_600_001)}, "bad_id"),
        ({"payload": Raw(b"[1]")}, "bad_payload"),
        ({"payload_ref": BlobRef("ns/other/aa", 1, "aa")}, "bad_request"),
        ({"payload_ref": BlobRef(f"ns/{RUN}/aa", 17 * 1024 * 1024, "aa")}, "too_large"),
    ],
)
def test_what_can_never_be_recorded_is_refused_with_a_code(
    fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(Unfit) as caught:
        check_item(item(**fields), "ns", NOW)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"payload": Raw(b"")},
        {"payload": Raw(b' {"a": 1}')},
        {"key": "k", "tags": ("übung", "🙂"), "limit_key": "acme"},
        {"key": "k", "key_scope": "parent", "parent": new_run_id(MS)},
        {"run": new_run_id(MS - 3_500_000)},
        {"payload_ref": BlobRef(f"ns/{RUN}/aa", 1, "aa")},
    ],
)
def test_what_is_fine_passes(fields: dict[str, Any]) -> None:
    check_item(item(**fields), "ns", NOW)


def test_the_id_of_a_child_is_as_old_as_its_parent() -> None:
    check_item(item(run=new_run_id(MS - 90 * 86_400_000)), "ns", None)


def test_times_count_from_the_ingest_time() -> None:
    new = recorded(delay=60.0, ttl=30.0, deadline=600.0, key="k", key_ttl=3600.0)
    assert new.run.created_at == new.queued_at == NOW
    assert new.run.due_at == NOW + timedelta(seconds=60)
    assert new.run.ttl_at == NOW + timedelta(seconds=90)
    assert new.run.deadline_at == NOW + timedelta(seconds=600)
    assert new.key_until == NOW + timedelta(hours=1)


def test_a_given_start_goes_before_a_delay_and_is_kept_in_utc() -> None:
    at = datetime(2026, 1, 1, 15, tzinfo=timezone(timedelta(hours=2)))
    new = recorded(at=at, delay=60.0)
    assert new.run.due_at == NOW + timedelta(hours=1)
    assert new.run.due_at.tzinfo is UTC


def test_a_run_without_windows_has_none() -> None:
    new = recorded()
    assert (new.run.due_at, new.run.ttl_at, new.run.deadline_at) == (None, None, None)
    assert (new.key_until, new.key_scope) == (None, "")


def test_the_task_says_queue_policy_and_isolation() -> None:
    spec = TaskSpec("noop", queue="gpu", max_attempts=7, isolation="shared", timeout=5.0)
    run = recorded(spec).run
    assert (run.queue, run.shared, run.timeout) == ("gpu", True, 5.0)
    assert run.policy.max_attempts == 7
    assert recorded(spec, queue="cpu").run.queue == "cpu"


def test_a_run_is_its_own_root_unless_it_is_a_child() -> None:
    parent = new_run_id(MS)
    assert recorded().run.root == RUN
    child = recorded(parent=parent, root=parent, key="k", key_scope="parent")
    assert (child.run.root, child.key_scope) == (parent, parent)


def test_a_time_out_of_range_is_an_overflow() -> None:
    with pytest.raises(OverflowError):
        recorded(at=datetime(9999, 12, 31, tzinfo=UTC), ttl=3.0e9)


def test_a_stamp_counts_only_for_the_schema_that_is_current() -> None:
    spec = TaskSpec("noop", schema_hash="new")
    assert not needs_check(item(schema="new"), spec)
    assert needs_check(item(schema="old"), spec)
    assert needs_check(item(), spec)
    assert needs_check(item(), TaskSpec("noop"))


def test_an_unknown_task_says_how_to_deploy_it() -> None:
    assert "headway deploy" in str(no_task("x", "ns", None))
    assert "headway deployments" in str(no_task("x", "ns", "v9"))


class Inner(msgspec.Struct):
    """A parameter's type."""

    a: int
    b: list[str] = []


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    """A task's parameters."""

    name: str
    inner: Inner
    maybe: int | None = None


def schema_of(kind: Any) -> bytes:
    (schema,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return encode(schema | {"$defs": components})


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"name":"x","inner":{"a":1}}', ""),
        (b'{"name":"x","inner":{"a":1,"b":["y"]},"maybe":null}', ""),
        (b'{"inner":{"a":1}}', "payload: missing name"),
        (b'{"name":1,"inner":{"a":1}}', "payload.name: expected string, got integer"),
        (b'{"name":"x","inner":{"a":"1"}}', "payload.inner.a: expected integer, got string"),
        (b'{"name":"x","inner":{"a":true}}', "payload.inner.a: expected integer, got boolean"),
        (b'{"name":"x","inner":{"a":1,"b":[2]}}', "payload.inner.b[0]: expected string"),
        (b'{"name":"x","inner":{"a":1},"more":1}', "payload.more: no such parameter"),
        (b'{"name":"x","inner":{"a":1},"maybe":"y"}', "payload.maybe: fits none"),
        (b'{"name":', "payload:"),
    ],
)
def test_a_payload_is_checked_against_its_json_schema(payload: bytes, says: str) -> None:
    if not says:
        check_payload(payload, schema_of(Outer))
        return
    with pytest.raises(Unfit) as caught:
        check_payload(payload, schema_of(Outer))
    assert says in str(caught.value)


def code_of(body: bytes, schema: bytes) -> str:
    try:
        check_payload(body, schema)
    except Unfit as e:
        return e.code
    return ""


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=16,
)
_OBJECT = st.dictionaries(st.text(), _JSON, max_size=6)


@given(_OBJECT, _OBJECT)
def test_no_payload_and_no_schema_breaks_the_check(
    payload: dict[str, Any], properties: dict[str, Any]
) -> None:
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    try:
        body, text = encode(payload), encode(schema)
    except UnicodeEncodeError:
        return
    assert code_of(body, text) in ("", "bad_payload")


@given(st.binary())
def test_no_bytes_break_the_check(body: bytes) -> None:
    assert code_of(body, b'{"type":"object"}') in ("", "bad_payload")
