"""Exports: everything comes along, no secret does, and length costs no memory.

Made from bundles: an export asks a client, and one that reads a file is as good as any.
"""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from msgspec import Raw

from headway.bundle import Bundle, OfflineClient
from headway.bundle.format import Chunk, TaskFile, member
from headway.config import Settings
from headway.wire import ErrorInfo, encode
from headway.wire.bundles import BundleMark
from headway.wire.events import LogChunk
from headway.wire.fleet import TaskSpec
from headway.wire.runs import CheckpointRow
from headway_ops import bundleforking, exporting
from headway_ops.forking import Wish
from headway_ops.redacting import Cleaner, masked
from headway_ops.say import Exit, Fail
from support import bundled as b

if TYPE_CHECKING:
    from pathlib import Path

    from headway.client import Client

ALL = exporting.Wanted(logs=True, state=True, tree=True, secrets=())
PASSWORD = 'correct "horse" battery'
WISH = Wish("last", (), edit=False, edit_payload=False, clear=(), version="", queue="", tags=())


async def exported(data: bytes, wanted: exporting.Wanted = ALL) -> bytes:
    with b.opened(data) as bundle:
        client = cast("Client", OfflineClient(bundle, Settings()))
        file = io.BytesIO()
        await exporting._write(client, b.RUN, file, wanted)  # pyright: ignore[reportPrivateUsage]
        return file.getvalue()


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return {n: z.read(n) for n in z.namelist() if n != "manifest.json"}


async def test_all_of_a_run_comes_along() -> None:
    again = contents(await exported(b.packed()))
    expected = b.members()
    assert set(again) == set(expected)
    same = {n for n in expected if again[n] == expected[n]}
    # Large values are numbered and hashed anew.
    assert {member(b.RUN, "marks.jsonl")} == set(expected) - same
    assert contents(await exported(await exported(b.packed()))) == again


async def test_children_come_with_the_tree_alone() -> None:
    child = b.members(b.CHILD, b.row(b.CHILD, parent=b.RUN))
    data = b.packed(b.members() | child, b.manifest(runs=[b.RUN, b.CHILD]))
    with b.opened(await exported(data)) as bundle:
        assert bundle.runs == [b.RUN, b.CHILD]
    with b.opened(await exported(data, ALL._replace(tree=False))) as bundle:
        assert bundle.runs == [b.RUN]


async def test_what_is_not_wanted_is_not_there_and_the_file_says_so() -> None:
    slim = await exported(b.packed(), ALL._replace(logs=False, state=False))
    names = contents(slim)
    assert not [n for n in names if "logs" in n or "/states/" in n or "/values/" in n]
    with b.opened(slim) as bundle:
        assert bundle.manifest.left_out == ("logs", "state")
        assert all(not bytes(m.value) and m.ref is None for m in bundle.marks(b.RUN))


async def test_no_secret_comes_along_wherever_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_TASK_DB_PASSWORD", PASSWORD)
    token = "ghp_" + "a" * 36
    text = f"{PASSWORD} {token}"
    quoted = encode(text)
    found = b.members(made=b.row(error=ErrorInfo("E", text, text), tags=(text,)))
    at = member(b.RUN, "")
    found[f"{at}task.json"] = encode(TaskFile(TaskSpec("research", secrets=("DB_PASSWORD",))))
    for name in ("payload.json", "result.json", "states/1.json", "values/1.json"):
        found[at + name] = b'{"n":1.50,"a":[' + quoted + b'],"' + token.encode() + b'":1}'
    found[f"{at}marks.jsonl"] = b.lines([
        BundleMark("k", "step", b.T0, value=Raw(quoted), size=len(quoted)),
    ])  # fmt: skip
    lines = [f"login {PASSWORD[:9]}", f"{PASSWORD[9:]} done", token]
    found[f"{at}logs.jsonl"] = b.lines([Chunk(1, Raw(encode(LogChunk(1, lines, b.T0))))])
    data = await exported(b.packed(found))
    for name, body in contents(data).items():
        for part in (token, PASSWORD, PASSWORD.replace('"', '\\"')):
            assert part.encode() not in body, name
    with b.opened(data) as bundle:
        assert bundle.state(b.RUN, 1).startswith(b'{"n":1.50,"a":["[redacted]')
        (_, chunk), *_ = bundle.logs(b.RUN)
        assert chunk.lines == ["login [redacted]", "[redacted] done", "[redacted]"]
        hits = bundle.manifest.redacted
        assert hits[member(b.RUN, "payload.json")] == 2
        assert hits[member(b.RUN, "logs.jsonl")] == 3


def test_secrets_are_read_from_provider_files_and_the_server_s_address(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("A=first-secret\nB='second-secret'\n")
    known = exporting.secrets_in([str(file)], "nats://ann:third-secret@host:4222")
    assert known == ("first-secret", "second-secret", "third-secret")
    bad = tmp_path / "bad.toml"
    bad.write_text("= x")
    with pytest.raises(Fail, match=r"bad\.toml"):
        exporting.secrets_in([str(bad)], "")


def test_a_mask_is_found_where_it_stands() -> None:
    value = {"a": {"b": ["x", "[redacted]"]}, "[redacted]": 1}
    assert list(masked(value, "state")) == ["state.a.b[1]", "state.[redacted]"]


def test_what_is_no_json_text_is_left_alone() -> None:
    cleaner = Cleaner(["a-secret-value"])
    for body in (b"", b"[1e5,true]", b'"\\ud800"', b'"open', b"\xff"):
        assert cleaner.json(body) == body
    assert cleaner.found == 0


async def test_a_hundred_thousand_lines_take_no_more_memory_than_a_thousand() -> None:
    text = "INFO " + "x" * 95
    chunks = [
        Chunk(1, Raw(encode(LogChunk(1 + i * 100, [f"{text}{i}"] * 100, b.T0))))
        for i in range(1000)
    ]
    found = b.members() | {member(b.RUN, "logs.jsonl"): b.lines(chunks)}
    data = b.packed(found)
    del chunks, found

    class Null(io.RawIOBase):
        """A file that keeps nothing."""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            return len(data)

    with b.opened(data) as bundle:
        client = cast("Client", OfflineClient(bundle, Settings()))
        tracemalloc.start()
        try:
            await exporting._write(client, b.RUN, cast("Any", Null()), ALL)  # pyright: ignore[reportPrivateUsage]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8_000_000  # the lines have 10 MB


# --- what a fork of it begins with


def prepared(data: bytes, *, masks: bool = False, **wish: Any) -> Any:
    with b.opened(data) as bundle:
        asked = WISH._replace(**wish)
        patches = bundleforking.forking.patches_of(asked.settings)
        return bundleforking.prepared(bundle, b.RUN, asked, patches, masks=masks)


def test_a_fork_takes_what_was_recorded_before_its_checkpoint() -> None:
    ask, bodies = prepared(b.packed(), start="#1", settings=('state.model="haiku"',))
    assert ask.point.number == 1
    assert msgspec.json.decode(bodies.state) == {"turn": 1, "model": "haiku"}
    assert [m.key for m in ask.marks] == ["ask-0", "large", "mail"]
    assert (ask.edited, ask.root, ask.point.schema) == (("state",), b.RUN, "ab")
    assert bodies.payload == b'{"topic":"tides"}'
    ask, _ = prepared(b.packed(), start="start", clear=("ma*",))
    assert (ask.point, [bytes(m.value) for m in ask.marks]) == (None, [b""])
    assert ask.clear == ("ma*",)


def big(size: int) -> dict[str, bytes]:
    return {member(b.RUN, "states/2.json"): b'"' + b"x" * size + b'"'}


MARK = BundleMark("ask", "step", b.T0, value=Raw(b'"[redacted]"'), size=12)
ROWS = b.lines([CheckpointRow(2, "turn-2", 1, b.T0, 1)])


@pytest.mark.parametrize(
    ("found", "wish", "said"),
    [
        (b.members(made=b.row()) | b.members(made=b.row(ended_at=None)), {"start": "#9"}, "#2"),
        (big(17_000_000), {}, "16,777,216"),
        ({member(b.RUN, "states/2.json"): b'{"key":"[redacted]"}'}, {}, "state.key"),
        ({member(b.RUN, "payload.json"): b'["[redacted]"]'}, {}, "payload[0]"),
        ({member(b.RUN, "marks.jsonl"): b.lines([MARK])}, {}, "'ask' was redacted"),
        ({}, {"start": "start", "settings": ('state.a=1',)}, "no state to edit"),
    ],
)  # fmt: skip
def test_what_cannot_be_forked_is_refused_before_anything_is_sent(
    found: dict[str, bytes], wish: dict[str, Any], said: str
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Fail or Refused, by the words
        prepared(b.packed(b.members() | found), **wish)
    assert said in str(caught.value)


def test_a_run_that_may_still_go_on_is_not_forked() -> None:
    made = b.row(ended_at=None)
    made.status = "running"
    with pytest.raises(Fail, match="was running when it was exported") as caught:
        prepared(b.packed(b.members(made=made)))
    assert caught.value.code is Exit.REFUSED


def test_masks_are_taken_as_they_are_if_somebody_says_so() -> None:
    found = b.members() | {member(b.RUN, "states/2.json"): b'{"key":"[redacted]"}'}
    _, bodies = prepared(b.packed(found), masks=True)
    assert bodies.state == b'{"key":"[redacted]"}'
    _, bodies = prepared(b.packed(found), settings=('state.key="mine"',))
    assert bodies.state == b'{"key":"mine"}'


def test_a_missing_state_or_value_says_how_to_go_on() -> None:
    found = {n: body for n, body in b.members().items() if "/states/" not in n}
    data = b.packed(found, b.manifest(left_out=("state",)))
    with pytest.raises(Fail, match="--no-state") as caught:
        prepared(data)
    assert caught.value.todo == "--from start"
    # The value of a done once mark would be missed too.
    with pytest.raises(Fail, match="mail"):
        prepared(data, start="start")
    assert prepared(data, start="start", clear=("mail",))[0].point is None


def test_another_run_of_a_tree_is_chosen_by_its_id() -> None:
    child = b.members(b.CHILD, b.row(b.CHILD, parent=b.RUN))
    data = b.packed(b.members() | child, b.manifest(runs=[b.RUN, b.CHILD]))
    with Bundle(io.BytesIO(data)) as bundle:
        chosen = bundleforking._chosen  # pyright: ignore[reportPrivateUsage]
        assert chosen(bundle, "") == b.RUN
        assert chosen(bundle, b.CHILD.lower()) == b.CHILD
        with pytest.raises(Fail, match="several"):
            chosen(bundle, b.RUN[:8])
        with pytest.raises(Fail, match="no run"):
            chosen(bundle, "01ZZ")


def test_a_file_that_cannot_be_made_is_refused_before_the_work(tmp_path: Path) -> None:
    for to in (tmp_path, tmp_path / "none" / "x.zip"):
        with pytest.raises(Fail, match=r"-o .*folder") as refused:
            exporting._free(to, force=True)  # pyright: ignore[reportPrivateUsage]
        assert refused.value.code == Exit.USAGE
