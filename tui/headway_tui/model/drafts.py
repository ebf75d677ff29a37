"""A replay that is being put together: a script as a form, and what was decided on it. Pure.

The draft is a script of the SDK (`headway.replays.Script`): what the form changes is what a file
would say, and what a recorder writes is that file.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from headway.errors import HeadwayError
from headway.replays.script import BadScript, Script, Select, check, clearing
from headway.replays.writing import Written, is_secret, write_toml
from headway.wire.replays import Check

if TYPE_CHECKING:
    from collections.abc import Sequence

SUFFIX = ".replay.toml"
_PACE = re.compile(
    r"\s*(\S+?)\s*[, ]\s*(\d+)(?:\s*at once)?\s*[, ]\s*(?:stop after\s*)?(\d+)\D*", re.ASCII
)


class Field(NamedTuple):
    """One line of the form."""

    id: str
    label: str
    help: str
    choices: tuple[str, ...] = ()
    """What `space` goes through; any other text can be typed."""


FIELDS: tuple[Field, ...] = (
    Field("query", "query", "runs, in the query language; or run ids"),
    Field("mode", "mode", "fork, replay from the start, or resume what has not ended",
          ("fork", "replay", "resume")),
    Field("from", "from", 'start, last, before-error, "#7" or name:turn-*',
          ("last", "start", "before-error")),
    Field("code", "code", "current, original, or a version", ("current", "original")),
    Field("state", "state", 'a JSON merge patch: {"model": "haiku"}, or model = "haiku"'),
    Field("payload", "payload", 'a JSON merge patch: {"topic": "x"}, or topic = "x"'),
    Field("once", "once", "keep, ask key by key, or clear:GLOB (these may happen again)",
          ("keep", "ask")),
    Field("pace", "pace", "5/s, 10 at once, stop after 3 failures in a row (0 = never)"),
    Field("canary", "canary", "so many first, then wait for an approval; 0 = no canary"),
    Field("checks", "checks", "expectations with ; between them; warn: before one that only warns"),
    Field("queue", "queue", "a queue; empty = as it was"),
    Field("tags", "tags", "tags with spaces between them, beside those of the original"),
    Field("forked", "forked", "runs that a job has forked already: take them again, or skip them",
          ("take", "skip")),
    Field("limit", "limit", "refuse to plan if more runs match"),
    Field("name", "name", "what this is for"),
)  # fmt: skip
BY_ID = {f.id: f for f in FIELDS}


class Decision(Struct):
    """Something an operator decided; what was clicked tonight is the runbook tomorrow."""

    at: datetime
    what: str
    """select | edit | plan | start | approve | hold | stop."""
    detail: str = ""


class Draft(Struct):
    """A script with its file and, while it is recorded, the decisions so far."""

    script: Script
    path: str = ""
    """Where it was saved, or read."""
    dirty: bool = False
    recording: bool = False
    decisions: list[Decision] = []
    job: str = ""
    """The job that was started from it, or is looked at."""

    def decided(self, at: datetime, what: str, detail: str = "") -> None:
        """Record a decision; several changes of one field in a row are one."""
        if not self.recording:
            return
        last = self.decisions[-1] if self.decisions else None
        field = detail.partition(" ")[0]
        if last is not None and last.what == what == "edit" and last.detail.startswith(field):
            self.decisions.pop()
        self.decisions.append(Decision(at, what, detail))

    @property
    def file(self) -> str:
        """Its file, or the one that it would be saved as."""
        return self.path or f"{slug(self.script.name)}{SUFFIX}"


def new_draft(query: str = "", ids: Sequence[str] = (), name: str = "") -> Draft:
    """A draft of these runs, or of a query."""
    return Draft(Script(Select("" if ids else query, tuple(ids)), name=name))


def slug(text: str) -> str:
    """A file name out of any text."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")
    return found or "draft"


# --- the form


def shown(draft: Draft, field: str) -> str:
    """The value of a line, for people."""
    s = draft.script
    match field:
        case "query" if s.select.ids:
            first = " ".join(run[:10] for run in s.select.ids[:3])
            more = " …" if len(s.select.ids) > 3 else ""
            return f"{len(s.select.ids)} marked: {first}{more}"
        case "query":
            return s.select.query or "which runs? enter types a query"
        case "state" | "payload":
            told = assignments(s.edit.patches()[field == "payload"], field)
            return "; ".join(told) or "unchanged"
        case "once" if s.replay.globs():
            return f"{', '.join(s.replay.globs())} MAY HAPPEN AGAIN"
        case "pace":
            p = s.pace
            stop = f"stop after {p.stop_after_failures} new failures in a row"
            return f"{p.rate}, {p.max_in_flight} at once, " + (
                stop if p.stop_after_failures else "never stop"
            )
        case "canary":
            n = s.pace.canary
            return f"first {n}, then wait for me" if n else "none"
        case "checks":
            return text_of(draft, field) or "status == 'succeeded'"
        case "queue":
            return s.replay.queue or "as it was"
        case "tags":
            return " ".join(s.replay.tags) or "none more"
        case _:
            return text_of(draft, field) or "-"


def assignments(patch: dict[str, Any], lead: str) -> list[str]:
    """`state.model = "haiku"`; what looks like a secret is not shown."""
    told: list[str] = []
    for key, value in patch.items():
        place = f"{lead}.{key}"
        if isinstance(value, dict) and value:
            told += assignments(cast("dict[str, Any]", value), place)
        elif value is None:
            told.append(f"{place} removed")
        elif isinstance(value, str) and is_secret(key, value):
            told.append(f"{place} = (secret)")
        else:
            told.append(f"{place} = {json.dumps(_masked(value, key), ensure_ascii=False)}")
    return told


def _masked(value: Any, key: str) -> Any:
    """The value without what looks like a secret."""
    match value:
        case dict():
            return {k: _masked(v, k) for k, v in cast("dict[str, Any]", value).items()}
        case list():
            return [_masked(v, key) for v in cast("list[Any]", value)]
        case str() if is_secret(key, value):
            return "(secret)"
        case _:
            return value


def text_of(draft: Draft, field: str) -> str:
    """The value of a line as it is typed."""
    s = draft.script
    match field:
        case "query":
            return " ".join(s.select.ids) or s.select.query
        case "mode":
            return s.replay.mode
        case "from":
            return s.replay.from_
        case "code":
            return s.replay.image
        case "state" | "payload":
            patch = s.edit.patches()[field == "payload"]
            return json.dumps(patch, ensure_ascii=False) if patch else ""
        case "once":
            return s.replay.once
        case "forked":
            return s.select.forked
        case "pace":
            return f"{s.pace.rate}, {s.pace.max_in_flight}, {s.pace.stop_after_failures}"
        case "canary":
            return str(s.pace.canary)
        case "checks":
            told = [("warn: " if c.severity == "warn" else "") + c.expect for c in s.check]
            return "; ".join(told)
        case "queue":
            return s.replay.queue
        case "tags":
            return " ".join(s.replay.tags)
        case "limit":
            return str(s.select.limit)
        case _:
            return s.name


def with_text(script: Script, field: str, text: str) -> Script:
    """The script with another value in a line; raises HeadwayError with what was expected."""
    text = text.strip()
    made = _changed(script, field, text)
    try:
        # Types too: what was typed is judged as if it stood in a file.
        made = msgspec.convert(msgspec.to_builtins(made), Script)
    except msgspec.ValidationError as e:
        raise BadScript(f"{BY_ID[field].label}: {e}") from None
    check(made)
    return made


def _changed(s: Script, field: str, text: str) -> Script:
    match field:
        case "query":
            words = text.upper().split()
            if words and all(len(w) == 26 and w.isalnum() for w in words):
                return replace(s, select=replace(s.select, query="", ids=tuple(words)))
            return replace(s, select=replace(s.select, query=text, ids=()))
        case "limit":
            return replace(s, select=replace(s.select, limit=_number(field, text)))
        case "mode":
            return replace(s, replay=replace(s.replay, mode=cast("Any", text)))
        case "forked":
            return replace(s, select=replace(s.select, forked=cast("Any", text or "take")))
        case "from":
            return replace(s, replay=replace(s.replay, from_=text or "last"))
        case "code":
            return replace(s, replay=replace(s.replay, image=text or "current"))
        case "once":
            return replace(s, replay=replace(s.replay, once=text or "keep"))
        case "queue":
            return replace(s, replay=replace(s.replay, queue=text))
        case "tags":
            return replace(s, replay=replace(s.replay, tags=tuple(text.split())))
        case "state":
            return replace(s, edit=replace(s.edit, state=_patch(field, text)))
        case "payload":
            return replace(s, edit=replace(s.edit, payload=_patch(field, text)))
        case "canary":
            return replace(s, pace=replace(s.pace, canary=_number(field, text or "0")))
        case "pace":
            found = _PACE.fullmatch(text)
            if found is None:
                raise BadScript(f"pace: {text!r}: expected as in: 5/s, 10 at once, stop after 3")
            rate, many, stop = found.groups()
            pace = replace(
                s.pace, rate=rate, max_in_flight=int(many), stop_after_failures=int(stop)
            )
            return replace(s, pace=pace)
        case "checks":
            return replace(s, check=tuple(_check(c) for c in text.split(";") if c.strip()))
        case _:
            return replace(s, name=text)


def _number(field: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise BadScript(f"{field}: {text!r}: expected a number")
    return int(text)


def _check(text: str) -> Check:
    text = text.strip()
    if text.startswith("warn:"):
        return Check(text[5:].strip(), "warn")
    return Check(text)


def _patch(field: str, text: str) -> dict[str, Any] | str:
    """A merge patch, from JSON or from `a.b = JSON; c = JSON`."""
    if not text:
        return {}
    if text.startswith("{"):
        return text
    patch: dict[str, Any] = {}
    for part in text.split(";"):
        path, equals, value = part.partition("=")
        names = path.strip().removeprefix(f"{field}.").split(".")
        try:
            found = json.loads(value)
        except ValueError:
            found = None
            equals = ""
        if not equals or not all(names):
            raise BadScript(
                f'{field}: {part.strip()!r}: expected JSON, as in {{"model": "haiku"}}, or'
                ' model = "haiku"'
            )
        at = patch
        for name in names[:-1]:
            at = cast("dict[str, Any]", at.setdefault(name, {}))
        at[names[-1]] = found
    return json.dumps(patch)


def answered(script: Script, again: Sequence[str]) -> Script:
    """The script after somebody said of each once key whether it may happen again."""
    return replace(script, replay=replace(script.replay, once=clearing(again)))


def next_choice(draft: Draft, field: str) -> str:
    """What `space` changes the line to; empty where there is nothing to choose from."""
    choices = BY_ID[field].choices
    if not choices:
        return ""
    now = text_of(draft, field)
    return choices[(choices.index(now) + 1) % len(choices) if now in choices else 0]


# --- the text of it


def run_line(file: str, plan: str, count: int = 0) -> str:
    """The same from a shell; `count` where it has to be said how many runs start."""
    if not plan:
        return f"headway replay plan {file}"
    typed = f" --count {count}" if count else ""
    return f"headway replay run {file} --plan {plan[:8]} --yes{typed} --follow"


def written(draft: Draft, who: str, now: datetime) -> Written:
    """The file of the draft: comments tell what was decided, tables say what to do."""
    comments: list[str] = []
    if draft.recording:
        comments = [f"recorded by {who} in the console, {now:%Y-%m-%d %H:%M} UTC"]
        comments += [f"{d.at:%H:%M:%S} {d.what} {d.detail}".rstrip() for d in draft.decisions]
    return write_toml(draft.script, comments)


def opened(draft: Draft) -> str:
    """Why it cannot be planned yet; empty if it can."""
    try:
        check(draft.script)
    except HeadwayError as e:
        return str(e)
    return ""
