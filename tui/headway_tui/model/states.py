"""Saved states as rows: a tree of keys, and what changed between two checkpoints. Pure."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

from headway.texts import size
from headway_tui.model.texts import safe

_MISSING = object()
VALUE = 400
DEEP = 6


class StateRow(NamedTuple):
    """One row. `sign`: `+` new, `-` gone, `~` changed, ` ` as it was."""

    sign: str
    depth: int
    key: str
    value: str


def read(body: bytes) -> Any:
    """A state's value; what is no JSON stays a text."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def brief(value: Any) -> str:
    """A value on one line; of a long one its size."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > VALUE and isinstance(value, dict | list):
        return f"{_shape(value)} {size(len(text))}"
    return safe(text, VALUE)


def _shape(value: Any) -> str:
    return f"[{len(value)}]" if isinstance(value, list) else f"{{{len(value)}}}"  # pyright: ignore[reportUnknownArgumentType]


def tree(value: Any, key: str = "", depth: int = 0) -> list[StateRow]:
    """The value as rows, keys indented."""
    items = _items(value)
    if items is None or depth >= DEEP:
        return [StateRow(" ", depth, safe(key, 100), brief(value))]
    rows = [StateRow(" ", depth, safe(key, 100), _shape(value))] if key else []
    below = depth + 1 if key else depth
    for name, item in items:
        rows += tree(item, name, below)
    return rows


def _items(value: Any) -> list[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return [(str(k), v) for k, v in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, list):
        return [(f"[{i}]", v) for i, v in enumerate(value)]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return None


def diff(old: Any, new: Any, key: str = "", depth: int = 0) -> list[StateRow]:
    """What the new value has, with signs; gone keys stand where the old value had them last."""
    name = safe(key, 100)
    if old == new and type(old) is type(new):
        return [StateRow(" ", depth, name, brief(new))]
    both = _items(old), _items(new)
    if both[0] is None or both[1] is None or type(old) is not type(new) or depth >= DEEP:
        return [StateRow("~", depth, name, f"{_cut(old)} → {_cut(new)}")]
    before, after = dict(both[0]), dict(both[1])
    rows: list[StateRow] = []
    if key:
        rows.append(StateRow("~", depth, name, f"{_shape(old)} → {_shape(new)}"))
    below = depth + 1 if key else depth
    for k, v in after.items():
        if k not in before:
            rows.append(StateRow("+", below, safe(k, 100), brief(v)))
        elif isinstance(new, list) and before[k] == v:
            continue  # of a list only what changed
        else:
            rows += diff(before[k], v, k, below)
    rows += [StateRow("-", below, safe(k, 100), brief(before[k])) for k in before if k not in after]
    return rows


def _cut(value: Any) -> str:
    text = brief(value)
    return text if len(text) <= 60 else text[:59] + "…"


def counted(rows: list[StateRow]) -> str:
    """`+2 ~1 -0`."""
    return " ".join(f"{s}{sum(1 for r in rows if r.sign == s)}" for s in "+~-")


def paths(rows: list[StateRow]) -> list[tuple[str, ...]]:
    """For each row the keys that lead to it."""
    found: list[tuple[str, ...]] = []
    at: list[str] = []
    for row in rows:
        at[row.depth :] = [row.key]
        found.append(tuple(at))
    return found


def parents(rows: list[StateRow]) -> list[bool]:
    """For each row: is there something below it?"""
    return [b.depth > a.depth for a, b in pairwise(rows)] + [False] * bool(rows)


def unfolded(rows: list[StateRow], folded: set[tuple[str, ...]]) -> list[int]:
    """Which rows are seen: what is below a folded one is not."""
    seen: list[int] = []
    hidden: int | None = None
    for i, (row, path) in enumerate(zip(rows, paths(rows), strict=True)):
        if hidden is not None and row.depth > hidden:
            continue
        hidden = row.depth if path in folded else None
        seen.append(i)
    return seen


def value_at(value: Any, path: tuple[str, ...]) -> Any:
    """What stands under these keys, as rows have them; raises KeyError."""
    for key in path:
        items = _items(value) if key else None
        if items is None:
            if key:
                raise KeyError(key)
            continue
        value = next((v for k, v in items if safe(k, 100) == key), _MISSING)
        if value is _MISSING:
            raise KeyError(key)
    return value
