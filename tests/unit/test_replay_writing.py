"""Scripts written as TOML: read back they are the same, and no secret stands in them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.replays import Pace, Replay, Script, Select, parse, write_toml
from headway.replays.script import Edit, Gate
from headway.replays.writing import is_secret
from headway.wire.replays import Check

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = st.text("abz09-", min_size=1, max_size=5)
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    leaves | floats,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
scripts = st.builds(
    Script,
    st.one_of(
        st.builds(Select, words.map(lambda w: f"task:{w} $x"), limit=st.integers(1, 100_000)),
        st.builds(Select, ids=st.just(("01JGQ0M4N5B6Q7R8S9T0V1W2X3",)), freeze=st.booleans()),
    ),
    name=texts,
    replay=st.builds(Replay, from_=st.sampled_from(["last", "start", "#7", "name:it-*"]),
                     tags=st.lists(texts, max_size=2).map(tuple), image=texts),
    edit=st.builds(Edit, state=st.dictionaries(texts, values, max_size=3),
                   payload=st.dictionaries(texts, values, max_size=2)),
    pace=st.builds(Pace, canary=st.integers(0, 9), max_in_flight=st.integers(1, 99)),
    check=st.lists(st.builds(Check, st.just("status == 'succeeded'"),
                             severity=st.sampled_from(["fail", "warn"])), max_size=2).map(tuple),
    gate=st.builds(Gate, st.integers(0, 3)),
)  # fmt: skip


def meaning(script: Script) -> Any:
    """What a script says, whichever way its edits are written."""
    fields = msgspec.to_builtins(msgspec.structs.replace(script, edit=Edit(), vars={}))
    return fields, [msgspec.json.encode(p, order="sorted") for p in script.edit.patches()]


@given(scripts, st.lists(texts, max_size=2))
def test_what_is_written_reads_back_the_same(script: Script, comments: list[str]) -> None:
    made = write_toml(script, comments)
    assert meaning(parse(made.text, "x", made.secrets)) == meaning(script)


@pytest.mark.parametrize(
    ("key", "value", "secret"),
    [
        ("password", "hunter2", True), ("llm_api_key", "abc", True), ("Authorization", "x", True),
        ("url", "https://ana:pw@host/x", True), ("key", "sk-abc", True), ("note", "ghp_x", True),
        ("token", "", False), ("tokens_left", "17", False), ("model", "haiku", False),
        ("url", "https://host/x", False),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_stays_out_of_the_text(key: str, value: str, secret: bool) -> None:
    assert is_secret(key, value) is secret
    script = Script(Select("status:dead"), edit=Edit({"llm": {key: value}, "gone": None}))
    made = write_toml(script)
    assert (value not in made.text) == (secret and bool(value))
    assert set(made.secrets.values()) == ({value} if secret else set())
    assert meaning(parse(made.text, "x", made.secrets)) == meaning(script)


def test_two_secrets_of_one_name_get_variables_of_their_own() -> None:
    edit = Edit({"token": "a"}, {"token": "a", "keys": [{"token": "b"}, {"token": "c"}]})
    made = write_toml(Script(Select("status:dead"), edit=edit))
    assert made.secrets == {
        "STATE_TOKEN": "a", "PAYLOAD_TOKEN": "a", "PAYLOAD_KEYS_TOKEN": "b",
        "PAYLOAD_KEYS_TOKEN_2": "c",
    }  # fmt: skip


def test_a_secret_with_quotes_is_filled_into_a_text_not_into_json() -> None:
    text = """
        version = 1
        [select]
        query = "status:failed"
        [edit]
        payload = '{"gone": null, "token": "$TOKEN", "a $KEY": "$$"}'
        [vars]
        TOKEN = {required = true}
    """
    script = parse(text, "x", {"TOKEN": '", "admin": true, "x": "'})
    _, payload = script.edit.patches()
    assert payload == {"gone": None, "token": '", "admin": true, "x": "', "a $KEY": "$"}
