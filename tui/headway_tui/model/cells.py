"""Columns and cells of tables. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A column; the one with width 0 takes what is left."""

    title: str
    width: int
    to_right: bool = False


class Cell(NamedTuple):
    """A cell: text that is safe to paint, and its role of colour."""

    text: str
    role: str = "text"
