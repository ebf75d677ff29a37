"""A replay's draft: what is typed into the form is what a script's file would say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.errors import HeadwayError
from headway.replays import parse
from headway_tui.model import drafts
from headway_tui.model.drafts import FIELDS, Draft, new_draft, with_text
from headway_tui.model.jobs import Counts, bar
from support.replay_facts import a_draft

NOW = datetime(2026, 11, 22, 12, 42, tzinfo=UTC)
typed = st.lists(
    st.sampled_from([
        ("query", "status:failed since:1h"), ("mode", "replay"), ("mode", "fork"),
        ("forked", "skip"), ("once", "ask"),
        ("from", "#7"), ("from", "name:turn-*"), ("code", "r43"), ("code", "original"),
        ("state", 'model = "haiku"; llm.api_key = "sk-1"'),
        ("state", '{"gone": null, "l": [{"token": "sk-1"}]}'),
        ("state", ""), ("payload", '{"n": 1.5, "$A": "$B"}'), ("once", "clear:sms-*"),
        ("pace", "120/m, 3 at once, stop after 0"), ("canary", "5"), ("queue", "agents"),
        ("checks", "status == 'succeeded'; warn: duration < 5"), ("tags", "a b"), ("limit", "9"),
        ("name", "say \"hi\" $HOME 'x'"),
    ]), max_size=12,
)  # fmt: skip


@given(typed)
def test_a_recording_reads_back_to_the_draft_that_was_put_together(
    changes: list[tuple[str, str]],
) -> None:
    draft = new_draft("status:dead")
    draft.recording = True
    for field, text in changes:
        draft.script = with_text(draft.script, field, text)
        draft.decided(NOW, "edit", f"{field} = {drafts.shown(draft, field)}")
    made = drafts.written(draft, "ana", NOW)
    again = Draft(parse(made.text, "x", made.secrets))
    assert [drafts.text_of(again, f.id) for f in FIELDS] == [
        drafts.text_of(draft, f.id) for f in FIELDS
    ]
    assert "sk-1" not in made.text


@given(typed)
def test_what_the_form_says_can_be_typed_again(changes: list[tuple[str, str]]) -> None:
    draft = new_draft("status:dead")
    for field, text in changes:
        draft.script = with_text(draft.script, field, text)
    for f in FIELDS:
        again = Draft(with_text(draft.script, f.id, drafts.text_of(draft, f.id)))
        assert drafts.text_of(again, f.id) == drafts.text_of(draft, f.id)


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("query", "", "expected a query, or ids"), ("query", "foo:1", "no field 'foo'"),
        ("mode", "delete", "mode"), ("from", "first", "expected start, last"),
        ("state", "model", 'model = "haiku"'), ("state", "[1]", 'model = "haiku"'),
        ("state", "{", "a JSON object"), ("once", "never", "expected keep"),
        ("pace", "fast", "expected as in"), ("pace", "5/d, 1, 1", "NUMBER/s"),
        ("canary", "-1", "expected a number"), ("limit", "0", "limit"),
        ("checks", "import os", "expect"),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_with_what_was_expected(field: str, text: str, said: str) -> None:
    with pytest.raises(HeadwayError) as bad:
        with_text(a_draft().script, field, text)
    assert said in str(bad.value)


def test_marked_runs_are_a_selection_of_their_own() -> None:
    ids = ["01JGQ0M4N5B6Q7R8S9T0V1W2XA", "01JGQ0M4N5B6Q7R8S9T0V1W2XB"]
    draft = new_draft(ids=ids)
    assert drafts.shown(draft, "query").startswith("2 marked: 01JGQ0M4N5")
    assert with_text(draft.script, "query", " ".join(ids)).select.ids == tuple(ids)
    assert with_text(draft.script, "query", "status:dead").select.ids == ()


def test_changes_of_one_field_in_a_row_are_one_decision() -> None:
    draft = new_draft("status:dead")
    draft.decided(NOW, "edit", "name = a")
    assert draft.decisions == []  # nothing is recorded
    draft.recording = True
    for detail in ("state = 1", "state = 2", "canary = 3"):
        draft.decided(NOW, "edit", detail)
    assert [d.detail for d in draft.decisions] == ["state = 2", "canary = 3"]


def test_a_secret_is_not_shown_in_the_form() -> None:
    assert drafts.shown(a_draft(), "state") == (
        'state.model = "haiku"; state.llm.api_key = (secret); state.debug removed'
    )


@given(*[st.integers(0, 5000)] * 4, st.integers(1, 40))
def test_a_bar_is_as_wide_as_it_should_be(a: int, b: int, c: int, d: int, width: int) -> None:
    drawn = bar(Counts(a, b, c, d), width, "#", "+", ".")
    assert len(drawn) == width
    assert drawn == "".join(sorted(drawn, key="#+.".index))
    assert ("+" in drawn) <= (c > 0)
