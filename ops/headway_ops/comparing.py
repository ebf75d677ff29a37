"""`headway replay compare`: two runs, aligned by the names of their checkpoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from headway.replays.compare import checkpoints, numbers, timeline
from headway.replays.reading import output_changes, state_changes
from headway_ops import link, say
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client

PARTS = ("numbers", "checkpoints", "state", "output")


def compare(original: str, other: str, only: str, *, as_json: bool) -> None:
    """Print what is different."""
    wanted = tuple(p.strip() for p in only.split(",")) if only else PARTS
    if unknown := set(wanted) - set(PARTS):
        raise Fail(f"--only {', '.join(sorted(unknown))}", f"one of {', '.join(PARTS)}", Exit.USAGE)
    found = link.with_client(lambda client: _both(client, original, other, wanted))
    if as_json:
        say.data(found)
        return
    for line in lines(found):
        say.line(line)


def lines(found: dict[str, Any]) -> list[str]:
    """The comparison for people: `-` only in the original, `+` only in the fork, `~` different."""
    told = [f"ORIGINAL {found['original']}   FORK {found['fork']}"]
    for name, (a, b) in found.get("numbers", {}).items():
        told.append(f"{' ' if a == b else '~'} {name:<12} {_word(a):<24} {_word(b)}")
    told += [
        f"{row['mark']} {row['name']:<24} {_number(row['a']):<8} {_number(row['b'])}"
        + ("   (shared)" if row["shared"] else "")
        for row in found.get("checkpoints", ())
    ]
    for what in ("state", "output"):
        told += [f"~ {what}: {change}" for change in found.get(what, ())]
    return told


def _word(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _number(value: int) -> str:
    return f"#{value}" if value else "-"


async def _both(
    client: Client, original: str, other: str, wanted: tuple[str, ...]
) -> dict[str, Any]:
    a, b = await asyncio.gather(link.detail(client, original), link.detail(client, other))
    found: dict[str, Any] = {"original": a.row.run, "fork": b.row.run}
    rows = checkpoints(timeline(a, b))
    if "numbers" in wanted:
        found["numbers"] = {n.name: [n.original, n.fork] for n in numbers(a, b)}
    if "checkpoints" in wanted:
        found["checkpoints"] = [
            {"name": r.name, "a": r.a.number if r.a else 0, "b": r.b.number if r.b else 0,
             "mark": r.mark, "shared": r.shared}
            for r in rows
        ]  # fmt: skip
    if "state" in wanted:
        found["state"] = [
            f"{row.name}: {change.text()}"
            for row in rows
            for change in await state_changes(client, a.row.run, b.row.run, row)
        ]
    if "output" in wanted:
        found["output"] = [c.text() for c in await output_changes(client, a, b)]
    return found
