"""A text in $VISUAL or $EDITOR, while the console steps aside."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from headway_tui.app import HeadwayApp


def in_editor(app: HeadwayApp, text: str) -> str:
    """The text as the editor leaves it; raises HeadwayError if it cannot be run or ends badly.

    The console waits: what happens meanwhile is read again afterwards.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        file = Path(folder) / "edit.json"
        file.write_text(text, "utf-8")
        try:
            with app.suspend():
                code = subprocess.call([*shlex.split(editor), str(file)])
        except SuspendNotSupported:
            raise HeadwayError(
                "this terminal cannot be lent to an editor: headway fork RUN --edit does the same"
            ) from None
        except (OSError, ValueError) as e:
            raise HeadwayError(f"the editor {editor!r} cannot be run: {e}; set EDITOR") from None
        if code:
            raise HeadwayError(f"{editor} ended with {code}: nothing was changed")
        try:
            return file.read_text("utf-8")
        except (OSError, UnicodeError) as e:
            raise HeadwayError(f"what {editor} left cannot be read: {e}") from None
