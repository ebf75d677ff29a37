"""Store on the stream RUNS: one compare-and-set publish is the commit.

The truth is RUNS and the bucket `headway-settings`, both written with fsync. What stands in SQLite
is made from them, and made again when it is missing, damaged or of an older schema.
"""

from __future__ import annotations
