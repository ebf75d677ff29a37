"""Scripted replays: script to plan to job to report.

A script (TOML, or Python with plain functions) says which runs to fork, how and how fast. The plan
made of it is pure data whose sha256 is its name; the engine carries it out as a job.
"""

from __future__ import annotations

from headway.errors import BadQuery
from headway.replays.judging import report
from headway.replays.planning import make_plan
from headway.replays.plans import Planned, TooMany
from headway.replays.runs import RunView
from headway.replays.script import (
    BadScript,
    Loaded,
    Pace,
    Replay,
    Script,
    Select,
    drop_run,
    load,
    parse,
)
from headway.replays.verdicts import JobReport, Judged
from headway.replays.writing import Written, write_toml

__all__ = [
    "BadQuery",
    "BadScript",
    "JobReport",
    "Judged",
    "Loaded",
    "Pace",
    "Planned",
    "Replay",
    "RunView",
    "Script",
    "Select",
    "TooMany",
    "Written",
    "drop_run",
    "load",
    "make_plan",
    "parse",
    "report",
    "write_toml",
]
