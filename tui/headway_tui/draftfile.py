"""The draft of a replay on disk: it outlives the screen, the link and a crash of the console.

One file per namespace, readable by its owner alone, since an edit may hold what nobody else should
read. It is written beside and renamed: a crash in the middle leaves the draft before.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

import msgspec

from headway.folders import state_folder, write_private
from headway_tui.model.drafts import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_DRAFT = msgspec.json.Decoder(Draft)


def draft_file(namespace: str, env: Mapping[str, str] | None = None) -> Path:
    """Where the draft of a namespace lies."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", namespace)
    return state_folder(env) / "drafts" / f"{name}.json"


def keep(draft: Draft, file: Path) -> str:
    """Write the draft; why it could not be written, or nothing."""
    try:
        write_private(file, msgspec.json.encode(draft))
    except OSError as e:
        return f"the draft is not kept over a crash: {e}"
    return ""


def kept(file: Path) -> Draft | None:
    """The draft of the session before; None if there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return _DRAFT.decode(file.read_bytes())
    return None


def save(text: str, path: str, *, own: bool) -> str:
    """Write a script; why not, or nothing. `own`: it is the file that the draft was read from.

    A file of somebody else's is not overwritten.
    """
    try:
        with open(path, "w" if own else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        return f"{path} is there already: W saves under another name"
    except OSError as e:
        return f"{path}: {e.strerror or e}"
    return ""
