"""A screen over another one that gives an answer and goes: once, however fast keys come."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Modal(ModalScreen[T]):
    """What was typed for it before it was gone is not an answer of its own."""

    _answered = False

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Answer and close. A second time would answer again, and close what is below."""
        if self._answered:
            return AwaitComplete.nothing()
        self._answered = True
        return super().dismiss(result)
