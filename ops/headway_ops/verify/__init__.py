"""verify: the promises, checked one by one against what is stored.

`await verify(Ask(config))` reads Postgres, and where they are given NATS, the blob store, the
callers' journals and an effect ledger; it changes nothing. `path`, `epochs`, `retries`, `standing`,
`bodies`, `queues`, `logs`, `acks`, `effects` decide, with no I/O; `database`, `callers`, `streams`,
`outputs`, `objects`, `containers` fetch; `looking` puts them together. None of it uses the engine's
decisions: what is wrong there must show here.

With `edge.folder` in the settings RUNS is the truth: `edgelog` reads it, `edgefold` makes the same
facts of it, `edgerows` compares them with an engine's projection, `edgecallers` with journals;
`edge` puts them together, without anything of Postgres being imported.
"""

from __future__ import annotations

from headway_ops.verify.ask import Ask, CannotLook
from headway_ops.verify.report import INVARIANTS, Line, Note, Report, Violation
from headway_ops.verify.which import verify

__all__ = ["INVARIANTS", "Ask", "CannotLook", "Line", "Note", "Report", "Violation", "verify"]
