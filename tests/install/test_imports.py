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
