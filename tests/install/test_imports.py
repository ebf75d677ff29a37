"""What an import loads, looked at in fresh processes; names that must not clash."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import headway

HEAVY = ("nats", "asyncpg", "docker", "textual", "pydantic", "typer", "rich", "aioboto3", "ssl")


def loaded_after(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after the code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["headway", "headway.sync", "headway.testing", "headway.runner.main"]
)
def test_the_tasks_process_loads_neither_nats_nor_anything_heavy(module: str) -> None:
    bare = loaded_after("import asyncio")  # asyncio itself takes ssl
    loaded = loaded_after(f"import {module}")
    assert not (loaded - bare) & set(HEAVY)
    assert not any(m.split(".")[0] == "nats" for m in loaded)
    assert "headway.client" not in loaded


def test_importing_headway_loads_msgspec_and_the_standard_library_only() -> None:
    roots = {m.split(".")[0] for m in loaded_after("import headway")}
    known = {"headway", "msgspec", "typing_extensions", "__main__"}
    foreign = {r for r in roots if r not in known and r not in sys.stdlib_module_names}
    # Start-up hooks of the environment (editable installs) are not ours.
    hooks = {m.split(".")[0] for m in loaded_after("pass")}
    assert foreign - hooks == set()


def test_the_client_is_loaded_when_it_is_asked_for() -> None:
    assert "nats" in loaded_after("import headway; headway.Client")


def test_no_public_name_is_also_a_module() -> None:
    modules = {m.name for m in pkgutil.iter_modules(headway.__path__)}
    assert modules & set(headway.__all__) == set()


def test_every_public_name_exists() -> None:
    for name in headway.__all__:
        assert getattr(headway, name) is not None
    with pytest.raises(AttributeError):
        _ = headway.nonsense  # type: ignore[attr-defined]


LATER = (
    "headway.replays", "headway.bundle", "headway.client", "headway.tasks", "headway.wire.frames",
    "headway_tui.screens.run", "headway_tui.screens.dead", "headway_tui.screens.queues",
    "headway_tui.screens.metrics", "headway_tui.screens.replay", "headway_tui.offline",
)  # fmt: skip
"""What the console's first paint has no use for."""


def test_the_consoles_first_paint_loads_only_what_it_shows() -> None:
    """In the app itself, at the call that follows its first paint."""
    loaded = loaded_after(
        "import os, sys\n"
        "from headway_ops import cli, console\n"
        "from headway_tui import app\n"
        "from headway.config import Settings\n"
        "found = []\n"
        "def painted():\n"
        "    found.extend(sys.modules)\n"
        "    one.exit()\n"
        "one = app.HeadwayApp(app.Options(Settings(), painted=painted))\n"
        "one.run(headless=True)\n"
        "print(*found, flush=True)\n"
        "os._exit(0)  # the link is being loaded meanwhile\n"
    )
    assert "headway_tui.screens.runs" in loaded
    heavy = {"nats", "typer", "pydantic", "asyncpg", "docker", "markdown_it", "pygments"}
    later = tuple(f"{name}." for name in (*heavy, *LATER))
    assert sorted(m for m in loaded if f"{m}.".startswith(later)) == []
