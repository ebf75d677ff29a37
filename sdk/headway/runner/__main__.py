"""`python -m headway.runner`."""

from __future__ import annotations

from headway.runner.main import main

main()
