"""Own widgets on Textual's Line API: what is off screen is never touched, ingest never paints."""

from __future__ import annotations
