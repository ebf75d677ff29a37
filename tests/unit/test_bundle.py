"""Run bundles: what is written is read, and what a stranger wrote is refused in words."""

from __future__ import annotations

import io
import random
import stat
import zipfile
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headway.bundle import BadBundle, Bundle, BundleWriter, OfflineClient
from headway.bundle.format import MANIFEST, member
from headway.bundle.writer import Full
from headway.config import Settings
from headway.errors import HeadwayError, Refused
from headway.follow import follow_events, follow_logs
from headway.wire import ErrorInfo, encode
from headway.wire.runs import RunAsk, RunsPage, RunsQuery, StateAnswer, StateAsk
from headway_ops import say, story
from support import bundled as b

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = b.packed()


def client(data: bytes = GOOD) -> Any:
    return OfflineClient(b.opened(data), Settings())


def rezipped(change: Callable[[dict[str, bytes]], None], *, hashed: bool = False) -> bytes:
    """The good bundle with other members; `hashed`: its manifest knows of them."""
    found = {**b.members()}
    if hashed:
        change(found)
        return b.packed(found)
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old:
        found = {i.filename: old.read(i) for i in old.infolist()}
    change(found)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, body in found.items():
            new.writestr(name, body)
    return file.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(BadBundle) as caught:
        b.used(b.opened(data))
    return str(caught.value)


def test_all_that_is_written_is_read() -> None:
    with b.opened(GOOD) as bundle:
        assert bundle.runs == [b.RUN]
        assert list(bundle.events(b.RUN)) == b.events()
        assert [c.number for c in bundle.checkpoints(b.RUN)] == [1, 2]
        assert bundle.state(b.RUN, 2) == b'{"turn":2,"model":"sonnet"}'
        values = {m.key: bundle.value(b.RUN, m) for m in bundle.marks(b.RUN)}
        assert values["large"] == b'{"hits":5}'
        assert next(chunk.lines for _, chunk in bundle.logs(b.RUN)) == ["INFO one"]
        assert bundle.run(b.RUN).row == b.row()
        assert bundle.manifest.by == "ana@edge"


def test_the_same_run_makes_the_same_file_which_others_can_read() -> None:
    assert b.packed() == GOOD
    with zipfile.ZipFile(io.BytesIO(GOOD)) as other:
        assert other.testzip() is None
        assert other.namelist()[-1] == MANIFEST
        assert all(not stat.S_ISLNK(i.external_attr >> 16) for i in other.infolist())


def test_a_sink_takes_no_more_than_a_reader_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.bundle.writer.WHOLE_LIMIT", 100)
    writer = BundleWriter(io.BytesIO())
    writer.add(member(b.RUN, "payload.json"), b"x" * 60)
    with pytest.raises(Full, match="--no-logs"):
        writer.add(member(b.RUN, "result.json"), b"x" * 60)
    writer.abandon()


async def test_the_api_s_reading_verbs_are_answered_from_the_file() -> None:
    c = client()
    detail = await c.run(b.RUN[:8])
    assert detail.row.status == "failed"
    assert [m.key for m in detail.marks] == ["ask-0", "ask-2", "large", "mail"]
    assert bytes(detail.payload) == b'{"topic":"tides"}'
    ask = RunsQuery(query="status:failed task:res* error:rate")
    assert len((await c.api("runs", ask, RunsPage)).runs) == 1
    none = RunsQuery(query="status:succeeded")
    assert (await c.api("runs", none, RunsPage)).runs == []
    assert (await c.state(b.RUN))[1] == b'{"turn":2,"model":"sonnet"}'
    assert (await c.state(b.RUN, 1))[0].name == "turn-1"
    page = await c.api("events", RunAsk(b.RUN, after=7, n=1), list[Any])
    assert [e.n for e in page] == [8]


async def test_a_run_is_followed_to_its_end_from_the_file() -> None:
    c = client()
    assert [e.n async for e in follow_events(c, b.RUN, 0)] == list(range(1, 10))
    told = [(log.epoch, log.chunk.lines, log.missing) async for log in follow_logs(c, b.RUN)]
    assert told == [(1, ["INFO one"], 0), (2, ["INFO two", "\x1b[2Jx"], 0)]


async def test_nothing_can_be_changed() -> None:
    for verb in ("cancel", "resume", "fork", "queue-set", "_run", "close"):
        with pytest.raises(Refused, match="offline bundle"):
            await client().api(verb, RunAsk(b.RUN), Any)


async def test_a_state_that_was_left_out_says_so() -> None:
    found = {n: body for n, body in b.members().items() if "/states/" not in n}
    c = client(b.packed(found, b.manifest(left_out=("state",))))
    with pytest.raises(Refused, match="--no-state"):
        await c.api("state", StateAsk(b.RUN), StateAnswer)


EVENT = member(b.RUN, "events.jsonl")


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("../../etc/passwd", b"x", "none of a bundle's"),
        ("/etc/passwd", b"x", "none of a bundle's"),
        ("runs\\..\\x.json", b"x", "none of a bundle's"),
        (member(b.RUN, "states/../../x.json"), b"x", "none of a bundle's"),
        (member(b.RUN, "states/3.json"), b"{}", "differ"),
        (EVENT, b"", "damaged"),
    ],
)
def test_members_that_the_manifest_does_not_know_are_refused(
    name: str, body: bytes, why: str
) -> None:
    assert why in refusal(rezipped(lambda found: found.update({name: body})))


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("events.jsonl", b'{"n":1}\n', "events.jsonl"),
        ("events.jsonl", b"[" * 9_000_000, "longer than"),
        ("events.jsonl", b"[" * 3000, "nested deeper"),
        ("events.jsonl", b.lines([*b.events(), *b.events()]), "do not rise"),
        ("events.jsonl", b.lines(b.events()).replace(b"2026-", b"0001-"), "the year 1"),
        ("events.jsonl", b"\xff\xfe\n", "not UTF-8"),
        ("payload.json", b"{", "payload.json"),
        ("states/2.json", b'{"a":' * 600 + b"1" + b"}" * 600, "nested deeper"),
        ("states/2.json", b'"\\ud800"', "states/2.json"),
        ("run.json", b"{}", "run.json"),
        ("run.json", encode({"row": b.row(b.CHILD), "root": b.RUN}), "another run"),
        ("run.json", encode({"row": b.row(n=2**63), "root": b.RUN}), "a number"),
        ("checkpoints.jsonl", b'{"number":-1,"name":"x","size":1,"at":"2026-01-01T00:00:00Z",'
         b'"epoch":1}\n', "no checkpoint has"),
        ("marks.jsonl", b'{"key":"\\u0000","kind":"step","at":"2026-01-01T00:00:00Z"}\n', "NUL"),
        ("marks.jsonl", b'{"key":"k","kind":"step","at":"2026-01-01T00:00:00Z","ref":{"key":'
         b'"../../x","size":1,"sha256":""}}\n', "no value of a bundle"),
        ("logs.jsonl", b'{"epoch":1,"chunk":{"first":"x"}}\n', "logs.jsonl"),
    ],
)  # fmt: skip
def test_bodies_that_are_not_what_they_should_be_are_refused(
    name: str, body: bytes, why: str
) -> None:
    data = rezipped(lambda found: found.update({member(b.RUN, name): body}), hashed=True)
    assert why in refusal(data)


def test_bombs_are_refused_before_they_go_off() -> None:
    large = member(b.RUN, "usage.jsonl")
    bomb = rezipped(lambda found: found.update({large: b"\0" * 40_000_000}))
    assert len(bomb) < 100_000
    assert "at most" in refusal(bomb)
    # One that lies about its size gives no more than it announced.
    lie = bomb.replace((40_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    assert "usage.jsonl" in refusal(lie)


def test_a_table_of_contents_that_would_fill_the_memory_is_not_read() -> None:
    end = GOOD.rfind(b"PK\x05\x06")
    for at, size in ((end + 10, 2), (end + 12, 4)):
        data = GOOD[:at] + b"\xff" * size + GOOD[at + size :]
        assert "table of contents" in refusal(data)


def test_a_newer_format_asks_for_a_newer_headway() -> None:
    assert "format 2" in refusal(b.packed(made=msgspec.structs.replace(b.manifest(), version=2)))


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x05\x06", b"\x1f\x8b" + b"\0" * 100, GOOD[:-30]])
def test_what_is_no_bundle_is_called_so(data: bytes) -> None:
    assert "ZIP" in refusal(data)


def test_another_zip_file_is_none() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("hello.txt", "x")
    assert "none of a bundle" in refusal(file.getvalue())
    file = io.BytesIO()
    zipfile.ZipFile(file, "w").close()
    assert "manifest.json" in refusal(file.getvalue())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.integers(1, 8), st.booleans())
def test_a_wounded_file_is_read_as_it_was_or_refused(seed: int, wounds: int, cut: bool) -> None:
    chance = random.Random(seed)
    data = bytearray(GOOD)
    for _ in range(wounds):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if cut:
        del data[chance.randrange(len(data)) :]
    try:
        rows = b.used(b.opened(bytes(data)))
    except BadBundle:
        return
    assert rows == b.used(b.opened(GOOD))


NAMES = [n for n in b.members() if n.endswith((".json", ".jsonl"))]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_value_anywhere_is_shown_or_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    found = b.members()
    parts = found[name].splitlines()
    line = data.draw(st.integers(0, len(parts) - 1))
    value: Any = msgspec.json.decode(parts[line])
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        whole = cast("dict[str, Any]", value)
        whole[data.draw(st.sampled_from(sorted(whole)))] = data.draw(JSON)
    else:
        value = data.draw(JSON)
    try:
        parts[line] = msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError):
        return
    found[name] = b"\n".join(parts) + b"\n"
    try:
        bundle = b.opened(b.packed(found))
        b.used(bundle)
        detail = OfflineClient(bundle, Settings())._run(RunAsk(b.RUN))  # pyright: ignore[reportPrivateUsage]
        say.console().render_lines(story.story(detail, b.T0))
    except BadBundle:
        return


def test_hostile_text_reaches_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]52;c;eA==\x07\u202e\x9b31m"
    made = b.row(tags=(hostile,), error=ErrorInfo(hostile, hostile, hostile))
    made.task = made.queue = made.agent = made.reason = hostile
    data = b.packed(b.members(made=made), b.manifest(by=hostile, server=hostile, notes=[hostile]))
    from headway_ops import opening

    bundle = b.opened(data)
    opening._print(bundle, "", logs=False, as_json=False)  # pyright: ignore[reportPrivateUsage]
    bundle = b.opened(data)
    opening._print(bundle, "", logs=True, as_json=False)  # pyright: ignore[reportPrivateUsage]
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(text)


def test_a_file_that_is_not_there_says_so(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError):
        Bundle.open(tmp_path / "none")
    bad = tmp_path / "bad.zip"
    bad.write_bytes(b"no")
    with pytest.raises(HeadwayError, match=r"/bad\.zip: .*no ZIP"):
        Bundle.open(bad)
