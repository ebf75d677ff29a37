"""nats-py, without aiohttp: whoever needs nats-py at run time gets it from here.

nats-py imports aiohttp for WebSockets wherever it is installed, as it is beside an engine (the S3
client brings it): more time and memory than all the rest of nats-py takes, in every process.
"""

from __future__ import annotations

import sys
from typing import Any, cast

_modules = cast("dict[str, Any]", sys.modules)
_hidden = "aiohttp" not in _modules
if _hidden:
    _modules["aiohttp"] = None  # importing it fails at once, and nats-py does without
try:
    from nats import errors as nats_errors
    from nats.aio import transport
    from nats.aio.client import Client as NatsClient
    from nats.js.api import Header
    from nats.nuid import NUID
finally:
    if _hidden:
        del _modules["aiohttp"]

__all__ = ["NUID", "Header", "NatsClient", "nats_errors", "with_websockets"]


def with_websockets() -> None:
    """Before a connection to `ws://` or `wss://`. Raises ModuleNotFoundError without aiohttp."""
    import aiohttp
    import multidict

    module: Any = transport
    module.aiohttp, module.multidict = aiohttp, multidict
