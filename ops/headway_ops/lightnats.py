"""For our own programs: nats-py without aiohttp, which it takes along where that is installed.

It is for `ws://` servers alone, and to load it takes as long as all else that a command needs.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

_TRANSPORT, _HIDDEN = "nats.aio.transport", "aiohttp"


class _Light:
    """Hides aiohttp from that one module while it is being loaded, from nobody else."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """As the import system asks every finder: None = others know; raises for the hidden one."""
        if name == _HIDDEN:
            loading: Any = sys.modules.get(_TRANSPORT)
            if loading is not None and not hasattr(loading, "Transport"):
                raise ModuleNotFoundError(f"{name} is not loaded for nats", name=name)


def arm() -> None:
    """From now on in this process, unless a `ws://` server may be meant."""
    said = (*sys.argv, os.environ.get("HEADWAY_NATS_URL", ""))
    if not any("ws://" in word or "wss://" in word for word in said):
        sys.meta_path.insert(0, _Light())  # pyright: ignore[reportArgumentType] a finder by its method
