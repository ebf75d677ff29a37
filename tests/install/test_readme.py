from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from headway_engine.config import sample_toml

ROOT = Path(__file__).parents[2]
TEXTS = ["README.md", "ops/README.md"]
SCRIPTS = ["ops/demo", "ops/test", ".ci/run"]


def commands(text: str) -> list[list[str]]:
    """Every `headway ...` of the code blocks and of inline code, split into words."""
    blocks = re.findall(r"```(?:\w*)\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(headway [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found: list[list[str]] = []
    for line in lines:
        match = re.match(r"(?:\$ )?(headway(?: [a-z-].*)?)$", line)
        if match:
            try:
                found.append(shlex.split(match[1], comments=True))
            except ValueError:  # a line of a transcript, not a command
                continue
    return found


def headway(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway_ops", *arguments],
        capture_output=True, text=True, timeout=50, check=False, cwd="/",
    )  # fmt: skip


def paths() -> set[str]:
    """All command paths: `ls`, `queue pause` ..."""
    from headway_ops.commands import TABLE

    return set(TABLE)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_there_executable_and_well_formed(name: str) -> None:
    path = ROOT / name
    assert os.access(path, os.X_OK)
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_readme_names_both_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "ops/demo" in text
    assert "ops/test" in text


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_of_the_texts_exists(name: str) -> None:
    known = paths()
    groups = {path.split()[0] for path in known if " " in path}
    found = commands((ROOT / name).read_text())
    assert found
    for words in found:
        if len(words) < 2 or words[1].startswith("-"):
            continue
        path = " ".join(words[1:3]) if words[1] in groups else words[1]
        if path in groups:  # the text speaks of the whole group
            continue
        assert path in known, " ".join(words)


@pytest.mark.parametrize("name", TEXTS)
def test_every_option_of_the_texts_exists(name: str) -> None:
    helps: dict[str, str] = {}
    groups = {path.split()[0] for path in paths() if " " in path}
    for words in commands((ROOT / name).read_text()):
        if len(words) < 2 or words[1].startswith("-"):
            continue
        path = words[1:3] if words[1] in groups else words[1:2]
        for word in words[len(path) + 1 :]:
            if not word.startswith("--") or word == "--":
                continue
            key = " ".join(path)
            if key not in helps:
                helps[key] = headway(*path, "--help").stdout
            assert word.partition("=")[0] in helps[key], " ".join(words)


def test_every_row_of_what_happens_when_is_a_test() -> None:
    text = (ROOT / "README.md").read_text()
    section = text.partition("## What happens when\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)[1:]
    backed = dict(line.split(" = ") for line in section.splitlines() if "::" in line)
    assert [row for row in rows if row != "---"] == list(backed)
    for tests in backed.values():
        for test in tests.split():
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(), test


def test_the_readme_has_every_command() -> None:
    section = (ROOT / "README.md").read_text().partition("## Commands\n")[2].partition("\n## ")[0]
    left = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for cell in left:
        group = ""
        for text in re.findall(r"`([^`]+)`", cell):
            # Behind `headway replay ls` the names of its siblings stand alone.
            words = text.split()
            words = words[1:] if words[0] == "headway" else [group, *words]
            named |= {" ".join(words[:n]) for n in (1, 2)}
            group = words[0]
    assert not paths() - named


INNER = {"HEADWAY_FAULTS", "HEADWAY_FAULTS_SEEN"}
"""For the project's own tests."""


def test_every_variable_that_is_read_is_in_the_texts() -> None:
    readmes = [
        ROOT / "README.md",
        *ROOT.glob("*/README.md"),
        *ROOT.glob("ops/examples/*/README.md"),
    ]
    texts = "".join(path.read_text() for path in readmes)
    read: set[str] = set()
    for folder in ("sdk", "engine", "tui", "ops"):
        for path in (ROOT / folder).rglob("*.py"):
            read |= set(re.findall(r"[\"']?(HEADWAY_[A-Z_]+[A-Z])\b", path.read_text()))
    # `HEADWAY_<SECTION>_<FIELD>` is written down once for all: `headway settings` lists the fields.
    settings: set[str] = set()
    for part in re.split(r"(?m)^\[", sample_toml())[1:]:
        fields = re.findall(r"(?m)^(?:# )?([a-z0-9_]+) = ", part)
        settings |= {f"HEADWAY_{part.partition(']')[0]}_{field}".upper() for field in fields}
    assert len(settings) > 20
    assert not {name for name in read - settings - INNER if name not in texts}
