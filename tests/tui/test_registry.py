"""The one table of actions: complete, without clashes, and somebody carries each of them out."""

from __future__ import annotations

import pytest

from headway_ops.commands import table
from headway_tui.actions import ACTIONS, BY_ID, SCREEN_ONLY, Action, footer, named, shown_keys
from headway_tui.app import HeadwayApp
from headway_tui.dialogs import help_text
from headway_tui.keys import BadKeys, Keymap
from headway_tui.screens.dead import DeadScreen
from headway_tui.screens.run import RunScreen
from headway_tui.screens.runs import RunsScreen
from headway_tui.themes import ROLES, contrast
from headway_tui.widgets.dead import Letters, Reviews
from headway_tui.widgets.log_tail import LogTail
from headway_tui.widgets.state_pane import StatePane
from headway_tui.widgets.table import VTable
from headway_tui.widgets.waterfall import Waterfall

DOERS: dict[str, type] = {
    "app": HeadwayApp, "runs": RunsScreen, "run": RunScreen, "table": VTable,
    "timeline": Waterfall, "logs": LogTail, "state": StatePane, "dead": DeadScreen,
    "letters": Letters, "reviews": Reviews,
}  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.id)
def test_an_action_lacks_nothing(action: Action) -> None:
    assert all((action.keys, action.name, action.title, action.help, action.cli, action.where))
    assert action.help.endswith((".", ":"))
    assert action.writes == (action.confirm != "none") == action.title.endswith("…")
    assert not action.writes or action.cli != SCREEN_ONLY
    for place in action.where:
        assert callable(getattr(DOERS[place], f"do_{action.id}", None)), (place, action.id)


def test_nothing_can_be_done_that_the_table_lacks() -> None:
    doable = {n[3:] for kind in DOERS.values() for n in dir(kind) if n.startswith("do_")}
    assert doable == set(BY_ID)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda a: a.id)
def test_the_line_of_an_action_is_a_command(action: Action) -> None:
    if action.cli == SCREEN_ONLY:
        return
    words = action.cli.split()
    known = table()
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
    for action in ACTIONS:
        assert (f":{action.name} " in text) == bool(set(action.where) & set(places))
    assert [a.id for a in footer(places)][:3] == ["replay", "fork", "edit_fork"]
    assert shown_keys(BY_ID["top"]) == "gg home"


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
        "cancel", "resume", "replay", "ack", "fork", "edit_fork", "fork_class", "replay_class",
        "ack_class", "decide_done", "decide_rerun", "decide_fail", "override",
    }  # fmt: skip
    assert all(a.confirm == "sheet" for a in ACTIONS if a.writes)


@pytest.mark.parametrize("name", ROLES)
def test_colours_can_be_read(name: str) -> None:
    roles = ROLES[name]
    for role, color in roles.items():
        if role not in {"back", "panel"}:
            assert contrast(color, roles["back"]) >= 4.5, role
            assert contrast(color, roles["panel"]) >= 4.5, role
