"""Settings, pull bookkeeping and delivery facts: no server."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import bus
from headway.config import Settings, from_environment
from headway.errors import BadName, BadPolicy, NotReachable
from headway.pull import Ledger, delivery_of


def test_settings_come_from_the_environment_and_have_defaults_for_one_machine() -> None:
    assert from_environment({}).nats_url == "nats://127.0.0.1:4222"
    env = {
        "HEADWAY_NATS_URL": "nats://a:1,nats://b:2",
        "HEADWAY_NAMESPACE": "shop-test",
        "USER": "Ann.Other x",
        "HEADWAY_REQUEST_TIMEOUT": "2.5",
    }
    s = from_environment(env)
    assert s.urls == ["nats://a:1", "nats://b:2"]
    assert (s.namespace, s.user, s.request_timeout) == ("shop-test", "Ann-Other-x", 2.5)


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ({"HEADWAY_NAMESPACE": "a.b"}, BadName),
        ({"HEADWAY_REQUEST_TIMEOUT": "soon"}, BadPolicy),
        ({"HEADWAY_CONNECT_TIMEOUT": "nan"}, BadPolicy),
        ({"HEADWAY_CONNECT_TIMEOUT": "0"}, BadPolicy),
    ],
)
def test_a_bad_setting_is_named(env: dict[str, str], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"namespace|HEADWAY_"):
        from_environment(env)


def test_no_message_shows_the_password_of_a_url() -> None:
    shown = Settings(nats_url="nats://me:secret@host:4222,tls://tok@other").shown_url
    assert shown == "nats://host:4222, tls://other"


def test_facts_of_a_delivery_are_read_with_and_without_a_domain() -> None:
    plain: Any = SimpleNamespace(reply="$JS.ACK.WORK.c.2.77.5.1700000000000000000.3")
    d = delivery_of(plain)
    assert (d.stream, d.consumer, d.delivered, d.stream_seq, d.pending) == ("WORK", "c", 2, 77, 3)
    assert d.time_ns == 1_700_000_000_000_000_000
    hub: Any = SimpleNamespace(reply="$JS.ACK.hub.acc.WORK.c.2.77.5.1700000000000000000.3.tok")
    assert delivery_of(hub) == d


def test_a_served_request_is_settled_and_an_expired_one_is_forgotten() -> None:
    book = Ledger()
    book.ask(1, 10, until=5.0)
    book.came(4)
    assert book.total == 6
    book.ask(2, 10, until=9.0)
    book.expire(5.0)
    assert book.total == 10
    book.ended(2, 10)
    assert book.total == 0


@given(st.data())
def test_what_is_outstanding_is_exact_whichever_request_the_server_serves(
    data: st.DataObject,
) -> None:
    book, real = Ledger(), dict[int, int]()
    for k in range(1, data.draw(st.integers(1, 12))):
        batch = data.draw(st.integers(1, 20))
        book.ask(k, batch, until=1e9)
        real[k] = batch
        for _ in range(data.draw(st.integers(0, 4))):
            serving = data.draw(st.sampled_from(sorted(real))) if real else None
            if serving is None:
                break
            n = data.draw(st.integers(1, real[serving]))
            book.came(n)
            real[serving] -= n
            if not real[serving]:
                del real[serving]
            elif data.draw(st.booleans()):
                book.ended(serving, real.pop(serving))
            assert book.total == sum(real.values())
    for k in sorted(real):
        book.ended(k, real.pop(k))
    assert book.total == 0


async def test_the_first_connection_ends_in_time_though_its_end_came_with_a_refusal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[bus.Connection] = []

    class Watched(bus.Connection):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(self)

    async def refused(*_: Any, **__: Any) -> None:
        # Both in one turn of the loop: Python 3.11's wait_for then tells of the refusal alone.
        if made[0].first is not None and not made[0].first.expired():
            made[0].first.reschedule(asyncio.get_running_loop().time())
        raise ConnectionRefusedError

    monkeypatch.setattr(bus, "Connection", Watched)
    monkeypatch.setattr(asyncio, "open_connection", refused)
    async with asyncio.timeout(10):
        with pytest.raises(NotReachable):
            await bus.connect(Settings(nats_url="nats://127.0.0.1:1"), kind="client", ident="t")
