"""The command line and the tools around one installation."""

from __future__ import annotations
