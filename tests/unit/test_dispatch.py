from __future__ import annotations

from headway_engine.credits import STALE_AFTER, Credits, Room

DEFAULT = ("ns", "default")


def credits_with(
    *, slots: int = 8, shared: int = 0, queues: tuple[str, ...] = ("default",)
) -> Credits:
    c = Credits()
    c.registered("ns", "a1", queues, slots, shared, 0.0)
    return c


def test_no_agent_means_no_room() -> None:
    assert Credits().room(DEFAULT, 0.0) == Room(0, 0)
    assert credits_with().room(("other", "default"), 0.0) == Room(0, 0)


def test_room_is_what_is_free_and_a_little_less_what_is_on_its_way() -> None:
    c = credits_with(slots=8)
    assert c.room(DEFAULT, 0.0) == Room(10, 0)
    c.sent(DEFAULT, [(f"r{i}", False) for i in range(6)])
    assert c.room(DEFAULT, 0.0) == Room(4, 0)
    c.reserve(DEFAULT, 4, 0)
    assert c.room(DEFAULT, 0.0) == Room(0, 0)
    c.reserve(DEFAULT, -4, 0)
    assert c.taken([f"r{i}" for i in range(6)] + ["x"]) == ["x"]
    assert c.heard("ns", "a1", 2, 0, 0.0) == (DEFAULT,)
    assert c.room(DEFAULT, 0.0) == Room(4, 0)


def test_each_kind_of_slot_is_counted_for_itself() -> None:
    c = credits_with(slots=4, shared=100)
    c.reserve(DEFAULT, 0, 125)
    assert c.room(DEFAULT, 0.0) == Room(5, 0)


def test_an_agent_that_is_silent_for_too_long_is_no_room() -> None:
    c = credits_with()
    assert c.room(DEFAULT, STALE_AFTER).run
    assert c.room(DEFAULT, STALE_AFTER + 0.1) == Room(0, 0)
    assert c.places(STALE_AFTER + 0.1) == []


def test_queues_that_share_an_agent_share_its_room() -> None:
    c = credits_with(slots=4, queues=("default", "other"))
    c.reserve(("ns", "other"), 5, 0)
    assert c.room(DEFAULT, 0.0) == Room(0, 0)


def test_an_agent_whose_session_is_over_is_no_room() -> None:
    c = credits_with()
    c.gone("ns", "a1")
    c.gone("ns", "a1")
    assert c.room(DEFAULT, 0.0) == Room(0, 0)
    assert not c.knows("ns", "a1")


def test_the_stores_count_corrects_what_was_never_heard_of_again() -> None:
    c = credits_with(slots=4)
    c.sent(DEFAULT, [(f"r{i}", False) for i in range(5)])
    c.correct(DEFAULT, 2, 0)
    assert c.room(DEFAULT, 0.0) == Room(3, 0)
    # More than we know of was dispatched by another engine, out of its own share.
    c.correct(DEFAULT, 50, 0)
    assert c.room(DEFAULT, 0.0) == Room(3, 0)
    assert c.taken(["r4"]) == []


def test_several_engines_share_the_slots() -> None:
    c = credits_with(slots=8)
    c.engines = 2
    assert c.room(DEFAULT, 0.0) == Room(5, 0)


def test_an_agents_own_word_goes_before_the_stores() -> None:
    c = credits_with(slots=8)
    c.heard("ns", "a1", 0, 0, 10.0)
    c.stored("ns", "a1", 8, 0, 11.0)
    assert c.room(DEFAULT, 11.0) == Room(2, 0)
    c.stored("ns", "a1", 8, 0, 12.0)
    assert c.room(DEFAULT, 12.0) == Room(10, 0)
    assert c.silent(13.5) == []
    assert c.silent(13.6) == [("ns", "a1")]


def test_registering_anew_counts_once() -> None:
    c = credits_with(slots=4)
    c.registered("ns", "a1", ("default",), 4, 0, 1.0)
    assert c.room(DEFAULT, 1.0) == Room(5, 0)
