"""The user's own folders of settings, state and cache, and files there that nobody else reads.

By the XDG variables, else under the home directory: HOME, or what the system knows of this user. A
user without any has a fresh folder of this process: no path in a shared directory can be guessed.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "headway"


def config_folder(env: Mapping[str, str] | None = None) -> Path:
    """What the user writes: keys, commands, contexts."""
    return _folder(env, "XDG_CONFIG_HOME", ".config")


def state_folder(env: Mapping[str, str] | None = None) -> Path:
    """What is kept for him: views, drafts, what was copied."""
    return _folder(env, "XDG_STATE_HOME", ".local/state")


def cache_folder(env: Mapping[str, str] | None = None) -> Path:
    """What may be thrown away."""
    return _folder(env, "XDG_CACHE_HOME", ".cache")


def _folder(env: Mapping[str, str] | None, variable: str, below: str) -> Path:
    env = os.environ if env is None else env
    base = env.get(variable, "")
    if not os.path.isabs(base):  # the specification: anything else is ignored
        base = os.path.join(_home(env), below)
    return Path(base) / NAME


def _home(env: Mapping[str, str]) -> str:
    home = env.get("HOME", "")
    if os.path.isabs(home):
        return home
    try:
        import pwd

        home = pwd.getpwuid(os.getuid()).pw_dir
    except (ImportError, KeyError):
        home = ""
    return home if os.path.isabs(home) and home != "/" else _made()


@cache
def _made() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix=f"{NAME}-")


def write_private(file: Path, data: bytes) -> None:
    """Write a file for its owner alone, folders too where they are missing. Raises OSError.

    Written beside and renamed: a crash in the middle leaves what was there; a link that lies there
    is replaced, not followed.
    """
    import tempfile  # not on the way to the first paint

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, beside = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
        os.replace(beside, file)
    except BaseException:
        os.unlink(beside)
        raise
