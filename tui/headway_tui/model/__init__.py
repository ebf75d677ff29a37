"""What the screens show, without a terminal: rows of runs, timelines, logs, states. No I/O.

Facts go in (snapshots, events, log chunks) and rows come out; whoever draws asks only for the rows
that are on screen. `now` is always an argument.
"""

from __future__ import annotations
