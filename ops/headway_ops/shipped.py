"""Files that are no code and belong to Headway: examples, configuration of an edge.

In a checkout they lie under ops/, in an installation under `share/headway` of its environment.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path


def checkout() -> Path | None:
    """The checkout that this code runs from; None = it is installed."""
    root = Path(__file__).resolve().parents[2]
    try:
        text = (root / "pyproject.toml").read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return root if '\nname = "headway"\n' in text else None


def shipped(name: str) -> Path:
    """Where a folder of ours lies, such as `examples/research`; it need not be there."""
    root = checkout()
    if root is not None:
        return root / "ops" / name
    return Path(sysconfig.get_path("data")) / "share" / "headway" / name
