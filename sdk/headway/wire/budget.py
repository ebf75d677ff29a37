"""A run's budget, as it travels to the attempt and to whoever looks."""

from __future__ import annotations

from msgspec import Struct


class Budget(Struct, omit_defaults=True):
    """What a run may use of language models, and what it has used; 0 = no such limit."""

    usd: float = 0.0
    tokens: int = 0
    """In and out together."""
    spent_usd: float = 0.0
    """By what was recorded when this was read."""
    spent_tokens: int = 0
