"""Secrets in output: exact, encoded, and cut in two."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway.wire import decode
from headway.wire.events import LOG_CHUNK, LogChunk
from headway.wire.frames import Log
from headway_engine.agent.logs import Bucket, LogStream
from headway_engine.agent.provider import NotProvided, Provider, from_dotenv
from headway_engine.agent.redact import MASK, Redactor

SECRET = "p@ss/word+77!"


@pytest.mark.parametrize("lead", ["", "x", "xy", "xyz"])
def test_encoded_forms_are_found_at_every_alignment(lead: str):
    redactor = Redactor([SECRET])
    assert SECRET not in redactor.text(f"a {SECRET} b")
    assert MASK in redactor.text(quote(SECRET, safe=""))
    encoded = base64.b64encode((lead + SECRET + "tail").encode()).decode()
    assert MASK in redactor.text(encoded)


def test_tokens_of_known_shapes_are_found_without_being_told():
    redactor = Redactor([])
    assert redactor.text("key AKIAABCDEFGHIJKLMNOP end") == f"key {MASK} end"
    assert redactor.text("a task, a sky-blue ghost") == "a task, a sky-blue ghost"


@given(st.integers(1, len(SECRET) - 1), st.text("abc ", max_size=5))
def test_a_secret_cut_in_two_lines_is_found(at: int, rest: str):
    out = Redactor([SECRET]).lines([rest + SECRET[:at], SECRET[at:] + rest])
    assert SECRET[:at] not in out[0] or at < 2
    assert "".join(out).count(MASK) == 2
    assert len(out) == 2


def chunks_of(frames: list[Log], secrets: list[str], rate: float = 1e9) -> list[LogChunk]:
    got: list[bytes] = []
    stream = LogStream(Redactor(secrets), Bucket(rate, rate, 0.0), got.append, 100)
    for frame in frames:
        stream.add(frame, 0.0)
        stream.flush()
    stream.flush(final=True)
    return [decode(LOG_CHUNK, body) for body in got]


def test_the_beginning_of_a_secret_waits_for_the_next_frame():
    chunks = chunks_of([Log(1, 1, ["see " + SECRET[:6]]), Log(1, 2, [SECRET[6:] + " !"])], [SECRET])
    text = "".join(line for c in chunks for line in c.lines)
    assert SECRET[:6] not in text
    assert [(c.first, len(c.lines)) for c in chunks] == [(1, 2)]


def test_line_numbers_go_on_and_what_is_over_the_rate_is_a_visible_gap():
    frames = [Log(1, 1, ["a" * 10]), Log(1, 2, ["b" * 500]), Log(1, 3, ["c"])]
    chunks = chunks_of(frames, [], rate=100)
    assert [(c.first, c.lines, c.dropped, c.limit) for c in chunks] == [
        (1, ["a" * 10], 0, 0), (3, [], 1, 100), (3, ["c"], 0, 0),
    ]  # fmt: skip


def test_large_output_is_cut_into_chunks_with_their_first_numbers():
    chunks = chunks_of([Log(1, 1, ["x" * 30_000] * 6)], [])
    assert sum(len(c.lines) for c in chunks) == 6
    assert [c.first for c in chunks] == [1, 4]


def test_provider_names_all_that_is_missing():
    provider = Provider(environ={"HEADWAY_TASK_A": "1", "B": "not for tasks"})
    assert provider.resolve(("A",)) == {"A": "1"}
    with pytest.raises(NotProvided) as caught:
        provider.resolve(("A", "B", "C"))
    assert caught.value.names == ["B", "C"]


def test_dotenv_lines_are_read():
    text = "# no\nexport A=1\nB = 'two words'\nC=\"x=y\"\nnothing\n"
    assert from_dotenv(text) == {"A": "1", "B": "two words", "C": "x=y"}
