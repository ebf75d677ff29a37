"""Keys to actions, chords included: one small state machine. Pure.

A chord waits for its next key as long as it takes; `escape` drops it and nothing fires by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway_tui.actions import ACTIONS, Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAMES = {
    "slash": "/", "colon": ":", "question_mark": "?", "asterisk": "*", "left_curly_bracket": "{",
    "right_curly_bracket": "}", "left_square_bracket": "[", "right_square_bracket": "]",
    "plus": "+", "minus": "-", "equals_sign": "=", "ampersand": "&", "vertical_line": "|",
    "at": "@", "upper_g": "G", "full_stop": ".",
}  # fmt: skip
"""Textual's names of keys that we write as signs."""


class BadKeys(ValueError):
    """Two actions of one place have the same key, or one key begins the other."""


def written(key: str) -> str:
    """A key of Textual's as the table writes it."""
    return NAMES.get(key, key)


class Pressed(NamedTuple):
    """What a key came to: an action, or a chord that waits for one of `then`."""

    action: Action | None
    chord: str = ""
    then: tuple[tuple[str, Action], ...] = ()


class Keymap:
    """The table of keys by place."""

    def __init__(self, actions: Iterable[Action] = ACTIONS) -> None:
        self._by_place: dict[str, dict[tuple[str, ...], Action]] = {}
        for action in actions:
            for place in action.where:
                table = self._by_place.setdefault(place, {})
                for key in action.keys:
                    self._put(table, place, tuple(key.split(" ")), action)

    @staticmethod
    def _put(
        table: dict[tuple[str, ...], Action], place: str, keys: tuple[str, ...], action: Action
    ) -> None:
        for other, have in table.items():
            short = min(len(other), len(keys))
            if other[:short] == keys[:short]:
                raise BadKeys(
                    f"in {place}: {have.id} has {' '.join(other)!r},"
                    f" {action.id} has {' '.join(keys)!r}"
                )
        table[keys] = action

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
