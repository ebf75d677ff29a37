"""Postgres: version, the settings that the promises rest on, connections, the clock."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from headway_ops.checks.finding import LIMIT, Finding, bad, clock, note, ok
from headway_ops.settings import postgres_dsn, shown_dsn

if TYPE_CHECKING:
    from headway.wire.api import Info

MIN_POSTGRES = 15
SETTINGS = (
    "server_version", "fsync", "synchronous_commit", "full_page_writes", "autovacuum",
    "data_checksums", "max_connections", "default_transaction_read_only",
)  # fmt: skip
FREE = 10
"""Connections that one more engine needs."""


async def postgres(info: Info | None) -> list[Finding]:
    """From the engine's word, or by asking Postgres where we know it."""
    told = str(info.detail.get("postgres") or "") if info else ""
    dsn = postgres_dsn()
    if dsn and find_spec("asyncpg") is not None:
        return await _asked(dsn)
    if told:
        return postgres_facts({"server_version": told})
    return [note("postgres", "not asked: its address is not known here",
                 "set HEADWAY_POSTGRES_DSN to have it looked at")]  # fmt: skip


async def _asked(dsn: str) -> list[Finding]:
    import asyncpg

    try:
        conn: Any = await asyncpg.connect(dsn, timeout=LIMIT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError, ValueError) as e:
        # The text of a refusal names user and database; what could hold a password is not shown.
        why = str(e) if isinstance(e, asyncpg.PostgresError) else type(e).__name__
        todo = "start it, or mend the address: accepted runs wait in NATS until then"
        return [bad("postgres", f"not reachable at {shown_dsn(dsn)}: {why}", todo)]
    try:
        facts: dict[str, Any] = {
            name: str(await conn.fetchval("SELECT current_setting($1)", name)) for name in SETTINGS
        }
        facts["connections"] = await conn.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
        )
        facts["standby"] = await conn.fetchval("SELECT pg_is_in_recovery()")
        before = time.time()
        then = await conn.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        after = time.time()
    finally:
        await conn.close(timeout=LIMIT)
    skew = clock("postgres", then - (before + after) / 2, (after - before) / 2)
    return postgres_facts(facts) + skew


def postgres_facts(facts: dict[str, Any]) -> list[Finding]:
    """What the version and the settings mean for the promises; facts that are absent are not asked.

    Settings by their names, `connections` open now, `standby` true on one that only reads.
    """
    version = str(facts.get("server_version", ""))
    major = version.partition(".")[0]
    if not major.isdigit():
        return [note("postgres", f"version {version!r} is not known")]
    findings: list[Finding] = []
    if int(major) < MIN_POSTGRES:
        findings.append(bad("postgres", f"Postgres {version} is too old",
                            f"upgrade to {MIN_POSTGRES} or newer"))  # fmt: skip
    findings += [
        bad("postgres", f"{name} is off: committed runs can be lost",
            f"ALTER SYSTEM SET {name} = on, then reload it")
        for name in ("fsync", "synchronous_commit", "full_page_writes")
        if facts.get(name) in {"off", False}
    ]  # fmt: skip
    if facts.get("standby") is True:
        findings.append(bad("postgres", "this is a standby: it takes no writes",
                            "point the engine at the primary"))  # fmt: skip
    elif facts.get("default_transaction_read_only") == "on":
        findings.append(bad("postgres", "default_transaction_read_only is on: it takes no writes",
                            "ALTER SYSTEM RESET default_transaction_read_only"))  # fmt: skip
    findings += _care(facts)
    known = "fsync on" if facts.get("fsync") == "on" else "settings not asked"
    return findings or [ok("postgres", f"Postgres {version}, {known}")]


def _care(facts: dict[str, Any]) -> list[Finding]:
    """What does no harm today."""
    found: list[Finding] = []
    if facts.get("autovacuum") == "off":
        found.append(note("postgres", "autovacuum is off: plans go bad after some 10,000 runs",
                          "ALTER SYSTEM SET autovacuum = on"))  # fmt: skip
    if facts.get("data_checksums") == "off":
        found.append(note("postgres", "data checksums are off: silent corruption is not found",
                          "stop it and run pg_checksums --enable"))  # fmt: skip
    most, used = int(facts.get("max_connections", 0)), int(facts.get("connections", 0))
    if most and most - used < FREE:
        found.append(note("postgres", f"{used} of {most} connections are taken: one more engine"
                          f" needs {FREE}", "raise max_connections"))  # fmt: skip
    return found
