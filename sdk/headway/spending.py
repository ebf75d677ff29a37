"""usage(): what a run spends on language models, recorded with its saves."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

from headway.context import current_or_none, inside
from headway.errors import NotInRun
from headway.wire.saves import MODEL_LIMIT, MODELS, ModelUsage

if TYPE_CHECKING:
    from headway.context import Context

TOKENS_LIMIT = 2**53
COST_LIMIT = 1e9
OTHERS = "others"
"""The name under which models are summed that are one too many."""


class Spending:
    """The totals of one attempt, by model. Any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: dict[str, ModelUsage] = {}
        self._seen: dict[str, ModelUsage] = {}
        self.new = False
        """Something was added since they were told last."""

    def add(
        self, model: str, tokens_in: int, tokens_out: int, cost_usd: float, *, seen: bool = False
    ) -> None:
        """`seen`: in a span, not by a call of `usage`; these count only where none was made."""
        with self._lock:
            totals = self._seen if seen else self._said
            if model not in totals and len(totals) >= MODELS - 1:
                model = OTHERS
            u = totals.setdefault(model, ModelUsage(model))
            u.tokens_in = min(TOKENS_LIMIT, u.tokens_in + tokens_in)
            u.tokens_out = min(TOKENS_LIMIT, u.tokens_out + tokens_out)
            u.cost_usd = min(COST_LIMIT, u.cost_usd + cost_usd)
            self.new = True

    def sums(self) -> tuple[float, int]:
        """Dollars, and tokens in and out."""
        with self._lock:
            totals = (self._said or self._seen).values()
            return (sum(u.cost_usd for u in totals),
                    sum(u.tokens_in + u.tokens_out for u in totals))  # fmt: skip

    def told(self) -> list[ModelUsage]:
        """The totals as they are now, to be told."""
        with self._lock:
            self.new = False
            totals = self._said or self._seen
            return [ModelUsage(u.model, u.tokens_in, u.tokens_out, u.cost_usd)
                    for u in totals.values()]  # fmt: skip


def usage(
    *, tokens_in: int = 0, tokens_out: int = 0, cost_usd: float = 0.0, model: str = ""
) -> None:
    """Add to what this attempt has used; call it after each call of a model.

    Works in steps, once blocks, threads, and in plain `def` tasks alike; it sends nothing by
    itself: the totals go with the next save, or with the attempt's end, and are counted once
    however often they are sent. What was added after the last save is lost in a crash.

    Not needed where the client is instrumented with OpenTelemetry: its `gen_ai.usage.*` attributes
    are counted, unless the attempt calls this. Raises NotInRun, ValueError for what is negative or
    no number, and OverBudget if the run had used up its budget before (not inside a step or once
    block: its result is recorded first).
    """
    ctx = current_or_none()
    if ctx is None:
        raise NotInRun(f"usage(): {NotInRun.__doc__}")
    for name, value in (("tokens_in", tokens_in), ("tokens_out", tokens_out)):
        if not 0 <= value <= TOKENS_LIMIT:
            raise ValueError(f"usage({name}={value!r}): a count of tokens, not negative")
    if not math.isfinite(cost_usd) or not 0 <= cost_usd <= COST_LIMIT:
        raise ValueError(f"usage(cost_usd={cost_usd!r}): dollars, not negative")
    over = not inside() and bool(ctx.overspent())
    spending_of(ctx).add(clean_model(model), int(tokens_in), int(tokens_out), float(cost_usd))
    if over:
        ctx.check_budget()


def spending_of(ctx: Context) -> Spending:
    """The attempt's totals, made when they are needed first."""
    if ctx.spending is None:
        ctx.spending = Spending()
    return ctx.spending


def clean_model(text: str) -> str:
    """A model's name as the store keeps it: bounded, one line."""
    return "".join(c for c in text if c.isprintable())[:MODEL_LIMIT]
