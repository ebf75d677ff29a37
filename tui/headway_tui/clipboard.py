"""Copying that works over ssh and inside tmux, and says which way it went.

tmux drops OSC 52 with its default settings, so its own buffer is loaded there. Whatever happens,
the text also lies in a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from headway.folders import state_folder, write_private
from headway.safe import safe_text
from headway.texts import size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

OSC_LIMIT = 74_000
_LOCAL = (
    ("WAYLAND_DISPLAY", ("wl-copy",)),
    ("DISPLAY", ("xclip", "-selection", "clipboard")),
    ("", ("pbcopy",)),
)


def yank_file(env: Mapping[str, str]) -> Path:
    """Where the last copied text lies."""
    return state_folder(env) / "yank"


def copy(text: str, osc52: Callable[[str], None], env: Mapping[str, str] | None = None) -> str:
    """Copy a text, made safe and without its last newline; how it went, for a toast."""
    env = os.environ if env is None else env
    text = safe_text(text).rstrip("\n")
    count = size(len(text.encode()))
    to = f"copied {count} → "
    file = yank_file(env)
    kept = _keep(file, text)
    # What this process has is nothing to a browser, which obeys OSC 52 itself.
    browser = "WebDriver" in env.get("TEXTUAL_DRIVER", "")
    if not browser and env.get("TMUX") and _pipe(("tmux", "load-buffer", "-w", "-"), text):
        return to + "tmux buffer"
    if not browser and not env.get("SSH_CONNECTION"):
        for variable, command in _LOCAL:
            if (not variable or env.get(variable)) and _pipe(command, text):
                return to + command[0]
    if len(text) <= OSC_LIMIT:
        osc52(text)
        return to + ("the browser" if browser else "the terminal (OSC 52)")
    if kept:
        return f"{count}: too much for the terminal → {file}"
    return f"not copied: {count} is too much for the terminal, and {file} cannot be written"


def _keep(file: Path, text: str) -> bool:
    try:
        write_private(file, text.encode("utf-8", "replace"))
    except OSError:
        return False
    return True


def _pipe(command: tuple[str, ...], text: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    try:
        done = subprocess.run(
            command, input=text.encode(), timeout=2, check=False,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
