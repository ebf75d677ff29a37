"""The one table of what can be done: keys, `:` names, help, palette and CLI lines come from it.

An action is carried out by the method `do_<id>` of the focused pane, its screen, or the app:
whichever has it first. Pure: no Textual here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SCREEN_ONLY = "-"
"""In `cli`: it changes nothing but this screen, so there is no line for it."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do."""

    id: str
    keys: tuple[str, ...]
    """As written; the keys of a chord are separated by a space. None: only after `:`."""
    name: str
    """After `:`."""
    title: str
    """For the footer: one or two words; `…` = a sheet asks first."""
    help: str
    cli: str
    """The same from a shell; `{run}` is the run meant."""
    where: tuple[str, ...]
    """Places: app, runs, run, table, timeline, logs, state."""
    writes: bool = False
    confirm: Literal["none", "sheet"] = "none"
    footer: int = 0
    """Its place among the keys at the bottom; 0 = not there."""
    takes: str = ""
    """What may follow its `:` name, as help shows it: `[QUERY]`; empty = nothing."""


def _view(
    id_: str, keys: str, name: str, title: str, help_: str, *where: str, footer: int = 0,
    takes: str = "",
) -> Action:  # fmt: skip
    """An action that changes only what is seen; keys are separated by `, `."""
    return Action(
        id_, tuple(k for k in keys.split(", ") if k), name, title, help_, SCREEN_ONLY, where,
        footer=footer, takes=takes,
    )  # fmt: skip


_LISTS = ("table", "timeline", "logs", "state")

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
    Action("go_runs", ("1",), "runs", "Runs",
           "The list of runs; with a query: what it means, and an empty one `*` for all.",
           "headway ls", ("app",), takes="[QUERY]"),
    Action("open_run", (), "run", "run", "A run, by its id or the beginning of it.",
           "headway show {run}", ("app",), takes="ID"),
    _view("last_view", "-, ctrl+o", "last-view", "last view", "Where you were before: screen and"
          " filter.", "app"),
    _view("back", "escape, q", "back", "back", "Back to the screen before; at the first one: quit.",
          "app", footer=90),
    _view("quit", "ctrl+q", "q", "quit", "Quit.", "app"),
    _view("next_pane", "tab", "pane", "pane", "To the next pane.", "run", footer=60),
    _view("last_pane", "shift+tab", "pane-back", "pane back", "To the pane before.", "run"),
    _view("zoom_pane", "Z", "zoom-pane", "zoom pane", "The pane alone, or all again.", "run",
          footer=65),
    _view("palette", "ctrl+p", "palette", "palette", "All commands, to be searched.", "app"),
    _view("command", ":", "command", "cmd", "Type a command.", "app", footer=95),
    _view("help", "?, f1", "help", "help", "What the keys do here.", "app", footer=99),
    _view("reconnect", "ctrl+r", "refresh", "refresh", "Read everything again, now.", "app"),
    _view("theme", "f2", "theme", "theme", "The next theme, or a certain one.", "app",
          takes="[NAME]"),
    _view("view", "", "view", "view", "A saved view; `save NAME` keeps filter and order,"
          " `drop NAME` forgets them.", "app", takes="[NAME | save NAME | drop NAME]"),
    _view("keys", "", "keys", "keys", "All keys; `--md` copies them as Markdown.", "app",
          takes="[--md]"),
    _view("version", "", "version", "version", "Versions of the console and of the engines.",
          "app"),
    # --- finding
    _view("filter", "/", "filter", "filter", "Filter the list as you type; tab completes.",
          "runs", footer=50),
    _view("facets", "f", "facets", "facets", "States and errors of the list with their counts;"
          " choose one to filter.", "runs"),
    _view("sort", "o", "sort", "sort", "The order of the list.", "runs",
          takes="[newest | oldest]"),
    _view("search", "/", "search", "search", "Find in the output: a text, or /an expression/.",
          "run", footer=50),
    _view("next_hit", "n", "next", "next", "The next hit; in a timeline the next failure.",
          "logs", "timeline"),
    _view("last_hit", "N", "previous", "previous", "The hit or failure before.",
          "logs", "timeline"),
    # --- runs
    Action("open", ("enter",), "open", "open", "The run under the cursor.", "headway show {run}",
           ("runs",), footer=10),
    _view("full_logs", "l", "logs", "logs", "The output alone.", "runs", "run"),
    _view("preview", "p", "preview", "preview", "Show or hide the preview.", "runs"),
    _view("preview_side", "P", "preview-side", "preview side", "The preview beside the list, or"
          " below it.", "runs"),
    _view("mark", "space", "mark", "mark", "Mark the run, or take the mark off.", "runs",
          footer=20),
    _view("mark_range", "V", "mark-range", "mark range", "Mark from here to where the cursor goes;"
          " again: to here.", "runs"),
    _view("mark_all", "*", "mark-all", "mark all", "Mark all runs that match, loaded or not.",
          "runs"),
    _view("unmark", "u", "unmark", "clear marks", "Take all marks off.", "runs"),
    _view("same_error", "E", "same-error", "same error", "Only runs with the same error.", "runs",
          "run"),
    _view("next_run", "}", "next-run", "next run", "The next run of the list.", "run"),
    _view("last_run", "{", "previous-run", "previous run", "The run before, of the list.", "run"),
    Action("cancel", ("c",), "cancel", "cancel…", "Cancel: final, running code is stopped.",
           "headway cancel {run}", ("runs", "run"), writes=True, confirm="sheet", footer=40),
    Action("resume", ("R",), "resume", "resume…",
           "Same run, next attempt, now: skips a backoff, or decides a review.",
           "headway resume {run}", ("runs", "run"), writes=True, confirm="sheet", footer=35),
    Action("replay", ("r",), "replay", "replay…",
           "A new run from the start with the same payload; done once marks are kept.",
           "headway replay run {run}", ("runs", "run"), writes=True, confirm="sheet", footer=30),
    # --- timeline
    _view("fold", "z z, enter, left, right, h, l", "fold", "fold", "Fold or unfold the row.",
          "timeline"),
    _view("fold_all", "z M", "fold-all", "fold all", "Fold all.", "timeline"),
    _view("unfold_all", "z R", "unfold-all", "unfold all", "Unfold all.", "timeline"),
    _view("zoom_in", "+", "zoom-in", "zoom in", "Half the time.", "timeline"),
    _view("zoom_out", "-", "zoom-out", "zoom out", "Double the time.", "timeline"),
    _view("zoom_fit", "=", "zoom-fit", "fit", "All of the time.", "timeline"),
    _view("idle", "i", "idle", "idle", "Fold idle stretches, or show them at length.", "timeline"),
    _view("next_view", "v", "next-view", "view", "The next view of the pane.", "timeline",
          "state"),
    # --- logs
    Action("follow", ("f",), "follow", "follow", "Stay at the last line.",
           "headway logs {run} --follow", ("logs",)),
    _view("level", "L", "level", "level", "The lowest level that is shown.", "logs",
          takes="[D | I | W | E]"),
    _view("goto", "", "goto", "goto", "To a time of day in the output.", "logs",
          takes="HH:MM[:SS]"),
    _view("clock", "T", "clock", "clock", "Times: of day, since the beginning, none.", "logs"),
    _view("minute_on", "m", "minute", "+1 min", "A minute later.", "logs"),
    _view("minute_back", "M", "minute-back", "-1 min", "A minute earlier.", "logs"),
    _view("keep_hits", "&", "keep", "keep", "Only lines that the search finds; again: all.",
          "logs"),
    _view("span_lines", "s", "span-lines", "row's lines", "Only lines from the time of the"
          " timeline's row; again: all.", "run"),
    _view("clear", "C", "clear", "clear", "Drop what is shown; what comes is shown.", "logs"),
    # --- state
    _view("next_checkpoint", "]", "checkpoint", "next ◆", "The next checkpoint.", "run"),
    _view("last_checkpoint", "[", "checkpoint-back", "last ◆", "The checkpoint before.", "run"),
    Action("export", (), "export", "export", "Write the marked runs, or those that are loaded, to"
           " a file as JSON lines.", "headway ls --json", ("runs",), takes="FILE"),
    # --- copying
    Action("copy_id", ("y y",), "copy-id", "copy id", "Copy the run's id.", "headway show {run}",
           ("runs", "run")),
    Action("copy_error", ("y e",), "copy-error", "copy error", "Copy the error with its trace.",
           "headway show {run}", ("runs", "run")),
    Action("copy_payload", ("y p",), "copy-payload", "copy payload", "Copy the payload.",
           "headway show {run} --json", ("run",)),
    Action("copy_state", ("y s",), "copy-state", "copy state", "Copy the state of the checkpoint.",
           "headway show {run} --json", ("run",)),
    Action("copy_result", ("y o",), "copy-result", "copy result", "Copy the result.",
           "headway result {run}", ("run",)),
    Action("copy_lines", ("y l",), "copy-lines", "copy lines", "Copy the lines on screen.",
           "headway logs {run}", ("run",)),
    Action("copy_log", ("y L",), "copy-log", "copy log", "Copy all lines that are loaded.",
           "headway logs {run}", ("run",)),
    Action("copy_cli", ("y c",), "copy-cli", "copy command", "Copy the same as a command line.",
           "headway ls", ("runs", "run")),
    Action("copy_subject", ("y u",), "copy-subject", "copy subject",
           "Copy the NATS subject of its events.", "headway watch {run}", ("runs", "run")),
)  # fmt: skip

BY_ID = {a.id: a for a in ACTIONS}
RESERVED = frozenset({
    "j", "k", "h", "l", "g", "G", "n", "N", "/", ":", "?", "q", "escape", "space", "tab", "enter",
})  # fmt: skip
"""Keys that mean the same to everybody: nobody's `keys.toml` gives them to another action."""


def for_places(places: tuple[str, ...], actions: Sequence[Action] = ACTIONS) -> list[Action]:
    """Actions of these places, those of the first place first."""
    found: dict[str, Action] = {}
    for place in places:
        for action in actions:
            if place in action.where:
                found.setdefault(action.id, action)
    return list(found.values())


def footer(places: tuple[str, ...], actions: Sequence[Action] = ACTIONS) -> list[Action]:
    """What stands at the bottom, in its order."""
    have = for_places(places, actions)
    return sorted((a for a in have if a.footer), key=lambda a: a.footer)


def named(text: str, places: tuple[str, ...], actions: Sequence[Action] = ACTIONS) -> Action | None:
    """The action of a `:` name, or of a prefix that only one has."""
    have = for_places(places, actions)
    exact = [a for a in have if a.name == text]
    begins = [a for a in have if a.name.startswith(text)]
    return (exact or (begins if len(begins) == 1 else [None]))[0]


def tabs(actions: Sequence[Action] = ACTIONS) -> list[tuple[str, str]]:
    """Screens that a digit opens: (digit, title)."""
    found = [(a.keys[0], a.title) for a in actions if a.id.startswith("go_") and a.keys]
    return sorted(found)


_SHOWN = {"escape": "esc", "pagedown": "PgDn", "pageup": "PgUp"}


def shown_keys(action: Action) -> str:
    """Its keys for people: `gg home`; empty if it has none."""
    return " ".join(_SHOWN.get(k, k.replace(" ", "")) for k in action.keys)


PLACES = {
    "app": "Everywhere", "runs": "List of runs", "run": "One run", "table": "Lists",
    "timeline": "Timeline", "logs": "Output", "state": "State",
}  # fmt: skip
"""Places in the order of the reference, as people call them."""


def reference(actions: Sequence[Action] = ACTIONS) -> str:
    """All of it in Markdown: what `:keys --md` copies and the manual has."""
    places = dict.fromkeys([*PLACES, *(w for a in actions for w in a.where)])
    parts: list[str] = []
    for place in places:
        here = [a for a in actions if place in a.where]
        if not here:
            continue
        parts += [f"### {PLACES.get(place, place.capitalize())}", "",
                  "| keys | after `:` | what | the same from a shell |",
                  "| --- | --- | --- | --- |"]  # fmt: skip
        for a in here:
            keys = " ".join(f"`{_SHOWN.get(k, k.replace(' ', ''))}`" for k in a.keys) or "-"
            cells = (keys, f"`{a.name}`" + (f" `{a.takes}`" if a.takes else ""), a.help,
                     "-" if a.cli == SCREEN_ONLY else f"`{a.cli}`")  # fmt: skip
            parts.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
        parts.append("")
    return "\n".join(parts)
