"""The sheet of `tag`: the tags that runs have now, and what is typed to change them. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from headway.tags import Retag
from headway_tui.model.sheets import Field, Sheet, action_sheet, shell
from headway_tui.model.texts import safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headway_tui.actions import Action
    from headway_tui.model.sheets import Meant

SHOWN = 24
"""Different tags that are told; more are counted."""


def read(text: str) -> tuple[Retag, str]:
    """The change that is typed, `+late -canary "+two words"`, and why it will not do."""
    try:
        words = shlex.split(text)
    except ValueError:
        return Retag(), "a quote is left open"
    for word in words:
        if word[0:1] not in {"+", "-"}:
            return Retag(), f"{word!r}: write +{word} to add it, -{word} to remove it"
    change = Retag(
        tuple(dict.fromkeys(w[1:] for w in words if w[0] == "+")),
        tuple(dict.fromkeys(w[1:] for w in words if w[0] == "-")),
    )
    return change, change.flaw


def flags(change: Retag) -> list[str]:
    """The change as options of `headway tag`."""
    added = [word for tag in change.add for word in ("--add", tag)]
    return added + [word for tag in change.remove for word in ("--remove", tag)]


def present(tags: Iterable[Sequence[str]]) -> str:
    """The tags of these runs in a line, those that most of them have first."""
    each = [set(some) for some in tags]
    counts = Counter(tag for some in each for tag in some)
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    told = [tag if n == len(each) else f"{tag} ({n} of {len(each)})" for tag, n in ranked[:SHOWN]]
    if len(ranked) > SHOWN:
        told.append(f"and {len(ranked) - SHOWN} more")
    return safe("  ".join(told), 400) or "none"


def tag_sheet(
    action: Action,
    meant: Meant,
    tags: Sequence[Sequence[str]],
    typed: str,
    where: str,
    *,
    protect: bool = False,
) -> Sheet:
    """What is to be typed. `tags`: of those runs whose rows are here; `typed`: what already was."""
    sheet = action_sheet(action, meant, where, protect=protect)
    some = f" of {len(tags):,} of them" if len(tags) < meant.count else ""

    def flaw(text: str) -> str:
        return read(text)[1]

    how = "+TAG adds, -TAG removes; a tag with spaces in quotes"
    change = Field(how, typed, flaw, "+late -canary")

    def same(answer: Sequence[str]) -> str:
        return f"{meant.cli} {shell(flags(read(answer[0])[0]))}"

    lines = [*sheet.lines, ("", "text"), (f"tags now{some}:  {present(tags)}", "text")]
    return sheet._replace(lines=lines, fields=[change, *sheet.fields], cli=same)
