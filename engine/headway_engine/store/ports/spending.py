"""What runs have used of models, and what they may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headway.wire.runs import UsageAsk, UsageRow

__all__ = ["Spending"]


class Spending(Protocol):
    """What runs have used of models, and what they may use."""

    async def spent(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[int, int, float]]:
        """Of these runs, those that used something: (tokens in, tokens out, US dollars)."""
        ...

    async def set_budget(self, ns: str, run: str, usd: float, tokens: int, actor: str) -> None:
        """What a person gives to a run; 0 = as before."""
        ...

    async def budgets(self, ns: str, runs: Sequence[str]) -> dict[str, tuple[float, int]]:
        """What persons gave to these runs, if anything; 0 = nothing of that kind."""
        ...

    async def usage(self, ns: str, ask: UsageAsk) -> list[UsageRow]:
        """Sums of what runs have used, over a window."""
        ...
