"""What a real runner process is started with in tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from headway.wire.frames import (
    Env,
    Finish,
)

SUPPORT = str(Path(__file__).parents[1] / "support")


def env(**fields: Any) -> Env:
    return Env(vars={"GREETING": "hello"}, modules=("runner_tasks",), source=SUPPORT, **fields)


def result(frame: Finish) -> Any:
    return msgspec.json.decode(frame.result)
