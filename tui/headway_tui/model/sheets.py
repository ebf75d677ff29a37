"""What a sheet says and asks for, before anything is changed. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from headway.texts import plural
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from headway_tui.actions import Action
    from headway_tui.model.dead import Piece

_TYPE = "type "
COUNT_FROM = 11
"""With so many runs their number has to be typed."""


@dataclass(frozen=True, slots=True)
class Meant:
    """The runs that a command means."""

    count: int
    runs: list[tuple[str, str]]
    """(id, what it is): some of them at least."""
    cli: str
    """The line that does the same."""
    query: str = ""
    """All that match it; empty = those of `runs`."""
    left_out: int = 0
    """Marked ones that the command cannot move."""


class Field(NamedTuple):
    """Something to type."""

    label: str
    value: str = ""
    flaw: Callable[[str], str] = lambda _text: ""
    """Why a text will not do; empty if it will."""
    hint: str = ""


Same = str | Callable[[Sequence[str]], str]
"""The same from a shell: a line, or what makes one of what is typed in the fields."""


class Sheet(NamedTuple):
    """Title, safe lines with their roles, what is to be typed, and the same from a shell."""

    title: str
    lines: Sequence[Piece]
    fields: Sequence[Field] = ()
    cli: Same = ""


def count_field(count: int, least: int = COUNT_FROM) -> list[Field]:
    """The number of runs, where they are many."""
    if count < least:
        return []

    def flaw(text: str) -> str:
        return "" if text.strip().replace(",", "") == str(count) else f"type {count}, or esc"

    return [Field(f"{_TYPE}{count} to do it", "", flaw)]


def texts(lines: Sequence[str]) -> list[Piece]:
    """Plain lines."""
    return [(line, "text") for line in lines]


def shell(words: Sequence[str]) -> str:
    """Words as a shell takes them."""
    return " ".join(shlex.quote(word) for word in words)


def guarded(sheet: Sheet, context: str) -> Sheet:
    """On a protected connection the context is typed where no count is."""
    if any(field.label.startswith(_TYPE) for field in sheet.fields):
        return sheet

    def flaw(text: str) -> str:
        return "" if text.strip() == context else f"type {context}, or esc"

    return sheet._replace(fields=[*sheet.fields, Field(f"{_TYPE}{context} to do it", "", flaw)])


def action_sheet(action: Action, meant: Meant, where: str, *, protect: bool = False) -> Sheet:
    """What a command would do to whom; `protect`: any count is typed."""
    said = [action.help, "", f"{plural(meant.count, 'run')} on {safe(where, 80)}:"]
    if meant.query:
        said.append(f"  all that match  {safe(meant.query, 200)}")
    shown = meant.runs[:6]
    said += [f"  {safe(run, 26)}  {safe(what, 60)}" for run, what in shown]
    if meant.count > len(shown):
        said.append(f"  … and {meant.count - len(shown):,} more")
    if meant.left_out:
        said.append(f"  {meant.left_out:,} of those marked cannot be meant: they have ended, or do"
                    " not wait")  # fmt: skip
    return Sheet(
        action.title.rstrip("…"),
        texts(said),
        count_field(meant.count, 1 if protect else COUNT_FROM),
        meant.cli,
    )
