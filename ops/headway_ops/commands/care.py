"""doctor, settings: what is wrong here, and what can be set."""

from __future__ import annotations

from headway_ops.commands.options import JsonFlag


def doctor(as_json: JsonFlag = False) -> None:
    """Look at every dependency and setting, one line each. Exit 1 if something is wrong."""
    from headway_ops import doctor as checks

    checks.run(as_json=as_json)


def settings(as_json: JsonFlag = False) -> None:
    """Print every setting of engine and agent, as a sample TOML file."""
    from headway_ops import sample

    sample.run(as_json=as_json)
