"""`python -m headway_ops` is the `headway` command; child processes are started this way."""

from __future__ import annotations

from headway_ops.cli import main

if __name__ == "__main__":
    main()
