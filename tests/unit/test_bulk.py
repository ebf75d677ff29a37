"""Consent to actions on many runs."""

from __future__ import annotations

import pytest

from headway_ops.bulk import FEW, Consent, unconfirmed
from headway_ops.say import Exit


@pytest.mark.parametrize(
    ("count", "consent", "typed", "goes_on"),
    [
        (FEW, Consent(yes=True), None, True),
        (FEW + 1, Consent(yes=True), None, False),
        (FEW + 1, Consent(yes=True, expect=FEW + 1), None, True),
        (FEW + 1, Consent(expect=FEW + 1), None, False),
        (3, Consent(), "yes\n", True),
        (3, Consent(), "no\n", False),
        (3, Consent(), "", False),
        (120, Consent(), "120\n", True),
        (120, Consent(), "yes\n", False),
        (120, Consent(), None, False),
    ],
)
def test_more_than_a_few_runs_need_their_number(
    count: int, consent: Consent, typed: str | None, *, goes_on: bool
) -> None:
    refusal = unconfirmed("cancel", count, consent, lambda _: typed)
    assert (refusal is None) is goes_on
    if refusal is not None:
        assert refusal.code is Exit.REFUSED
