"""Which kind of store is checked: rows of Postgres, or RUNS of an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headway_ops.verify.ask import Ask
    from headway_ops.verify.report import Report


async def verify(ask: Ask) -> Report:
    """Check everything that `ask` gives sources for; what cannot be reached is said per line.

    Raises CannotLook if the store cannot be read, OSError for journals and ledgers. Changes
    nothing.
    """
    # An edge has no package for Postgres.
    if ask.config.edge.folder:
        from headway_ops.verify.edge import verify_runs

        return await verify_runs(ask)
    from headway_ops.verify.looking import verify_rows

    return await verify_rows(ask)
