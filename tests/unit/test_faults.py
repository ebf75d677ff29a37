"""Fault points: what the rules say is what happens, and nothing happens unasked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from headway import faults

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults.arm("")


@pytest.mark.parametrize("text", ["", " , "])
def test_nothing_is_armed_by_an_empty_text(text: str) -> None:
    faults.arm("a=error")
    faults.arm(text)
    assert not faults.armed
    faults.here("a")


@pytest.mark.parametrize(
    "text", ["a", "=crash", "a=explode", "a=delay:x", "a=error@x", "a=error@-1", "a=delay:-1"]
)
def test_a_rule_that_does_not_read_is_refused_and_changes_nothing(text: str) -> None:
    faults.arm("kept=error")
    with pytest.raises(faults.BadFault, match="POINT=ACTION"):
        faults.arm(f"b=error,{text}")
    with pytest.raises(faults.InjectedFault):
        faults.here("kept")
    faults.here("b")


async def test_the_third_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_FAULTS_SEEN", str(tmp_path / "seen"))
    faults.arm("engine.*=error@3")
    await faults.point("engine.a")
    await faults.point("agent.a")
    await faults.point("engine.b")
    with pytest.raises(faults.InjectedFault, match=r"engine\.c"):
        await faults.point("engine.c")
    await faults.point("engine.d")
    assert (tmp_path / "seen").read_text().split()[:2] == ["engine.c", "error"]


async def test_a_hang_never_returns_and_a_delay_does() -> None:
    faults.arm("h=hang,d=delay:0.001")
    await faults.point("d")
    hanging = asyncio.ensure_future(faults.point("h"))
    await asyncio.sleep(0)
    assert not hanging.done()
    hanging.cancel()


def test_a_crash_is_a_kill_with_no_cleanup() -> None:
    code = (
        "import atexit\nfrom headway import faults\natexit.register(print, 'x')\nfaults.here('p')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"HEADWAY_FAULTS": "p=crash"}, capture_output=True
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
