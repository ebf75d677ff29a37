"""An operator takes an agent out and back in: command line, engine, agent, what observers see."""

from __future__ import annotations
