"""The one table of actions: complete, without clashes, and somebody carries each of them out."""

from __future__ import annotations

import os
from inspect import signature
from pathlib import Path

import pytest

from headway_ops.commands import TABLE
from headway_tui.actions import (
    ACTIONS,
    BY_ID,
    RESERVED,
    SCREEN_ONLY,
    Action,
    fitting,
    footer,
    named,
    reference,
    shown_keys,
)
from headway_tui.app import HeadwayApp
from headway_tui.dialogs import help_text
from headway_tui.keys import BadKeys, Keymap, remapped
from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.metrics import MetricsScreen
from headway_tui.screens.queues import QueuesScreen
from headway_tui.screens.replay import ReplayScreen
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES, contrast
from headway_tui.widgets.dead import Letters, Reviews
from headway_tui.widgets.log_tail import LogTail
from headway_tui.widgets.replays import Form, ItemsTable, JobsTable, Sides, WordLines
from headway_tui.widgets.state_pane import StatePane
from headway_tui.widgets.table import VTable
from headway_tui.widgets.told import Told
from headway_tui.widgets.waterfall import Waterfall

HEAD = """# Keys of `headway tui`

Made from the table of actions (`headway_tui/actions.py`); `headway tui --keys` prints what is in
force on your machine, `?` shows it. Other keys: `$XDG_CONFIG_HOME/headway/keys.toml` (usually
`~/.config/headway/keys.toml`), a table `[keys]` from ids to keys, such as `cancel = "K"` or
`top = ["g g", "home"]`. Two actions on one key are refused at the start, with both names.

"""
DOERS: dict[str, type] = {
    "app": HeadwayApp, "runs": RunsScreen, "run": RunScreen, "table": VTable,
    "timeline": Waterfall, "logs": LogTail, "state": StatePane, "replay": ReplayScreen,
    "draft": Form, "plan": WordLines, "jobs": JobsTable, "items": ItemsTable, "compare": Sides,
    "attempts": Told, "info": Told,
    "dead": DeadScreen, "letters": Letters, "reviews": Reviews, "queues": QueuesScreen,
    "agents": QueuesScreen, "metrics": MetricsScreen,
}  # fmt: skip
SCREENS: dict[str, type] = dict.fromkeys(("draft", "jobs", "items", "compare"), ReplayScreen)
"""Panes for which their screen acts."""


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.id)
def test_an_action_lacks_nothing(action: Action) -> None:
    assert all((action.name, action.title, action.help, action.cli, action.where))
    assert action.keys or action.takes or action.id in {"version", "review"}
    assert action.help.endswith((".", ":"))
    assert action.writes == (action.confirm != "none") == action.title.endswith("…")
    assert not action.writes or action.cli != SCREEN_ONLY
    for place in action.where:
        doers = (DOERS[place], SCREENS.get(place, DOERS[place]))
        methods = [m for d in doers if callable(m := getattr(d, f"do_{action.id}", None))]
        assert methods, (place, action.id)
        takes = [p for p in signature(methods[0]).parameters if p != "self"]
        assert bool(takes) == bool(action.takes)


def test_nothing_can_be_done_that_the_table_lacks() -> None:
    doable = {n[3:] for kind in DOERS.values() for n in dir(kind) if n.startswith("do_")}
    assert doable == set(BY_ID)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.id)
def test_the_line_of_an_action_is_a_command(action: Action) -> None:
    if action.cli == SCREEN_ONLY:
        return
    words = action.cli.split()
    known = TABLE
    assert words[0] == "headway"
    assert words[1] in known or " ".join(words[1:3]) in known


def test_names_are_unique_where_they_are_typed() -> None:
    for place in DOERS:
        names = [a.name for a in ACTIONS if place in a.where or "app" in a.where]
        assert len(set(names)) == len(names)
    assert named("canc", ("runs", "app")) is BY_ID["cancel"]
    assert named("nothing", ("runs", "app")) is None


def test_help_and_footer_come_from_the_table() -> None:
    places = ("logs", "run", "app")
    text = help_text(places).plain
    here = {action.name for action in ACTIONS if set(action.where) & set(places)}
    for action in ACTIONS:
        assert (f":{action.name} " in text) == (action.name in here)
    assert [a.id for a in footer(places)][:3] == ["replay", "fork", "edit_fork"]
    assert shown_keys(BY_ID["top"]) == "gg home"


@pytest.mark.parametrize(
    ("places", "has"),
    [
        (("table", "runs", "app"), "open mark replay cancel filter back command help"),
        (("timeline", "run", "app"), "replay fork edit_fork resume cancel back command help"),
        (("draft", "replay", "app"), "edit_field start_plan dry_run edit_script back command help"),
        (("items", "replay", "app"), "approve hold stop_job open_fork back command help"),
        (("reviews", "dead", "app"), "decide_done decide_rerun decide_fail override help"),
        (("queues", "app"), "pause limit its_runs sort_rows back command help"),
    ],
)
def test_the_keys_that_matter_most_fit_a_narrow_screen(places: tuple[str, ...], has: str) -> None:
    shown = footer(places)
    sizes = [(a.id, len(shown_keys(a).split(" ")[0]) + len(a.title) + 3) for a in shown]
    fits = fitting(sizes, 81)
    assert sum(sizes[i][1] for i in fits) <= 81
    assert fits == sorted(fits)
    assert set(has.split()) <= {shown[i].id for i in fits}


def test_chords_wait_and_can_be_dropped() -> None:
    keys = Keymap()
    first = keys.press((), "y", ("runs", "app"))
    assert (first.action, first.chord) == (None, "y")
    assert ("e", BY_ID["copy_error"]) in first.then
    assert keys.press(("y",), "e", ("runs", "app")).action is BY_ID["copy_error"]
    assert keys.press(("y",), "x", ("runs", "app")) == (None, "", ())
    assert keys.press((), "slash", ("logs", "run", "app")).action is BY_ID["search"]


def test_two_actions_on_one_key_are_refused_by_name() -> None:
    other = Action("other", ("g",), "other", "other", "Other.", "-", ("table",))
    with pytest.raises(BadKeys, match="in table: top has 'g g', other has 'g'"):
        Keymap([*ACTIONS, other])


def test_no_letter_alone_changes_anything_without_a_sheet() -> None:
    assert {a.id for a in ACTIONS if a.writes} == {
        "cancel", "resume", "replay", "start_plan", "approve", "hold", "stop_job", "ack",
        "fork", "edit_fork", "fork_class", "replay_class", "ack_class", "decide_done",
        "decide_rerun", "decide_fail", "override", "pause", "limit", "drain", "tag",
    }  # fmt: skip
    assert all(a.confirm == "sheet" for a in ACTIONS if a.writes)


@pytest.mark.parametrize("name", ROLES)
def test_colours_can_be_read(name: str) -> None:
    roles = ROLES[name]
    for role, color in roles.items():
        if role not in {"back", "panel"}:
            assert contrast(color, roles["back"]) >= 4.5, role
            assert contrast(color, roles["panel"]) >= 4.5, role


def test_own_keys_are_in_force_everywhere() -> None:
    actions = remapped('[keys]\ncancel = "K"\ntop = ["g t", "ctrl+t"]\npreview = []\n')
    have = {a.id: a for a in actions}
    keys = Keymap(actions)
    assert keys.press((), "K", ("runs", "app")).action is have["cancel"]
    assert keys.press((), "c", ("runs", "app")).action is None
    assert keys.press(("g",), "t", ("table",)).action is have["top"]
    assert keys.press((), "p", ("runs",)).action is None
    text = help_text(("runs", "table", "app"), actions).plain
    assert "K                :cancel" in text
    assert ":preview " in text
    assert "| `gt` `ctrl+t` | `top` |" in reference(actions)
    assert [k.id for k in remapped("") if k not in ACTIONS] == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[keys]\ncancel = "r"', "in runs: .*cancel has 'r'.*replay has 'r'.*another key"),
        ('[keys]\nzoom_in = "z"', "in timeline: .*fold has 'z z'.*zoom_in has 'z'"),
        ('[keys]\ncancle = "X"', "no action 'cancle'; did you mean 'cancel'"),
        ('[keys]\ncancel = "j"', "cancel: 'j' is reserved"),
        ('[keys]\ncancel = "space c"', "cancel: 'space c' is reserved"),
        ("[keys]\ncancel = 3", "cancel: a key such as"),
        ("[colours]\n", "'colours' is unknown"),
        ("keys = 1", "a table"),
        ("[keys", "no TOML"),
    ],
)
def test_a_bad_table_of_keys_is_refused_with_what_is_wrong(text: str, why: str) -> None:
    with pytest.raises(BadKeys, match=why):
        remapped(text)


def test_reserved_keys_move_find_and_leave_everywhere() -> None:
    """No screen gives them another sense: each belongs to one name, or to those that it lists."""
    meant: dict[str, set[str]] = {}
    for action in ACTIONS:
        for key in action.keys:
            if key in RESERVED:
                meant.setdefault(key, set()).add(action.id)
    assert meant["j"] == {"down"}
    assert meant["k"] == {"up"}
    assert meant["q"] == meant["escape"] == {"back"}
    assert meant["/"] == {"filter", "search"}


def test_the_page_of_keys_is_what_the_table_says() -> None:
    """`WRITE_GOLDEN=1` writes it."""
    file = Path(__file__).parents[2] / "tui" / "KEYS.md"
    if os.environ.get("WRITE_GOLDEN"):
        file.write_text(HEAD + reference())
    assert file.read_text() == HEAD + reference()
