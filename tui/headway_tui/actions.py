"""The one table of what can be done: keys, `:` names, help, palette and CLI lines come from it.

An action is carried out by the method `do_<id>` of the focused pane, its screen, or the app:
whichever has it first. Pure: no Textual here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCREEN_ONLY = "-"
"""In `cli`: it changes nothing but this screen, so there is no line for it."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do."""

    id: str
    keys: tuple[str, ...]
    """As written; the keys of a chord are separated by a space."""
    name: str
    """After `:`."""
    title: str
    """For the footer: one or two words; `…` = a sheet asks first."""
    help: str
    cli: str
    """The same from a shell; `{run}` is the run meant."""
    where: tuple[str, ...]
    """Places: app, runs, run, dead, table, timeline, logs, state, letters, reviews."""
    writes: bool = False
    confirm: Literal["none", "sheet"] = "none"
    footer: int = 0
    """Its place among the keys at the bottom; 0 = not there."""


def _view(
    id_: str, keys: str, name: str, title: str, help_: str, *where: str, footer: int = 0
) -> Action:
    """An action that changes only what is seen; keys are separated by `, `."""
    return Action(
        id_, tuple(keys.split(", ")), name, title, help_, SCREEN_ONLY, where, footer=footer
    )


_LISTS = ("table", "timeline", "logs", "state", "letters", "reviews")

ACTIONS: tuple[Action, ...] = (
    # --- moving
    _view("down", "j, down", "down", "down", "Down a row.", *_LISTS),
    _view("up", "k, up", "up", "up", "Up a row.", *_LISTS),
    _view("top", "g g, home", "top", "top", "To the first row; in the list new runs are taken in.",
          *_LISTS),
    _view("bottom", "G, end", "bottom", "bottom", "To the last row; logs follow again.", *_LISTS),
    _view("half_down", "ctrl+d", "half-down", "half down", "Down half a page.", *_LISTS),
    _view("half_up", "ctrl+u", "half-up", "half up", "Up half a page.", *_LISTS),
    _view("page_down", "pagedown, ctrl+f", "page-down", "page down", "Down a page.", *_LISTS),
    _view("page_up", "pageup, ctrl+b", "page-up", "page up", "Up a page.", *_LISTS),
    _view("side_left", "shift+left", "left", "left", "Sideways to the left.", *_LISTS),
    _view("side_right", "shift+right", "right", "right", "Sideways to the right.", *_LISTS),
    # --- going
    Action("go_dead", ("4",), "dead", "Dead",
           "Dead letters by class, and runs that wait for a person.", "headway dead", ("app",)),
    _view("back", "escape, q", "back", "back", "Back to the screen before; at the first one: quit.",
          "app", footer=90),
    _view("quit", "ctrl+q", "q", "quit", "Quit.", "app"),
    _view("next_pane", "tab", "pane", "pane", "To the next pane.", "run", "dead", footer=60),
    _view("last_pane", "shift+tab", "pane-back", "pane back", "To the pane before.", "run",
          "dead"),
    _view("zoom_pane", "Z", "zoom-pane", "zoom pane", "The pane alone, or all again.", "run",
          "dead", footer=65),
    _view("palette", "ctrl+p", "palette", "palette", "All commands, to be searched.", "app"),
    _view("command", ":", "command", "cmd", "Type a command.", "app", footer=95),
    _view("help", "?, f1", "help", "help", "What the keys do here.", "app", footer=99),
    _view("reconnect", "ctrl+r", "refresh", "refresh", "Read everything again, now.", "app"),
    _view("theme", "f2", "theme", "theme", "The next theme; `:theme NAME` a certain one.", "app"),
    # --- finding
    _view("filter", "/", "filter", "filter", "Filter the list: words, status: task: queue: tag:"
          " since: until:", "runs", footer=50),
    _view("search", "/", "search", "search", "Find in the output: a text, or /an expression/.",
          "run", footer=50),
    _view("next_hit", "n", "next", "next", "The next hit; in a timeline the next failure.",
          "logs", "timeline"),
    _view("last_hit", "N", "previous", "previous", "The hit or failure before.",
          "logs", "timeline"),
    # --- runs
    Action("open", ("enter",), "run", "open", "The run under the cursor.", "headway show {run}",
           ("runs",), footer=10),
    _view("preview", "p", "preview", "preview", "Show or hide the preview.", "runs"),
    _view("mark", "space", "mark", "mark", "Mark the run, or take the mark off.", "runs",
          footer=20),
    _view("mark_all", "*", "mark-all", "mark all", "Mark all runs of the list.", "runs"),
    _view("unmark", "u", "unmark", "clear marks", "Take all marks off.", "runs"),
    _view("same_error", "E", "same-error", "same error", "Only runs with the same error.", "runs"),
    _view("next_run", "}", "next-run", "next run", "The next run of the list.", "run"),
    _view("last_run", "{", "previous-run", "previous run", "The run before, of the list.", "run"),
    Action("cancel", ("c",), "cancel", "cancel…", "Cancel: final, running code is stopped.",
           "headway cancel {run}", ("runs", "run", "reviews"), writes=True, confirm="sheet",
           footer=40),
    Action("resume", ("R",), "resume", "resume…",
           "Same run, next attempt, now: skips a backoff, or decides a review.",
           "headway resume {run}", ("runs", "run", "reviews"), writes=True, confirm="sheet",
           footer=35),
    Action("replay", ("r",), "replay", "replay…",
           "A new run from the start with the same payload; done once marks are kept.",
           "headway replay run {run}", ("runs", "run"), writes=True, confirm="sheet", footer=30),
    Action("fork", ("F",), "fork", "fork…",
           "A new run from the checkpoint under the cursor (in the list: from the last one).",
           "headway fork {run}", ("runs", "run"), writes=True, confirm="sheet", footer=32),
    Action("edit_fork", ("e",), "edit", "edit…",
           "The same with an edited state, in $EDITOR; checked against the task's state type.",
           "headway fork {run} --edit", ("runs", "run"), writes=True, confirm="sheet", footer=33),
    Action("ack", ("x",), "ack", "acknowledge…",
           "You have seen this failure: no dead letter any more; recorded with your name.",
           "headway ack {run}", ("runs", "run"), writes=True, confirm="sheet"),
    # --- dead letters
    Action("open_class", ("enter",), "class", "runs", "The runs of the class, as a list.",
           "headway ls QUERY", ("letters",), footer=10),
    Action("fork_class", ("R",), "resume-class", "resume…",
           "New runs of the class, from the last checkpoint of each, nothing edited: a job.",
           "headway replay plan -", ("letters",), writes=True, confirm="sheet", footer=20),
    Action("replay_class", ("r",), "replay-class", "replay…",
           "New runs of the class, from the start: a job.",
           "headway replay plan -", ("letters",), writes=True, confirm="sheet", footer=25),
    Action("ack_class", ("x",), "ack-class", "acknowledge…",
           "You have seen all of the class: no dead letters any more; recorded with your name.",
           "headway ack --query QUERY", ("letters",), writes=True, confirm="sheet", footer=30),
    Action("group_error", ("E",), "group", "group by error",
           "A class is an error of all tasks, or of one task again.", "headway dead --by error",
           ("letters",), footer=35),
    # --- reviews
    Action("open_review", ("enter",), "review", "open", "The run under the cursor.",
           "headway show {run}", ("reviews",), footer=10),
    Action("decide_done", ("m",), "mark-done", "mark done…",
           "The effect of the interrupted block has happened; say what the block gives.",
           "headway resume {run} --once KEY=done --value KEY=JSON", ("reviews",), writes=True,
           confirm="sheet", footer=20),
    Action("decide_rerun", ("r",), "run-again", "run again…",
           "The effect has not happened, or may twice: the block runs again.",
           "headway resume {run} --once KEY=rerun", ("reviews",), writes=True, confirm="sheet",
           footer=25),
    Action("decide_fail", ("X",), "fail", "fail…", "Nobody can tell: the run ends as failed.",
           "headway resume {run} --once KEY=fail", ("reviews",), writes=True, confirm="sheet",
           footer=30),
    Action("override", ("o",), "override", "override…",
           "Decide although an older attempt is not confirmed dead; recorded with your name.",
           "headway resume {run} --override", ("reviews",), writes=True, confirm="sheet",
           footer=32),
    # --- timeline
    _view("fold", "z z, enter, left, right, h, l", "fold", "fold", "Fold or unfold the row.",
          "timeline"),
    _view("fold_all", "z M", "fold-all", "fold all", "Fold all.", "timeline"),
    _view("unfold_all", "z R", "unfold-all", "unfold all", "Unfold all.", "timeline"),
    _view("zoom_in", "+", "zoom-in", "zoom in", "Half the time.", "timeline"),
    _view("zoom_out", "-", "zoom-out", "zoom out", "Double the time.", "timeline"),
    _view("zoom_fit", "=", "zoom-fit", "fit", "All of the time.", "timeline"),
    _view("idle", "i", "idle", "idle", "Fold idle stretches, or show them at length.", "timeline"),
    _view("next_view", "v", "view", "view", "The next view of this pane.", "timeline", "state"),
    # --- logs
    Action("follow", ("f",), "follow", "follow", "Stay at the last line.",
           "headway logs {run} --follow", ("logs",)),
    _view("level", "L", "level", "level", "The lowest level that is shown: D I W E.", "logs"),
    _view("clock", "T", "clock", "clock", "Times: of day, since the beginning, none.", "logs"),
    _view("minute_on", "m", "minute", "+1 min", "A minute later.", "logs"),
    _view("minute_back", "M", "minute-back", "-1 min", "A minute earlier.", "logs"),
    _view("clear", "C", "clear", "clear", "Drop what is shown; what comes is shown.", "logs"),
    # --- state
    _view("next_checkpoint", "]", "checkpoint", "next ◆", "The next checkpoint.", "run"),
    _view("last_checkpoint", "[", "checkpoint-back", "last ◆", "The checkpoint before.", "run"),
    # --- copying
    Action("copy_id", ("y y",), "copy-id", "copy id", "Copy the run's id.", "headway show {run}",
           ("runs", "run", "dead")),
    Action("copy_token", ("y t",), "copy-token", "copy token",
           "Copy the token of the interrupted block.", "headway show {run} --json",
           ("reviews",)),
    Action("copy_error", ("y e",), "copy-error", "copy error", "Copy the error with its trace.",
           "headway show {run}", ("runs", "run")),
    Action("copy_payload", ("y p",), "copy-payload", "copy payload", "Copy the payload.",
           "headway show {run} --json", ("run",)),
    Action("copy_state", ("y s",), "copy-state", "copy state", "Copy the state of the checkpoint.",
           "headway show {run} --json", ("run",)),
    Action("copy_lines", ("y l",), "copy-lines", "copy lines", "Copy the lines on screen.",
           "headway logs {run}", ("run",)),
    Action("copy_log", ("y L",), "copy-log", "copy log", "Copy all lines that are loaded.",
           "headway logs {run}", ("run",)),
    Action("copy_cli", ("y c",), "copy-cli", "copy command", "Copy the same as a command line.",
           "headway ls", ("runs", "run", "dead")),
    Action("copy_subject", ("y u",), "copy-subject", "copy subject",
           "Copy the NATS subject of its events.", "headway watch {run}", ("runs", "run")),
)  # fmt: skip

BY_ID = {a.id: a for a in ACTIONS}


def for_places(places: tuple[str, ...]) -> list[Action]:
    """Actions of these places, those of the first place first."""
    found: dict[str, Action] = {}
    for place in places:
        for action in ACTIONS:
            if place in action.where:
                found.setdefault(action.id, action)
    return list(found.values())


def footer(places: tuple[str, ...]) -> list[Action]:
    """What stands at the bottom, in its order."""
    return sorted((a for a in for_places(places) if a.footer), key=lambda a: a.footer)


def named(text: str, places: tuple[str, ...]) -> Action | None:
    """The action of a `:` name, or of a prefix that only one has."""
    have = for_places(places)
    exact = [a for a in have if a.name == text]
    begins = [a for a in have if a.name.startswith(text)]
    return (exact or (begins if len(begins) == 1 else [None]))[0]


def shown_keys(action: Action) -> str:
    """Its keys for people: `gg Home`."""
    names = {"escape": "esc", "pagedown": "PgDn", "pageup": "PgUp"}
    return " ".join(names.get(k, k.replace(" ", "")) for k in action.keys)
