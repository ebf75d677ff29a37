"""Replay scripts: TOML files, and Python files with `select`, `replay`, `pace`, `edit`, `check`.

A script says what is wanted; `planning` makes a plan of it. Python runs on the operator's machine
alone; the engine gets the plan, which is data.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from msgspec import Meta, Struct

from headway.errors import BadQuery, HeadwayError
from headway.forks import check_start
from headway.query import parse as parse_query
from headway.replays.expect import check_expression
from headway.retry import seconds
from headway.wire import replays as wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ID = re.compile(r"[0-9A-Z]{6,26}")
LIMIT = 1000
"""Runs that a plan may have if the script does not say."""


class BadScript(HeadwayError):
    """The script cannot be used: where, what, and what was expected."""

    code = "bad_request"


class Select(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which runs."""

    query: str = ""
    """In the query language (`headway.query`); relative times count from when the plan is made."""
    ids: Annotated[tuple[str, ...], Meta(max_length=100_000)] = ()
    """These runs, in place of a query: ids, or beginnings that only one run has."""
    limit: Annotated[int, Meta(ge=1, le=100_000)] = LIMIT
    """Refuse to plan if more match."""
    sample: Annotated[int, Meta(ge=0)] = 0
    """So many of them, chosen by `seed`; 0 = all."""
    seed: int = 0
    freeze: bool = True
    """The name of the plan stands for the runs too: what matches later is another plan. False: it
    stands for the query, and what matches when the job starts is taken, up to `limit`."""
    forked: Literal["take", "skip"] = "take"
    """Runs that a job has forked already: again, or left out."""


class Replay(Struct, forbid_unknown_fields=True, omit_defaults=True, rename={"from_": "from"}):
    """What becomes of each."""

    mode: Literal["fork", "replay", "resume"] = "fork"
    """`replay`: from the start. `resume`: the next attempt, now, of runs that have not ended."""
    from_: str = "last"
    image: str = "current"
    once: str = "keep"
    """`keep`; `ask` a person, key by key; or `clear:<glob>,<glob>`: these may happen again."""
    queue: str = ""
    tags: tuple[str, ...] = ()
    missing: Literal["start", "skip", "error"] = "start"
    """If a run has no such checkpoint."""

    def globs(self) -> tuple[str, ...]:
        """Those of once keys that may happen again."""
        kind, _, rest = self.once.partition(":")
        return tuple(g.strip() for g in rest.split(",") if g.strip()) if kind == "clear" else ()


def clearing(keys: Iterable[str]) -> str:
    """`Replay.once` for exactly these keys."""
    globs = ",".join(glob.escape(key).replace(",", "?") for key in sorted(keys))
    return f"clear:{globs}" if globs else "keep"


class Pace(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """How fast."""

    rate: str = "5/s"
    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 10
    canary: Annotated[int, Meta(ge=0, le=100_000)] = 0
    stop_after_failures: Annotated[int, Meta(ge=0, le=100_000)] = 3
    timeout: str = ""

    def wire(self) -> wire.Pace:
        """As the engine takes it. Raises BadScript."""
        number, _, unit = self.rate.partition("/")
        try:
            rate = float(number) / {"s": 1, "m": 60, "h": 3600}[unit]
            wait = seconds(self.timeout, "timeout") if self.timeout else 0.0
            made = wire.Pace(rate, self.max_in_flight, self.canary, self.stop_after_failures, wait)
            return msgspec.convert(msgspec.to_builtins(made), wire.Pace)
        except (KeyError, ValueError):
            raise BadScript(f'rate {self.rate!r}: expected NUMBER/s, /m or /h, as "5/s"') from None
        except (HeadwayError, msgspec.ValidationError) as e:
            raise BadScript(f"pace: {e}") from None


class Edit(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """JSON merge patches for all of the runs: tables, or JSON text where one removes members."""

    state: dict[str, Any] | str = {}
    payload: dict[str, Any] | str = {}

    def patches(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(state, payload) as values. Raises BadScript."""
        return _patch_of(self.state, "state"), _patch_of(self.payload, "payload")


def _patch_of(patch: dict[str, Any] | str, what: str) -> dict[str, Any]:
    if not isinstance(patch, str):
        return patch
    try:
        return msgspec.json.decode(patch or "{}", type=dict[str, Any])
    except msgspec.MsgspecError as e:
        raise BadScript(f"edit.{what}: a JSON object is expected: {e}") from None


class Variable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A variable that may come from the environment."""

    required: bool = False
    default: str = ""


class Gate(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """When the report is red."""

    max_failed: Annotated[int, Meta(ge=0)] = 0


class Script(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A whole script, as its TOML file says it."""

    select: Select
    version: Literal[1] = 1
    name: str = ""
    replay: Replay = msgspec.field(default_factory=Replay)
    edit: Edit = msgspec.field(default_factory=Edit)
    vars: dict[str, Variable] = {}
    pace: Pace = msgspec.field(default_factory=Pace)
    check: tuple[wire.Check, ...] = ()
    gate: Gate = msgspec.field(default_factory=Gate)


class Drop:
    """What `edit` returns for a run that shall be left out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def drop_run(reason: str) -> Drop:
    """Leave this run out; the plan shows why."""
    return Drop(reason)


class Loaded(Struct):
    """A script with the functions of a Python one."""

    script: Script
    edit: Callable[..., Any] | None = None
    check: Callable[..., Any] | None = None
    choose: Callable[..., Any] | None = None
    """`select(run)`: False leaves it out."""


def load(path: str, environment: Mapping[str, str] = os.environ) -> Loaded:
    """Read a script by its suffix, `.toml` or `.py`. Raises BadScript with line and column."""
    text = Path(path).read_text("utf-8")
    if path.endswith(".py"):
        return _python(path, text)
    return Loaded(parse(text, path, environment))


def parse(text: str, name: str, environment: Mapping[str, str] = os.environ) -> Script:
    """A TOML script with its variables filled in."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BadScript(f"{name}: {e}") from None
    try:
        declared = msgspec.convert(data.get("vars", {}), dict[str, Variable])
        script = msgspec.convert(_filled(_parted(data), declared, environment), Script)
        check(script)
    except msgspec.ValidationError as e:
        raise BadScript(f"{name}{_place(text, str(e))}: {e}{_expected(str(e))}") from None
    except BadQuery as e:
        raise BadScript(f"{name}{_place(text, '`$.select.query`')}: query, {e}") from None
    except HeadwayError as e:
        raise BadScript(f"{name}: {e}") from None
    return script


def check(script: Script) -> None:
    """What the types cannot say; raises HeadwayError."""
    check_start(script.replay.from_)
    script.pace.wire()
    script.edit.patches()
    select = script.select
    if bool(select.query.strip()) == bool(select.ids):
        raise BadScript(
            "select: expected a query, or ids"
            + (": one of them" if select.ids else ", such as query = 'status:dead since:2h'")
        )
    parse_query(select.query)
    for run in select.ids:
        if _ID.fullmatch(run) is None:
            raise BadScript(f"select.ids: {run!r} is no run id: expected 6 to 26 of 0-9 and A-Z")
    once = script.replay.once
    if once not in ("keep", "ask") and not script.replay.globs():
        raise BadScript(f"once {once!r}: expected keep, ask or clear:<glob>")
    if script.replay.mode == "resume" and script.replay != Replay(mode="resume"):
        raise BadScript("mode resume goes on with the same run: it takes no from, image, once,"
                        " queue, tags or missing")  # fmt: skip
    if script.replay.mode == "resume" and any(script.edit.patches()):
        raise BadScript("mode resume goes on with the same run: edits need mode fork")
    for one in script.check:
        check_expression(one.expect)


_VARIABLE = re.compile(r"\$(\$|[A-Z][A-Z0-9_]*)")
"""`$NAME` is a variable of [vars], `$$` a dollar."""


def _parted(data: dict[str, Any]) -> dict[str, Any]:
    """The script with its patches as values where they stand as JSON text.

    Variables are filled into the texts of a patch, never into its JSON: what comes from the
    environment may hold quotes.
    """
    edit: Any = data.get("edit")
    if not isinstance(edit, dict):
        return data
    patches: dict[str, Any] = {}
    for what, patch in cast("dict[str, Any]", edit).items():
        patches[what] = patch
        if isinstance(patch, str):
            with contextlib.suppress(msgspec.MsgspecError):  # said once it is filled in
                patches[what] = msgspec.json.decode(patch, type=dict[str, Any])
    return data | {"edit": patches}


def _filled(value: Any, known: dict[str, Variable], environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            k: v if k == "vars" else _filled(v, known, environment)
            for k, v in value.items()  # pyright: ignore[reportUnknownVariableType]  # TOML
        }
    if isinstance(value, list):
        return [_filled(v, known, environment) for v in value]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, str):
        return value

    def one(found: re.Match[str]) -> str:
        name = found.group(1)
        if name == "$":
            return "$"
        if name not in known:
            raise BadScript(f"${name} is not named in [vars]: only those come from the environment")
        if name not in environment and known[name].required:
            raise BadScript(f"${name} is required: set it in the environment")
        return environment.get(name, known[name].default)

    return _VARIABLE.sub(one, value)


_TABLES: dict[str, type[Struct]] = {
    "": Script, "select": Select, "replay": Replay, "edit": Edit, "pace": Pace, "gate": Gate,
    "check": wire.Check, "vars": Variable,
}  # fmt: skip


def _expected(message: str) -> str:
    """`; expected query, ids ...` for a name that is not known where it stands."""
    at = re.search(r"unknown field `(\w+)`(?: - at `\$\.?(\w*))?", message)
    table = _TABLES.get(at.group(2) or "") if at else None
    if at is None or table is None:
        return ""
    names = table.__struct_encode_fields__
    close = difflib.get_close_matches(at.group(1), names, 1)
    return f"; expected {', '.join(names)}" + (f"; did you mean {close[0]}?" if close else "")


def _place(text: str, message: str) -> str:
    """` (at line 7, column 1)` of what a message of msgspec speaks of, if it can be found."""
    at = re.search(r"`\$\.?([^`]*)`", message)
    field = re.search(r"unknown field `(\w+)`", message)
    parts = [p for p in re.split(r"[.\[\]]+", at.group(1) if at else "") if p and p != "..."]
    if field:
        parts.append(field.group(1))
    if not parts:
        return ""
    section, found = "", ""
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\s*\[+\s*([\w.]+)\s*\]+", line)
        if head:
            section = head.group(1)
            if section.split(".")[: len(parts)] == parts:
                return f" (at line {number}, column {line.index(section) + 1})"
            continue
        key = re.match(r"\s*([\w.]+)\s*=", line)
        here = (
            [*section.split("."), *key.group(1).split(".")]
            if key and section
            else (key.group(1).split(".") if key else [])
        )
        if key and here == [p for p in parts if not p.isdigit()]:
            found = f" (at line {number}, column {line.index(key.group(1)) + 1})"
            if not any(p.isdigit() for p in parts):
                return found
    return found


def _python(path: str, text: str) -> Loaded:
    space: dict[str, Any] = {"__name__": "headway_replay_script", "__file__": path}
    try:
        exec(compile(text, path, "exec"), space)  # noqa: S102 - a script of the user, named by them
    except SyntaxError as e:
        raise BadScript(f"{path} (at line {e.lineno}, column {e.offset}): {e.msg}") from None
    except Exception as e:  # an operator's own code
        raise BadScript(f"{path}: {type(e).__name__}: {e}") from e
    found = space.get("select")
    chosen = None
    if callable(found) and not isinstance(found, Select):
        chosen, found = found, space.get("query")
        found = Select(found) if isinstance(found, str) else found
    if not isinstance(found, Select):
        raise BadScript(f"{path}: expected select = Select('status:failed ...')")
    script = Script(
        found,
        name=space.get("name") or Path(path).name,
        replay=_of(space, "replay", Replay, path) or Replay(),
        pace=_of(space, "pace", Pace, path) or Pace(),
        check=tuple(wire.Check(c) if isinstance(c, str) else c for c in space.get("checks", ())),
        gate=Gate(space.get("max_failed", 0)),
    )
    try:
        # Struct calls check no types: a script's mistakes are found here, as in TOML.
        script = msgspec.convert(msgspec.to_builtins(script), Script)
        check(script)
    except (msgspec.ValidationError, HeadwayError) as e:
        raise BadScript(f"{path}: {e}") from None
    return Loaded(script, space.get("edit"), space.get("check"), chosen)


def _of(space: dict[str, Any], name: str, kind: type[Any], path: str) -> Any:
    value = space.get(name)
    if value is not None and not isinstance(value, kind):
        raise BadScript(f"{path}: {name}: expected a {kind.__name__}(...)")
    return value
