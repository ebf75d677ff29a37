"""Loads the statements: each `.sql` file under `sql/` holds named and described ones.

`-- name: claim_load` starts a statement, the comment lines after it describe it. They are sent as
they are written: nothing is joined in Python, all values are parameters.
"""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(area: str) -> dict[str, str]:
    """The statements of `sql/<area>.sql` by name; raises ValueError for a name used twice."""
    text = (
        resources.files("headway_engine.store.postgres")
        .joinpath("sql", f"{area}.sql")
        .read_text("utf-8")
    )
    parts = _NAME.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"{area}.sql: {name} twice")
        found[name] = body.strip().rstrip(";")
    return found
