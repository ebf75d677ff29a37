"""Brings the schema up to date, under an advisory lock; refuses a schema that is newer than we are.

Migrations are plain SQL files `migrations/NNNN_name.sql`, each applied in one transaction. They
expand first and contract in a later release (DECISIONS G3), so that two engine versions can run
side by side; `schema.min_engine` is the oldest engine version that may use the schema.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import asyncpg

from headway._version import __version__
from headway.errors import HeadwayError
from headway_engine.store.postgres import statements

_SQL = statements.load("schema")
_DIGITS = re.compile(r"\d+")


SITES = "headway_sites"
"""The schema of Postgres with what a hub knows of the runs of its sites."""
OLDEST = 15
"""Of Postgres (DECISIONS I5)."""


class StoreTooOld(HeadwayError):
    """This Postgres is too old: install 15 or newer."""

    code = "store_too_old"


class SchemaTooNew(HeadwayError):
    """The database was migrated by a newer Headway: upgrade this engine."""

    code = "schema_too_new"


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) in order."""
    folder = resources.files("headway_engine.store.postgres").joinpath("migrations")
    files = [f for f in folder.iterdir() if f.name.endswith(".sql")]
    return sorted((int(f.name[:4]), f.read_text("utf-8")) for f in files)


async def migrate(dsn: str, schema: str = "") -> int:
    """Apply what is missing; the schema's version. Safe to run from several engines at once.

    `schema`: `SITES`, which is made, or empty: the connection's own.

    Raises StoreTooOld, SchemaTooNew, OSError or asyncpg.PostgresError. A crash in the middle leaves
    the last whole migration.
    """
    settings = {"application_name": "headway"} | ({"search_path": schema} if schema else {})
    conn: Any = await asyncpg.connect(dsn, timeout=5, server_settings=settings)
    try:
        if (major := conn.get_server_version().major) < OLDEST:
            raise StoreTooOld(f"Postgres {major} is too old: install {OLDEST} or newer")
        if schema:
            await conn.execute(_SQL["make_sites"])
        return await apply(conn, migrations())
    finally:
        await conn.close()


async def apply(conn: Any, wanted: list[tuple[int, str]]) -> int:
    """Apply those of `wanted` that the database does not have."""
    newest = wanted[-1][0]
    async with conn.transaction():
        await conn.execute(_SQL["lock"])
        await conn.execute(_SQL["create"])
        have = {r["version"] for r in await conn.fetch(_SQL["versions"])}
        found = max(have, default=0)
        if found > newest:
            oldest = await conn.fetchval(_SQL["min_engine"])
            if numbers(__version__) < numbers(oldest):
                raise SchemaTooNew(
                    f"the database has schema {found}, which needs engine {oldest} or newer; this"
                    f" is {__version__} with schema {newest}: upgrade this engine"
                )
            return found
        for version, sql in wanted:
            if version not in have:
                await conn.execute(sql)
                await conn.execute(_SQL["record"], version, min_engine(sql))
    return newest


def min_engine(sql: str) -> str:
    """The oldest engine that may use the schema after this migration: `-- min_engine: 0.1.0`."""
    first = sql.split("\n", 1)[0]
    return first.removeprefix("-- min_engine:").strip() or __version__


def numbers(version: str) -> tuple[int, ...]:
    """`0.1.0` as numbers; what follows a number (`0rc1`) is left out."""
    out: list[int] = []
    for part in version.split("."):
        digits = _DIGITS.match(part)
        if digits is None:
            break
        out.append(int(digits.group()))
    return tuple(out)
