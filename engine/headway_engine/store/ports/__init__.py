"""The store port by topic; `Store` is all of them, and its module says what holds for each."""

from __future__ import annotations
