"""verify: the promises, checked one by one against what is stored.

`await verify(Ask(config))` reads Postgres, and where they are given NATS, the blob store, the
callers' journals and an effect ledger; it changes nothing. `path`, `epochs`, `retries`, `standing`,
`bodies`, `queues`, `logs`, `acks`, `effects` decide, with no I/O; `database`, `callers`, `streams`,
`objects`, `containers` fetch; `looking` puts them together. None of it uses the engine's decisions:
what is wrong there must show here.

`await verify_edge(nc, projection)` checks an edge, where RUNS is the truth: `edgelog` reads it,
`edgefold` makes the same facts of it, `edgerows` compares them with an engine's projection.
"""

from __future__ import annotations

from headway_ops.verify.ask import Ask
from headway_ops.verify.edge import verify_edge
from headway_ops.verify.looking import CannotLook, verify
from headway_ops.verify.report import INVARIANTS, Line, Note, Report, Violation

__all__ = [
    "INVARIANTS", "Ask", "CannotLook", "Line", "Note", "Report", "Violation", "verify",
    "verify_edge",
]  # fmt: skip
