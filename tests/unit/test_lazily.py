"""The parser builds what it is asked for, and says the same as if it had built everything."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import typer

from headway_ops import cli
from headway_ops.commands import TABLE, function
from headway_ops.lazily import lazy


def modules_after(*arguments: str) -> set[str]:
    """The modules of commands that one command line loads."""
    code = (
        "import sys\nfrom headway_ops.cli import build\n"
        f"try: build()(args={list(arguments)!r}, prog_name='headway')\n"
        "except SystemExit: pass\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    found = {m for m in done.stderr.split() if m.startswith("headway_ops.commands.")}
    return {m.rpartition(".")[2] for m in found} - {"options"}


def test_a_command_loads_its_own_module_alone() -> None:
    assert modules_after("ls", "--help") == {"look"}
    assert modules_after("queue", "pause", "--help") == {"steer"}


def test_every_command_is_there_under_its_own_help() -> None:
    root: Any = cli.build()
    for path in TABLE:
        group, _, name = path.rpartition(" ")
        holder = root.commands[group] if group else root
        found = holder.commands[name]
        first = (function(path).__doc__ or "").splitlines()[0]
        assert (found.name, first in found.help) == (name, True), path
    assert list(root.commands)[:3] == ["up", "demo", "engine"]
    assert set(root.commands["agents"].commands) == {"drain"}


def test_groups_and_commands_do_what_they_are_called_for() -> None:
    called: list[str] = []
    made: dict[str, Any] = {
        "one": lambda: called.append("one"), "many": lambda: called.append("many"),
        "many more": lambda: called.append("more"), "held only": lambda: called.append("only"),
    }  # fmt: skip
    app = typer.Typer(rich_markup_mode=None)
    app.callback()(lambda: None)
    root = lazy(app, made, made.__getitem__, {"held": "Holds others."})
    for line in ("one", "many", "many more", "held only"):
        root(args=line.split(), prog_name="x", standalone_mode=False)
    assert called == ["one", "many", "many", "more", "only"]
