"""`headway replay compare`: two runs, aligned by the names of their checkpoints."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from headway.replays.runs import view
from headway_ops import link, say
from headway_ops.forking import changed
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from headway.client import Client
    from headway.wire.commands import RunDetail

PARTS = ("numbers", "checkpoints", "state", "output")
NUMBERS = ("status", "error_class", "duration", "attempts", "checkpoints", "version", "cost_usd")


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
    if "numbers" in wanted:
        one, two = view(a), view(b)
        found["numbers"] = {n: [getattr(one, n), getattr(two, n)] for n in NUMBERS}
    rows = aligned(a, b)
    if "checkpoints" in wanted:
        found["checkpoints"] = rows
    if "state" in wanted:
        found["state"] = await _states(client, a, b, rows)
    if "output" in wanted:
        found["output"] = changed(await _output(client, a), await _output(client, b))
    return found


def aligned(a: RunDetail, b: RunDetail) -> list[dict[str, Any]]:
    """Checkpoints of both by name, in the order of the original, then what only the fork has."""
    left = {c.name: c for c in a.checkpoints}
    right = {c.name: c for c in b.checkpoints}
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys([*left, *right]):
        one, two = left.get(name), right.get(name)
        mark = "+" if one is None else "-" if two is None else "~"
        if one is not None and two is not None and one.sha256 == two.sha256:
            mark = " "
        found.append(
            {"name": name, "a": one.number if one else 0, "b": two.number if two else 0,
             "mark": mark}
        )  # fmt: skip
    return found


async def _states(
    client: Client, a: RunDetail, b: RunDetail, rows: list[dict[str, Any]]
) -> list[str]:
    told: list[str] = []
    for row in rows:
        if row["mark"] != "~":
            continue
        _, one = await client.state(a.row.run, row["a"])
        _, two = await client.state(b.row.run, row["b"])
        changes = changed(msgspec.json.decode(one), msgspec.json.decode(two))
        told += [f"{row['name']}: {change}" for change in changes]
    return told


async def _output(client: Client, detail: RunDetail) -> Any:
    ref = detail.result_ref
    body = bytes(detail.result) if ref is None else await client.fetch_blob(ref)
    return msgspec.json.decode(body) if body else None
