"""Budgets: has a run used more than it may? Pure; one place for runner, engine and consoles."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway.wire.budget import Budget

_CENT = 1e-9
"""Sums of floats: so little is no difference."""


def over(budget: Budget, usd: float, tokens: int) -> str:
    """What was used beyond the budget, in words; empty = nothing was. Exactly all of it is fine."""
    return " and ".join(
        part
        for part, too_much in (
            (f"${usd:,.4f} of ${budget.usd:,.4f}", budget.usd and usd > budget.usd + _CENT),
            (f"{tokens:,} of {budget.tokens:,} tokens", budget.tokens and tokens > budget.tokens),
        )
        if too_much
    )


def told(budget: Budget) -> str:
    """A budget and what was used of it: `$0.1400 of $1.0000, 120 of 5,000 tokens`."""
    return ", ".join(
        part
        for part, given in (
            (f"${budget.spent_usd:,.4f} of ${budget.usd:,.4f}", budget.usd),
            (f"{budget.spent_tokens:,} of {budget.tokens:,} tokens", budget.tokens),
        )
        if given
    )
