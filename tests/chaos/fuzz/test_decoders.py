"""Properties of every decoder: only declared errors, whatever the bytes, within bounds."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.fuzz.targets import BY_NAME, TARGETS
from headway.wire import Malformed, decode
from headway.wire.enqueue import ITEM

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from chaos.fuzz.target import Target

INTERESTING = (
    b"null", b"-1", b"9223372036854775808", b"1e400", b"NaN", b'"\\u0000"', b'"\\ud800"', b"\xff",
    b"[[[[[[[[", b"{}", b'""', b"1" * 400, b"\x00", b'"x":1,', b"true", b"\n", b'"../../x"',
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
SLOW = {"log.redacted", "shown.text", "settings.file", "settings.provider", "options.words"}
"""Their bodies are an operator's own, or are cut to 32 KiB before they come here."""
HUGE = {
    "nested arrays": b"[" * 300_000,
    "nested objects": b'{"a":' * 150_000,
    "digits": b"9" * 1_000_000,
    "objects": b"[" + b"{}," * 330_000 + b"{}]",
    "one text": b'"' + b"x" * 1_000_000 + b'"',
    "escapes": b'"' + b"\\u001b" * 160_000 + b'"',
    "no text": b"\xff" * 1_000_000,
    "lines": b"a = 1\n" * 150_000,
}


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good body with a few wounds."""
    body = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 8)))
        body = body[:at] + draw(st.sampled_from(INTERESTING) | st.binary(max_size=4)) + body[end:]
    return body


def keys_of(node: Any) -> list[Any]:
    """Where the values of an object or array are; none of anything else."""
    if isinstance(node, dict):
        return sorted(cast("dict[str, Any]", node))
    return list(range(len(cast("list[Any]", node)))) if isinstance(node, list) else []


@st.composite
def replaced(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A good body with another value somewhere: right in form, wrong in kind."""
    body = draw(st.sampled_from(seeds))
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return body
    node: Any = value
    while keys := keys_of(node):
        key = draw(st.sampled_from(keys))
        if draw(st.booleans()) or not keys_of(node[key]):
            node[key] = draw(JSON)
            break
        node = node[key]
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return body


def bodies(target: Target) -> SearchStrategy[bytes]:
    """Raw bytes, wounded bodies, bodies of another kind."""
    return st.one_of(
        mutated(target.seeds), replaced(target.seeds), st.binary(max_size=200), JSON.map(encoded)
    )


def encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return b'"\\ud800"'


@pytest.mark.parametrize("name", BY_NAME)
def test_a_decoder_raises_what_it_declares_and_nothing_else(name: str) -> None:
    target = BY_NAME[name]

    @settings(
        max_examples=40, deadline=None, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(bodies(target))
    def holds(body: bytes) -> None:
        try:
            target.run(body)
        except target.declared:
            return

    holds()


@pytest.mark.nightly
@pytest.mark.timeout(240)
@pytest.mark.parametrize("what", HUGE)
def test_huge_bodies_cost_little_memory(what: str) -> None:
    body = HUGE[what]
    for target in TARGETS:
        if target.name in SLOW:
            continue
        tracemalloc.start()
        try:
            target.run(body)
        except target.declared:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 200 * 1024 * 1024, (target.name, peak)


def test_of_two_equal_keys_the_last_one_counts_and_the_first_is_checked_too() -> None:
    good = b'{"run":"01JGQ0M4N5B6Q7R8S9T0V1W2X3","task":"a","task":"b"}'
    item: Any = decode(ITEM, good)
    assert item.task == "b"
    with pytest.raises(Malformed):
        decode(ITEM, good.replace(b'"a"', b'"../a"'))
