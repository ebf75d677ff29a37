"""Commands of one's own, and runs as JSON lines into a command of the shell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from headway_tui.actions import ACTIONS
from headway_tui.aliases import BadAliases, commands, read
from headway_tui.piping import KEPT, pipe
from headway_tui.screens.runs import RunsScreen
from headway_tui.sheets import Facts
from support.consoles import console, rows, show
from support.screens import text_of
from support.wait import until

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [a.name for a in ACTIONS]


def test_an_alias_is_one_or_several_commands_and_what_is_typed_after_it_is_added() -> None:
    found = read(
        '[aliases]\nfails = "runs status:failed"\ntidy = [":runs *", "sort oldest"]\n'
        "names = \"!jq .task\"\n", NAMES,
    )  # fmt: skip
    assert commands(found, "fails", "since:2h") == ("runs status:failed since:2h",)
    assert commands(found, "tidy", "") == ("runs *", "sort oldest")
    assert commands(found, "names", "") == ("!jq .task",)
    assert read("", NAMES) == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[aliases", "no TOML"), ("[alias]", "there is: [aliases]"), ("aliases = 1", "is a table"),
        ('[aliases]\nruns = "cancel"', "is a command already"),
        ('[aliases]\n"a b" = "cancel"', "is no name"),
        ('[aliases]\nx = "nothing at all"', "no command 'nothing'"),
        ("[aliases]\nx = []", "a list of 1 to 20"), ("[aliases]\nx = [1]", "is no command"),
        ('[aliases]\ny = "runs"\nx = "y"', "no command 'y'"),
    ],
)  # fmt: skip
def test_a_bad_alias_is_refused_by_its_name(text: str, says: str) -> None:
    with pytest.raises(BadAliases) as caught:
        read(text, NAMES)
    assert says in str(caught.value)


async def test_an_alias_is_typed_like_a_command() -> None:
    own = {"fails": ("runs status:failed",), "tidy": ("theme headway-mono", "runs task:x")}
    async with console(aliases=own) as (app, pilot):
        await pilot.press("colon", *"fai")
        await show(app, pilot)
        assert "fails" in text_of(app)
        await pilot.press("tab", *"since:2h", "enter")
        await pilot.pause()
        assert isinstance(app.screen, RunsScreen)
        assert app.screen.filter_text == "status:failed since:2h"
        await pilot.press("colon", *"tidy", "enter")
        await pilot.pause()
        assert (app.theme, app.screen.filter_text) == ("headway-mono", "task:x")
        assert app.memory.history == ["fails since:2h", "tidy"]


async def test_marked_runs_are_piped_and_what_the_command_says_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "seen"
    async with console() as (app, pilot):
        await pilot.press("space", "space")
        app.pane_screen.run_command(f"!tee {file}; printf 'two\\033[2Jlines\\n'; exit 3")
        await until(lambda: isinstance(app.screen, Facts), 10, what="what it said")
        await pilot.pause()
        text = text_of(app)
        assert "two\\x1b[2Jlines" in text
        assert "(ended with 3)" in text
        await pilot.press("escape")
    seen = [json.loads(line) for line in file.read_text().splitlines()]
    assert [s["run"] for s in seen] == [r.run for r in rows()[:2]]


async def test_nothing_runs_here_for_who_sits_elsewhere(tmp_path: Path) -> None:
    file = tmp_path / "made"
    async with console(shell=False) as (app, pilot):
        await pilot.press("colon", *f"!touch {file}", "enter")
        await show(app, pilot)
        assert "in a browser" in text_of(app)
    assert not file.exists()


async def test_a_command_that_takes_long_says_too_much_or_reads_nothing_holds_nobody_up() -> None:
    said = await pipe("sleep 60 & sleep 60", b"", patience=0.2)
    assert said.code is None
    said = await pipe(f"head -c {KEPT + 1} /dev/zero", b"")
    assert (len(said.text), said.cut, said.code) == (KEPT, True, 0)
    assert (await pipe("true", b"x" * 1_000_000)).code == 0
