"""Keys to actions, chords included: one small state machine. Pure.

A chord waits for its next key as long as it takes; `escape` drops it and nothing fires by itself.
`keys.toml` gives actions other keys: `[keys]`, then `cancel = "K"` or `top = ["g g", "home"]`, by
the id of the action; an empty list takes its keys away.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from headway_tui.actions import ACTIONS, BY_ID, RESERVED, Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "asterisk": "*", "left_curly_bracket": "{",
    "right_curly_bracket": "}", "left_square_bracket": "[", "right_square_bracket": "]",
    "plus": "+", "minus": "-", "equals_sign": "=", "ampersand": "&", "vertical_line": "|",
    "at": "@", "upper_g": "G", "full_stop": ".",
}  # fmt: skip
"""Textual's names of keys that we write as signs."""


Key = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class BadKeys(ValueError):
    """A table of keys that cannot be: two actions on one key, an unknown action, a reserved key."""


def written(key: str) -> str:
    """A key of Textual's as the table writes it."""
    return NAMES.get(key, key)


def remapped(text: str) -> tuple[Action, ...]:
    """All actions with the keys that a `keys.toml` gives them; raises BadKeys."""
    if not text:
        return ACTIONS
    import tomllib

    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise BadKeys(f"no TOML: {e}") from None
    if other := [key for key in table if key != "keys"]:
        raise BadKeys(f"{other[0]!r} is unknown: there is one table, [keys]")
    given = table.get("keys", {})
    if not isinstance(given, dict):
        raise BadKeys("[keys] is a table")
    return _with_keys(given)  # pyright: ignore[reportUnknownArgumentType] TOML is open


def _with_keys(given: Mapping[str, Any]) -> tuple[Action, ...]:
    changed: dict[str, tuple[str, ...]] = {}
    for id_, value in given.items():
        if id_ not in BY_ID:
            from difflib import get_close_matches

            near = get_close_matches(id_, BY_ID, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; `:keys --md` lists them"
            raise BadKeys(f"no action {id_!r}{hint}")
        try:
            keys = msgspec.convert([value] if isinstance(value, str) else value, list[Key])
        except msgspec.ValidationError:
            raise BadKeys(f'{id_}: a key such as "X", or a list such as ["g g", "home"]') from None
        changed[id_] = tuple(_spelled(k) for k in keys)
        for key in changed[id_]:
            first = key.split(" ")[0]
            taken = key in RESERVED or (first in RESERVED and first != "g")
            if taken and key not in BY_ID[id_].keys:
                raise BadKeys(f"{id_}: {key!r} is reserved: it means the same to everybody")
    actions = tuple(replace(a, keys=changed[a.id]) if a.id in changed else a for a in ACTIONS)
    Keymap(actions)
    return actions


def _spelled(key: str) -> str:
    return " ".join("escape" if k == "esc" else written(k) for k in key.split())


class Pressed(NamedTuple):
    """What a key came to: an action, or a chord that waits for one of `then`."""

    action: Action | None
    chord: str = ""
    then: tuple[tuple[str, Action], ...] = ()


class Keymap:
    """The table of keys by place."""

    def __init__(self, actions: Iterable[Action] = ACTIONS) -> None:
        self._by_place: dict[str, dict[tuple[str, ...], Action]] = {}
        begun: dict[tuple[str, ...], tuple[tuple[str, ...], Action]] = {}
        for action in actions:
            for place in action.where:
                table = self._by_place.setdefault(place, {})
                for key in action.keys:
                    self._put(table, begun, place, tuple(key.split(" ")), action)

    @staticmethod
    def _put(
        table: dict[tuple[str, ...], Action],
        begun: dict[tuple[str, ...], tuple[tuple[str, ...], Action]],
        place: str,
        keys: tuple[str, ...],
        action: Action,
    ) -> None:
        """`begun`: per place and beginning of a chord, the first one that begins so."""
        heads = [keys[:n] for n in range(1, len(keys) + 1)]
        have = next(((h, table[h]) for h in heads if h in table), None)
        if have is None:
            have = begun.get((place, *keys))
        if have is not None:
            other, first = have
            raise BadKeys(
                f"in {place}: {first.id} has {' '.join(other)!r},"
                f" {action.id} has {' '.join(keys)!r}: one of them needs another key"
            )
        table[keys] = action
        for head in heads[:-1]:
            begun.setdefault((place, *head), (keys, action))

    def press(self, chord: Sequence[str], key: str, places: Iterable[str]) -> Pressed:
        """The next key after `chord`; the first place that knows it decides."""
        keys = (*chord, written(key))
        for place in places:
            table = self._by_place.get(place, {})
            if (action := table.get(keys)) is not None:
                return Pressed(action)
            then = tuple(
                (" ".join(k[len(keys) :]), a) for k, a in table.items() if k[: len(keys)] == keys
            )
            if then:
                return Pressed(None, " ".join(keys), then)
        return Pressed(None)
