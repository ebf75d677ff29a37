"""The operator's console: what happens, live, over NATS alone.

link (one connection) → feeds (snapshots and events) → model (pure) → widgets, painted by one clock.
`actions` is the table from which keys, `:` names, palette, help and footer come.
"""

from __future__ import annotations
