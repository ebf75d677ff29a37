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
    """Places: app, runs, run, replay, dead, table, timeline, logs, state, attempts, info, draft,
    plan, jobs, items, compare, letters, reviews, queues, agents, metrics."""
    writes: bool = False
    confirm: Literal["none", "sheet"] = "none"
    footer: int = 0
    """Its place among the keys at the bottom; 0 = not there."""
    lead: tuple[str, ...] = ()
    """Places in which it stands before all others there."""
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


_REPLAY = ("draft", "plan", "jobs", "items", "compare")
_JOB = ("items", "compare")
_DEAD = ("letters", "reviews")
_BOARD = ("queues", "agents")
_LISTS = ("table", "timeline", "logs", "state", "attempts", "info", *_REPLAY, *_DEAD)
_FOUND = ("logs", "timeline", "state", "attempts", "info", "compare")
_PANES = ("run", "replay", "dead", *_BOARD)

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
    Action("go_dead", ("4",), "dead", "Dead",
           "Dead letters by class, and runs that wait for a person.", "headway dead", ("app",)),
    _view("review", "", "review", "review", "Runs that wait for a person to decide.", "app"),
    Action("open_run", (), "run", "run", "A run, by its id or the beginning of it.",
           "headway show {run}", ("app",), takes="ID"),
    _view("last_view", "-", "last-view", "last view", "Where you were before: screen and filter;"
          " again: back here.", "app"),
    _view("jump_back", "ctrl+o, alt+left", "jump-back", "jump back", "A step back among the screens"
          " and filters where you were.", "app"),
    _view("jump_on", "alt+right", "jump-on", "jump on", "A step on again, after steps back.",
          "app"),
    _view("back", "escape, q", "back", "back", "Back to the screen before; at the first one: quit.",
          "app", footer=90),
    _view("quit", "ctrl+q", "q", "quit", "Quit.", "app"),
    _view("next_pane", "tab", "pane", "pane", "To the next pane.", *_PANES, footer=60),
    _view("last_pane", "shift+tab", "pane-back", "pane back", "To the pane before.", *_PANES),
    _view("zoom_pane", "Z", "zoom-pane", "zoom pane", "The pane alone, or all again.", *_PANES,
          footer=65),
    Action("go_queues", ("2",), "queues", "Queues", "To queues and agents.", "headway queue ls",
           ("app",)),
    Action("go_metrics", ("5",), "metrics", "Metrics", "To the curves of engines and agents.",
           "headway metrics", ("app",), takes="[1m | 15m | 1h]"),
    _view("replays", "6", "replays", "Replay", "The replay console, with the draft as it was left"
          " or with a script.", "app", takes="[SCRIPT]"),
    _view("job", "", "job", "job", "Follow a replay job, by its id.", "app", takes="ID"),
    _view("rec", "", "rec", "record", "`start` records what is decided in the replay console into a"
          " script, `save` writes it.", "app", takes="start [NAME] | save"),
    _view("palette", "ctrl+p", "palette", "palette", "All commands, to be searched.", "app"),
    _view("command", ":", "command", "cmd", "Type a command.", "app", footer=95),
    _view("help", "?, f1", "help", "help", "What the keys do here.", "app", footer=99),
    _view("reconnect", "ctrl+r", "refresh", "refresh", "Read everything again, now.", "app"),
    _view("set", "", "set", "set",
          "`clock=4` paints 4 times a second, for a slow link; 15 is usual.",
          "app", takes="clock=N"),
    _view("theme", "f2", "theme", "theme", "The next theme, or a certain one.", "app",
          takes="[NAME]"),
    Action("ctx", (), "ctx", "context", "Another connection, by the name of its context; without"
           " one: which there are.", "headway contexts", ("app",), takes="[NAME]"),
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
    _view("search", "/", "search", "search", "Find in the pane, from the timeline in the output: a"
          " text, or /an expression/. What of the output is not in memory is searched as well.",
          "run", footer=50),
    _view("next_hit", "n", "next", "next", "The next hit, failure or difference.",
          *_FOUND),
    _view("last_hit", "N", "previous", "previous", "The hit, failure or difference before.",
          *_FOUND),
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
    _view("forks", "f", "forks", "forks", "Replays and forks of the run.", "run"),
    *(_view(f"pane_{name}", name[0].upper(), f"pane-{name}", name, f"To the pane {name}.", "run")
      for name in ("timeline", "logs", "state", "attempts", "info")),
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
           "New runs of the marked ones, or of all that match: opens a draft, starts nothing.",
           "headway replay plan SCRIPT", ("runs", "run"), writes=True, confirm="sheet", footer=30),
    Action("fork", ("F",), "fork", "fork…",
           "A new run from the checkpoint under the cursor (in the list: from the last one).",
           "headway fork {run}", ("runs", "run"), writes=True, confirm="sheet", footer=32),
    Action("edit_fork", ("e",), "edit", "edit…",
           "The same with an edited state, in $EDITOR; checked against the task's state type.",
           "headway fork {run} --edit", ("runs", "run"), writes=True, confirm="sheet", footer=33),
    Action("ack", ("x",), "ack", "acknowledge…",
           "You have seen this failure: no dead letter any more; recorded with your name.",
           "headway ack {run}", ("runs", "run"), writes=True, confirm="sheet"),
    Action("tag", ("t",), "tag", "tag…",
           "Add tags to runs and remove others, ended ones too; recorded with your name.",
           "headway tag {run} --add TAG --remove TAG", ("runs", "run"), writes=True,
           confirm="sheet", takes="[+TAG -TAG]"),
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
    Action("open_review", ("enter",), "open-review", "open", "The run under the cursor.",
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
    # --- queues and agents
    Action("pause", ("s",), "pause", "switch…",
           "Pause the queue, with a reason for the others, or have it go on.",
           "headway queue pause {queue}", ("queues",), writes=True, confirm="sheet", footer=15),
    Action("limit", ("L",), "limit", "limit…", "Change how many of its runs may be open at once.",
           "headway queue limit {queue} {limit}", ("queues",), writes=True, confirm="sheet",
           footer=16),
    Action("drain", ("s",), "drain", "switch…",
           "Give the agent nothing new, with a reason for the others, or have it take runs again.",
           "headway agents drain {agent}", ("agents",), writes=True, confirm="sheet", footer=15),
    Action("its_runs", ("enter",), "its-runs", "its runs", "The runs of the queue or the agent.",
           "headway ls", _BOARD, footer=17),
    Action("agent_log", ("l",), "agent-log", "agent log",
           "All that is known of the agent, what it counted, and where its log is.",
           "headway agents", ("agents",), footer=18),
    _view("sort_rows", "o", "sort", "sort", "The next order of the rows.", *_BOARD, footer=19),
    _view("window", "w", "window", "window", "The next window: 1, 15 or 60 minutes.", "metrics",
          footer=15, takes="[1m | 15m | 1h]"),
    # --- timeline
    _view("details", "enter", "details", "details", "All that is known of the row.", "timeline",
          "attempts", "info"),
    _view("fold", "z z, left, right, h, l", "fold", "fold", "Fold or unfold the row.",
          "timeline"),
    _view("fold_all", "z M", "fold-all", "fold all", "Fold all.", "timeline"),
    _view("unfold_all", "z R", "unfold-all", "unfold all", "Unfold all.", "timeline"),
    _view("zoom_in", "+", "zoom-in", "zoom in", "Half the time; a drag on the axis chooses it.",
          "timeline"),
    _view("zoom_out", "-", "zoom-out", "zoom out", "Double the time.", "timeline"),
    _view("zoom_fit", "=", "zoom-fit", "fit", "All of the time.", "timeline"),
    _view("from_start", "0", "from-start", "from start", "From the beginning of the time.",
          "timeline"),
    _view("idle", "i", "idle", "idle", "Fold idle stretches, or show them at length.", "timeline"),
    _view("next_view", "v", "next-view", "view", "The next view of the pane.", "timeline",
          "state", "compare"),
    # --- logs
    Action("follow", ("f",), "follow", "follow", "Stay at the last line.",
           "headway logs {run} --follow", ("logs",)),
    _view("level", "L", "level", "level", "The lowest level that is shown.", "logs",
          takes="[D | I | W | E]"),
    _view("goto", "", "goto", "goto", "To a time of day in the output.", "logs",
          takes="HH:MM[:SS]"),
    _view("wrap", "w", "wrap", "wrap", "Long lines over several rows, or cut at the edge.",
          "logs"),
    _view("clock", "T", "clock", "clock", "Times: of day, since the beginning, since the line"
          " before, none.", "logs"),
    _view("minute_on", "m", "minute", "+1 min", "A minute later.", "logs"),
    _view("minute_back", "M", "minute-back", "-1 min", "A minute earlier.", "logs"),
    _view("keep_hits", "&", "keep", "keep", "Only lines that the search finds; again: all.",
          "logs"),
    _view("hide_like", "x", "hide", "hide", "Hide lines like this one: they differ by numbers and"
          " quoted texts alone. This one: the hit, else the last one on the screen.", "logs"),
    _view("show_hidden", "u", "unhide", "unhide", "Show again what was hidden.", "logs"),
    _view("whole_line", "enter", "line", "whole line", "The whole of the line, however long: of the"
          " hit, else of the last one on the screen.", "logs"),
    _view("span_lines", "s", "span-lines", "row's lines", "Only lines from the time of the"
          " timeline's row; again: all.", "run"),
    _view("clear", "C", "clear", "clear", "Drop what is shown; what comes is shown.", "logs"),
    # --- state
    _view("fold_value", "enter, left, right, h, l", "fold-value", "fold", "Fold or unfold what is"
          " below the row; a value that is cut: all of it.", "state"),
    Action("pipe_pane", ("|",), "pipe", "pipe", "The shown state as JSON, or the shown lines, into"
           " a shell command; what it says is shown.", "headway show {run} --json | COMMAND",
           ("state", "logs"), takes="COMMAND"),
    _view("next_checkpoint", "]", "checkpoint", "next ◆", "The next checkpoint.", "run"),
    _view("last_checkpoint", "[", "checkpoint-back", "last ◆", "The checkpoint before.", "run"),
    _view("diff_with", "D", "diff", "diff with", "What changed since any other checkpoint; without"
          " a number: since the one before.", "state", takes="[NUMBER]"),
    Action("raw", ("D",), "raw", "raw record", "The run's record as it is, as JSON.",
           "headway show {run} --json", ("runs", "run")),
    Action("advice", ("a",), "advice", "advice", "What the last runs of its task say about their"
           " checkpoints: size, growth, write time, work that was redone after crashes.",
           "headway advice TASK", ("runs", "run")),
    Action("export", (), "export", "export", "Write the marked runs, or those that are loaded, to"
           " a file as JSON lines.", "headway ls --json", ("runs",), takes="FILE"),
    Action("pipe", (), "!", "pipe", "The marked runs, or the one meant, as JSON lines into a shell"
           " command; what it says is shown.", "headway ls --json | COMMAND",
           ("runs", "run"), takes="COMMAND"),
    # --- replays
    Action("start_plan", ("S",), "start", "start plan…",
           "Start the job of the plan; the number of runs has to be typed.",
           "headway replay run SCRIPT --plan NAME", ("replay",), writes=True, confirm="sheet",
           footer=10),
    Action("dry_run", ("D",), "plan", "dry run", "What would start: nothing is sent.",
           "headway replay plan SCRIPT", ("replay",), footer=12),
    Action("approve", ("a",), "approve", "approve…", "Start what is left after the canary.",
           "headway replay approve JOB", ("replay",), writes=True, confirm="sheet", footer=46,
           lead=_JOB),
    Action("hold", ("h",), "hold", "hold…",
           "Start nothing more until it is approved; held: go on.",
           "headway replay hold JOB", ("replay",), writes=True, confirm="sheet", footer=47,
           lead=_JOB),
    Action("stop_job", ("X",), "stop", "stop…", "End the job; what runs goes on.",
           "headway replay stop JOB", ("replay",), writes=True, confirm="sheet", footer=48,
           lead=_JOB),
    _view("edit_field", "enter", "field", "change", "Type another value for the field.", "draft",
          footer=4),
    _view("choose", "space", "choose", "choose", "The next of the field's choices.", "draft"),
    _view("clear_field", "x", "clear-field", "clear", "The field as it is without a word.",
          "draft"),
    _view("edit_script", "e", "edit-script", "edit", "The whole script in $EDITOR.", "replay",
          footer=20),
    _view("view_runs", "v", "view-runs", "view runs", "The runs that the query means.", "draft",
          footer=22),
    _view("jobs_list", "J", "jobs", "jobs", "The list of jobs.", "replay", footer=24),
    Action("open_job", ("enter",), "open-job", "open", "Follow the job under the cursor.",
           "headway replay status JOB", ("jobs",), footer=6),
    Action("open_fork", ("enter",), "fork", "open fork", "The run that was made of the item.",
           "headway show {run}", ("items",), footer=6),
    _view("only_failures", "E", "only-failures", "failures", "Only items that failed, or all.",
          "items", footer=26),
    Action("compare", ("d",), "compare", "compare",
           "Original and fork side by side; in the list: two marked runs, or a run and its fork; of"
           " one run: with what it was made of, its newest fork, or the one before it.",
           "headway replay compare {run} FORK", ("replay", "runs", "run"), footer=45),
    _view("save_script", "w", "save", "save script", "Write the script to its file.", "replay",
          footer=30),
    _view("save_script_as", "W", "save-as", "save as", "Write the script to another file.",
          "replay"),
    _view("record", "@", "record", "record", "Record decisions into the script, or stop.",
          "replay"),
    _view("new_draft", "C", "new-draft", "new draft", "Begin anew; the draft before stays on disk.",
          "replay"),
    *(_view(f"tab_{i}", str(i), f"tab-{i}", name, f"To the pane {name}.", "replay")
      for i, name in enumerate(("select", "plan", "follow", "compare with original"), 1)),
    # --- copying
    _view("copy_name", "y y", "copy-name", "copy name", "Copy the name of the queue or agent.",
          *_BOARD),
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
    Action("copy_result", ("y o",), "copy-result", "copy result", "Copy the result.",
           "headway result {run}", ("run",)),
    Action("copy_lines", ("y l",), "copy-lines", "copy lines", "Copy the lines on screen.",
           "headway logs {run}", ("run",)),
    Action("copy_log", ("y L",), "copy-log", "copy log", "Copy all lines that are loaded.",
           "headway logs {run}", ("run",)),
    Action("copy_cli", ("y c",), "copy-cli", "copy command", "Copy the same as a command line.",
           "headway ls", ("runs", "run", "replay", "dead", *_BOARD, "metrics")),
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
    lead = places[0] if places else ""
    return sorted((a for a in have if a.footer), key=lambda a: (lead not in a.lead, a.footer))


FIRST = ("help", "back", "command", "decide_done", "decide_rerun", "decide_fail", "override",
         "cancel", "filter")  # fmt: skip
"""For these there has to be room before all others: how to get help, and out; what only a person
can decide; what is needed most in a list."""


def fitting(items: Sequence[tuple[str, int]], room: int) -> list[int]:
    """Of (action, cells) those that fit side by side, by their places."""
    rank = {id_: i for i, id_ in enumerate(FIRST)}
    order = sorted(range(len(items)), key=lambda i: (rank.get(items[i][0], len(FIRST)), i))
    taken: list[int] = []
    for i in order:
        room -= items[i][1]
        if room < 0:
            break
        taken.append(i)
    return sorted(taken)


def named(text: str, places: tuple[str, ...], actions: Sequence[Action] = ACTIONS) -> Action | None:
    """The action of a `:` name, or of a prefix that only one has."""
    have = for_places(places, actions)
    exact = [a for a in have if a.name == text]
    begins = [a for a in have if a.name.startswith(text)]
    return (exact or (begins if len(begins) == 1 else [None]))[0]


def tabs(actions: Sequence[Action] = ACTIONS) -> list[Action]:
    """What a digit opens, everywhere: the screens, in their order."""
    found = [a for a in actions if a.keys and a.keys[0].isdigit() and "app" in a.where]
    return sorted(found, key=lambda a: a.keys[0])


_SHOWN = {"escape": "esc", "pagedown": "PgDn", "pageup": "PgUp"}


def shown_keys(action: Action) -> str:
    """Its keys for people: `gg home`; empty if it has none."""
    return " ".join(_SHOWN.get(k, k.replace(" ", "")) for k in action.keys)


PLACES = {
    "app": "Everywhere", "runs": "List of runs", "run": "One run", "table": "Lists",
    "timeline": "Timeline", "logs": "Output", "state": "State", "attempts": "Attempts",
    "info": "Info",
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
