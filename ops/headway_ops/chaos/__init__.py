"""Faults on purpose: what is hit when (`plan`), and the hitting (`killer`).

`headway chaos` uses it on a user's own stack, the storm of the tests on theirs.
"""

from __future__ import annotations
