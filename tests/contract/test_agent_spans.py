"""Spans of real runners on their way to SPANS: whose they are, in which trace, and what is lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from headway.ids import number_of
from headway.wire import rpc
from headway.wire.reports import AttemptFailed, Finished
from headway.wire.saves import ModelUsage, SaveCheckpoint, SaveUsage
from support import traced_tasks
from support.agentrig import Rig, first, rigged
from support.fakelink import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headway.wire.events import Span

PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with rigged() as made:
        shutil.copy(traced_tasks.__file__, made.folder / "src" / "hwtraced.py")
        made.engine.version = rpc.VersionInfo(
            "v1", modules=("hwtasks", "hwtraced"), source=str(made.folder / "src")
        )
        yield made


def spans_of(rig: Rig, run: str) -> dict[str, Span]:
    """By name."""
    return {s.name: s for r, _, chunk in rig.engine.spans if r == run for s in chunk.spans}


async def test_a_library_s_spans_hang_under_the_verbs_and_the_enqueue(rig: Rig) -> None:
    await rig.agent()
    run = rig.engine.add("traced", {"secret": "AKIAIOSFODNN7EXAMPLE"})
    rig.engine.runs[run].trace = PARENT
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    await until(lambda: "attempt traced" in spans_of(rig, run))
    found = spans_of(rig, run)
    assert found.keys() == {
        "attempt traced", "outer", "step('fetch')", "once('send')", "GET /x", "checkpoint",
    }  # fmt: skip
    assert {s.trace for s in found.values()} == {PARENT.split("-")[1]}
    assert bytes(done.result).decode() == f'"{PARENT.split("-")[1]}"'
    parents = {name: s.parent for name, s in found.items()}
    assert parents["attempt traced"] == PARENT.split("-")[2]
    assert parents["outer"] == parents["checkpoint"] == found["attempt traced"].span
    assert parents["step('fetch')"] == parents["once('send')"] == found["outer"].span
    assert parents["GET /x"] == found["once('send')"].span
    assert (found["GET /x"].kind, found["GET /x"].scope) == ("client", "a-library")
    assert found["attempt traced"].attributes["headway.run"] == run
    numbers = [c.first for r, _, c in rig.engine.spans if r == run]
    assert numbers[0] == 1
    assert (done.spans_lost, done.lines_lost) == (0, 0)


async def test_secrets_are_masked_in_attributes_and_events(rig: Rig) -> None:
    await rig.agent()
    run = rig.engine.add("traced", {"secret": "AKIAIOSFODNN7EXAMPLE"})
    await until(lambda: "attempt traced" in spans_of(rig, run))
    outer = spans_of(rig, run)["outer"]
    assert "AKIA" not in str(outer.attributes)
    assert "AKIA" not in str(outer.events)
    assert outer.attributes.keys() == {"token"}


async def test_without_a_trace_the_attempts_of_a_run_share_that_of_its_id(rig: Rig) -> None:
    await rig.agent()
    run = rig.engine.add("breaks", {})
    await until(lambda: first(rig.engine.of(run, AttemptFailed)))
    rig.engine.again(run)
    await until(lambda: len(rig.engine.of(run, AttemptFailed)) == 2)

    def both() -> list[Span]:
        found = [s for r, _, c in rig.engine.spans for s in c.spans if r == run]
        told = [s for s in found if s.name == "attempt breaks"]
        return told if len(told) == 2 else []

    one, two = await until(both)
    assert one.trace == two.trace == f"{number_of(run):032x}"
    assert one.parent == two.parent
    assert (one.status, one.message) == ("error", "ValueError: no good")
    assert spans_of(rig, run)["step('bad')"].status == "error"
    assert {e for r, e, _ in rig.engine.spans if r == run} == {1, 2}


async def test_a_flood_of_spans_is_cut_and_its_numbers_show_the_gap(rig: Rig) -> None:
    agent = await rig.agent()
    run = rig.engine.add("floods", {"count": 6000}, isolation="shared")
    done = await until(lambda: first(rig.engine.of(run, Finished)))
    assert isinstance(done, Finished)
    assert done.spans_lost > 0
    # The attempt's own span comes last, after the flood: it may be dropped, like any other.
    again = rig.engine.add("floods", {"count": 1}, isolation="shared")
    await until(lambda: first(rig.engine.of(again, Finished)))
    chunks = [c for r, _, c in rig.engine.spans if r == run]
    taken = sum(len(c.spans) for c in chunks)
    assert 1000 < taken < 5000
    assert chunks[0].first == 1
    assert agent.attempts.spans.taken >= taken


async def test_a_task_without_opentelemetry_says_nothing(rig: Rig) -> None:
    rig.engine.version = rpc.VersionInfo("v2", modules=("hwtasks",), source=str(rig.folder / "src"))
    await rig.agent()
    run = rig.engine.add("steps", {})
    await until(lambda: first(rig.engine.of(run, Finished)))
    assert rig.engine.spans == []


async def test_what_an_instrumented_client_uses_is_recorded_with_the_next_save(rig: Rig) -> None:
    await rig.agent()
    run = rig.engine.add("asks", {})
    await until(lambda: first(rig.engine.of(run, Finished)))
    saves = [s for s in rig.engine.saves if s.run == run]
    assert [type(s) for s in saves] == [SaveUsage, SaveCheckpoint]
    assert saves[0].used == [ModelUsage("m", 40, 2)]
