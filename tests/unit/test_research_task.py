"""The research example as a durable task: it survives a crash after every checkpoint."""

from __future__ import annotations

import asyncio
import importlib
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from headway import Done, NotDone

EXAMPLE = Path(__file__).parents[2] / "ops" / "examples" / "research"
QUESTION = "How does heapq keep the smallest item first?"


@pytest.fixture(scope="module")
def example() -> Any:
    """Loads a module of the example as a user's file is loaded: its folder is on the path."""
    sys.path.insert(0, str(EXAMPLE))
    try:
        yield importlib.import_module
    finally:
        sys.path.remove(str(EXAMPLE))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("HEADWAY_REPORT_DIR", raising=False)


def test_a_directory_that_cannot_be_written_falls_back_to_a_temporary_one(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    directory = example("delivery").report_directory
    assert directory(str(tmp_path / "file" / "reports")) == tmp_path / "headway-reports"
    monkeypatch.setenv("HEADWAY_REPORT_DIR", str(tmp_path / "env"))
    assert directory("") == tmp_path / "env"
    assert directory(str(tmp_path / "asked")) == tmp_path / "asked"


def test_the_ledger_tells_whether_a_delivery_happened(
    example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = example("delivery")
    assert delivery.delivered(str(tmp_path), "t-1") is None
    monkeypatch.setattr(delivery, "token", lambda: "t-1")
    first = delivery.deliver(str(tmp_path), "the report")
    again = delivery.deliver(str(tmp_path), "the report")
    assert (first.deliveries, again.deliveries) == (1, 2)
    assert delivery.delivered(str(tmp_path), "t-1") == again
    assert delivery.delivered(str(tmp_path), "t-2") is None
    check = example("agent").was_delivered
    assert check(str(tmp_path), "t-1") == Done(again)
    assert check(str(tmp_path), "t-2") == NotDone()
    assert Path(again.path).read_text() == "the report"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["deliveries.log", Path(again.path).name]
    )


async def test_research_ends_with_a_report_delivered_once(example: Any, tmp_path: Path) -> None:
    from headway import testing

    report: Any = await testing.run(
        example("agent").research, question=QUESTION, report_dir=str(tmp_path)
    )
    assert "heapq" in report.text
    assert report.planner == "planned offline, no model"
    assert report.quotes >= 3
    assert report.delivery.deliveries == 1
    assert report.delivery.sha256 == sha256(report.text.encode()).hexdigest()
    written = await asyncio.to_thread(Path(report.delivery.path).read_text)
    assert written == report.text


async def test_research_gives_the_same_report_after_a_crash_at_every_checkpoint(
    example: Any, tmp_path: Path
) -> None:
    from headway import testing

    crashes: Any = await testing.crash_after_every_checkpoint(
        example("agent").research, question=QUESTION, turns=6, report_dir=str(tmp_path)
    )
    assert crashes.checkpoints == tuple(f"turn-{n}" for n in range(6))
    assert crashes.once == {"deliver-report": 1}
    ledger = (tmp_path / "deliveries.log").read_text().splitlines()
    tokens = [line.split(" ", 1)[0] for line in ledger]
    assert len(tokens) == len(set(tokens)) == 1 + len(crashes.checkpoints)
