"""`headway sites` as it is typed: at a hub, at none, and with nobody there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from support.engines import calling, config_for, running_engine
from support.factories import an_enqueue
from support.islands import islands, quick
from support.live import headway
from support.wait import until

if TYPE_CHECKING:
    import subprocess

TABLE = """\
SITE    LINK    KNOWN AS OF  BEHIND  WAITING  OLDEST
berlin  ● live  # ago        0       -        -
"""
CUT = """\
SITE    LINK         KNOWN AS OF  BEHIND  WAITING  OLDEST
berlin  ◌ cut off #  # ago        0       1        #

STATE    COMMAND  RUN                         TASK     BY     AGE  UNTIL
waiting  cancel   {run}  -     local  #    #
"""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]  # a fixture
    quick(monkeypatch)


def masked(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed, every age and time as #, runs of spaces after them as they are."""
    assert done.returncode == 0, done.stderr
    return re.sub(r"\b(\d+[smhd]|\d\d-\d\d \d\d:\d\d)\b", "#", done.stdout)


def cells(text: str) -> list[list[str]]:
    """Lines as their cells: how wide a column is depends on ages."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


async def test_a_site_is_listed_linked_then_cut_off_with_what_waits_for_it(database: str) -> None:
    async with islands("berlin") as joined:
        config = config_for(joined.hub.url, database, sites=("berlin",))
        url = joined.hub.url
        async with running_engine(config), calling(url) as caller:
            (waits,) = await joined["berlin"].kit.enqueued(an_enqueue(queue="nobody"))

            async def row(key: str) -> Any:
                (found,) = (await caller.api("sites"))["sites"]
                return found.get(key)

            async def up_to_date() -> bool:
                return bool(await row("linked") and await row("seq") and not await row("behind"))

            await until(up_to_date, what="berlin is linked and known")
            one = await headway(url, "sites", "berlin")
            assert cells(masked(one)) == cells(TABLE)
            assert "nothing waits for it" in one.stderr

            said = json.loads((await headway(url, "sites", "--json")).stdout)
            (one,) = said["sites"]
            assert (one["site"], one["linked"], one["seq"] > 0) == ("berlin", True, True)

            none = await headway(url, "sites", "rome")
            assert (none.returncode, none.stdout) == (2, "")
            assert "no site 'rome' at this hub" in none.stderr
            assert "it has berlin" in none.stderr

            joined["berlin"].link.cut()

            async def cut_off() -> bool:
                return not await row("linked")

            await until(cut_off, what="the link is known to be cut")
            sent = await headway(url, "cancel", waits.id)
            assert sent.returncode == 0, sent.stderr
            assert "kept for site berlin" in sent.stdout + sent.stderr
            found = masked(await headway(url, "sites", "berlin"))
            assert cells(found) == cells(CUT.format(run=waits.id))
            said = json.loads((await headway(url, "sites", "berlin", "--json")).stdout)
            assert [(c["verb"], c["run"]) for c in said["commands"]] == [("cancel", waits.id)]
            assert said["sites"][0]["waiting"] == 1
            assert not said["sites"][0].get("linked", False)


async def test_without_a_hub_there_are_no_sites(nats: str, database: str) -> None:
    async with running_engine(config_for(nats, database)):
        plain = await headway(nats, "sites")
        assert (plain.returncode, plain.stdout) == (0, "")
        assert "this is no hub" in plain.stderr
        assert json.loads((await headway(nats, "sites", "--json")).stdout) == {"sites": []}
        assert (await headway(nats, "sites", "no site")).returncode == 2
        named = await headway(nats, "sites", "berlin")
        assert (named.returncode, named.stdout) == (2, "")
        assert "no site 'berlin'" in named.stderr
        assert "this is no hub" in named.stderr


async def test_with_nobody_there_it_says_so() -> None:
    away = await headway("nats://127.0.0.1:1", "sites", HEADWAY_CONNECT_TIMEOUT="0.2")
    assert (away.returncode, away.stdout) == (5, "")
    assert "NATS is not reachable" in away.stderr
