from __future__ import annotations

import random

import pytest

from chaos.storm.report import table
from chaos.storm.storm import Setting, storm
from support.servers import open_folder


@pytest.mark.timeout(240)
async def test_nothing_is_lost_or_done_twice_in_a_storm(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    lines: list[str] = []
    with open_folder("storm") as folder:
        verdict = await storm(Setting(seed, runs=480, seconds=50.0), folder, lines.append)
    text = table(verdict)
    with capsys.disabled():
        print(f"\n{text}")  # noqa: T201
    assert verdict.ok, "\n".join([text, *lines])


@pytest.mark.nightly
@pytest.mark.timeout(300)
async def test_at_the_edge_neither(capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    lines: list[str] = []
    kinds = ("engine", "agent", "task", "nats")
    with open_folder("storm") as folder:
        setting = Setting(seed, runs=480, seconds=60.0, kinds=kinds, edge=True)
        verdict = await storm(setting, folder, lines.append)
    text = table(verdict)
    with capsys.disabled():
        print(f"\n{text}")  # noqa: T201
    assert verdict.ok, "\n".join([text, *lines])
