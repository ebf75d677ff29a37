"""Subjects: built, parsed, and never from a name that could mean more than itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import subjects
from headway.errors import BadName
from headway.ids import new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = new_run_id()
BUILDERS: list[Callable[[str], str]] = [
    subjects.ingest,
    lambda x: subjects.work("ns", x),
    lambda x: subjects.work(x, "q"),
    lambda x: subjects.work_consumer("ns", x),
    lambda x: subjects.run_event("ns", x),
    lambda x: subjects.live_event(x, RUN),
    lambda x: subjects.log("ns", x, 1),
    lambda x: subjects.live_event("ns", x),
    lambda x: subjects.live_log("ns", x, 1),
    lambda x: subjects.span("ns", x, 1),
    lambda x: subjects.rpc("ns", x, "claim"),
    lambda x: subjects.rpc("ns", "a", x),
    lambda x: subjects.rpc("ns", "a", "claim", x),
    lambda x: subjects.rpc_of(x).replace("*", "any"),
    lambda x: subjects.api("ns", x, "runs"),
    lambda x: subjects.ctl("ns", x, RUN),
    lambda x: subjects.ctl("ns", "a", x),
    lambda x: subjects.reply(x, "t"),
    lambda x: subjects.reply("c", x),
    lambda x: subjects.inbox_prefix("agent", x),
]
HOSTILE = [
    "",
    "*",
    ">",
    "a.b",
    "a b",
    "a\r\nb",
    "a\x00",
    "$JS",
    "\ud800",
    "\u00e9",
    "a" * 65,
    "a\n",
]


@pytest.mark.parametrize("build", BUILDERS, ids=range(len(BUILDERS)))
@pytest.mark.parametrize("token", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_token_is_refused_before_nats(build: Callable[[str], str], token: str) -> None:
    with pytest.raises(BadName):
        build(token)


@given(st.text())
def test_a_built_subject_has_exactly_the_tokens_it_should(token: str) -> None:
    for build in BUILDERS:
        try:
            made = build(token)
        except BadName:
            continue
        assert not set(made) & set(" \t\r\n*>\x00")
        assert made.isascii()


def test_round_trips() -> None:
    assert subjects.parse_rpc(subjects.rpc("ns", "a1", "claim", "e1")) == ("ns", "a1", "claim")
    assert subjects.parse_rpc(subjects.rpc("ns", "a1", "claim")) == ("ns", "a1", "claim")
    assert subjects.parse_api(subjects.api("ns", "Eva", "runs")) == ("ns", "Eva", "runs")
    for subject in (
        subjects.run_event("ns", RUN),
        subjects.live_event("ns", RUN),
        subjects.log("ns", RUN, 3),
        subjects.live_log("ns", RUN, 3),
        subjects.span("ns", RUN, 3),
        subjects.live_span("ns", RUN, 3),
    ):
        assert subjects.run_of(subject) == RUN
    assert subjects.epoch_of_log(subjects.log("ns", RUN, 3)) == 3
    assert subjects.epoch_of_log(subjects.live_log("ns", RUN, 12)) == 12


def test_only_reply_subjects_are_published_to_for_a_caller() -> None:
    assert subjects.is_reply(subjects.reply("c1", "t1"))
    for bad in (
        "hw.run.ns.x.ev",
        "hw.reply.c",
        "hw.reply.c.t.more",
        "hw.reply.*.t",
        "hw.reply.c.>",
    ):
        assert not subjects.is_reply(bad)


def test_an_agent_s_reply_subject_is_pushed_to_but_no_caller_may_name_it() -> None:
    made = subjects.agent_reply("ns", "a1", "children")
    assert subjects.may_push(made)
    assert not subjects.is_reply(made)
    assert subjects.may_push(subjects.reply("c1", "t1"))
    for bad in ("hw.reply.x.ns.a1.children", "hw.reply.agent.ns.a1", "hw.run.ns.x.ev", f"{made}.y"):
        assert not subjects.may_push(bad), bad


@pytest.mark.parametrize(
    ("reply", "whose"),
    [
        ("_INBOX.client.bob.x", {"bob"}),
        ("_INBOX.client.bob.x.y", {"bob"}),
        ("_INBOX.client.bobby.x", {"bobby"}),
        ("_INBOX.client.bob", set[str]()),
        ("_INBOX.agent.ns.bob.x", set[str]()),
        ("_INBOX.engine.bob.x", set[str]()),
        # A plain client's, which no permission names: nobody else can be listening there.
        ("_INBOX.Xk3jd82jd", {"bob", "bobby"}),
        # What the broker makes of a reply that crosses accounts.
        ("_R_.Xk3jd8.2jd", {"bob", "bobby"}),
        ("hw.run.ns.X.ev", set[str]()),
        ("hw.work.ns.q", set[str]()),
        ("hw.reply.bob.x", set[str]()),
        ("$JS.API.STREAM.DELETE.RUNS", set[str]()),
        ("_INBOXES.client.bob.x", set[str]()),
        ("", set[str]()),
    ],
)
def test_a_request_is_answered_to_an_inbox_of_its_sender_only(reply: str, whose: set[str]) -> None:
    answered = {user for user in ("bob", "bobby") if subjects.may_answer(reply, "client", user)}
    assert answered == whose


def test_an_agent_of_the_same_name_elsewhere_has_another_inbox() -> None:
    mine = f"{subjects.inbox_prefix('agent', 'ns', 'a1')}.x"
    assert subjects.may_answer(mine, "agent", "ns", "a1")
    assert not subjects.may_answer(mine, "agent", "other", "a1")


def test_discovery_answers_any_inbox_and_nothing_else() -> None:
    assert subjects.may_answer(f"{subjects.inbox_prefix('agent', 'ns', 'a1')}.xyz")
    assert not subjects.may_answer(subjects.run_event("ns", RUN))


_HYPHENS = st.from_regex(r"[ab][ab-]{0,4}", fullmatch=True)


@given(_HYPHENS, _HYPHENS, _HYPHENS, _HYPHENS)
def test_two_queues_never_share_a_consumer(ns: str, queue: str, other: str, q: str) -> None:
    same = subjects.work_consumer(ns, queue) == subjects.work_consumer(other, q)
    assert same == ((ns, queue) == (other, q))


def test_namespaces_with_hyphens_keep_their_own_consumers() -> None:
    places = {("a--b", "c"), ("a", "b--c"), ("a-", "b--c"), ("a---b", "c"), ("a--b-", "c")}
    assert len({subjects.work_consumer(ns, q) for ns, q in places}) == len(places)


def test_what_leaves_the_run_out_means_all_of_them() -> None:
    assert subjects.live_event("ns") == "hw.live.run.ns.*.ev"
    assert subjects.live_log("ns") == "hw.live.log.ns.*.*"
    assert subjects.live_span("ns") == "hw.live.span.ns.*.*"
    assert subjects.ctl("ns", "a") == "hw.ctl.ns.a.*"
