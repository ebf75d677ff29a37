"""A JSON value in $VISUAL or $EDITOR, opened again with what is wrong above it until it will do."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from headway.safe import safe_text
from headway_ops import say
from headway_ops.say import Exit, Fail

COMMENT = "#"
"""Lines at the top that begin so are for the reader: they are no part of the value."""


class Editing:
    """One value in the editor. What is left as it was after a refusal is given up."""

    def __init__(self, value: Any, what: str) -> None:
        """`what`: for messages."""
        self._what = what
        # Nothing in it moves the cursor of an editor: what a terminal obeys is escaped.
        self._text = safe_text(json.dumps(value, indent=2, ensure_ascii=True)) + "\n"
        self._flaw = ""

    def open(self) -> Any:
        """The value as it is left, once it is JSON; raises Fail."""
        while True:
            text = without_comment(edited(commented(self._flaw) + self._text))
            if self._flaw and text == self._text:
                todo = "it was not changed after that; nothing was forked"
                raise Fail(f"{self._what}: {self._flaw}", todo, Exit.USAGE)
            self._text = text
            try:
                return json.loads(text)
            except json.JSONDecodeError as e:
                self.refuse(f"line {e.lineno}, column {e.colno}: no JSON: {e.msg}")
            except (ValueError, RecursionError) as e:
                self.refuse(f"no JSON: {e}")

    def refuse(self, flaw: str) -> None:
        """What `open` gave will not do: it says why when it is opened again."""
        self._flaw = flaw
        say.tell(f"{self._what}: {flaw}")


def commented(flaw: str) -> str:
    """What is wrong, as lines above the value."""
    if not flaw:
        return ""
    told = "".join(f"{COMMENT} {line}\n" for line in safe_text(flaw).splitlines())
    return f"{told}{COMMENT} Left as it is, nothing is forked. These lines are no part of it.\n"


def without_comment(text: str) -> str:
    """The text below the comment."""
    lines = text.splitlines(keepends=True)
    first = next((i for i, line in enumerate(lines) if not line.startswith(COMMENT)), len(lines))
    return "".join(lines[first:])


def edited(text: str) -> str:
    """The text as $VISUAL or $EDITOR leaves it; raises Fail if that cannot be run or ends badly."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="headway-") as folder:
        file = Path(folder) / "edit.json"
        file.write_text(text, "utf-8")
        try:
            code = subprocess.call([*shlex.split(editor), str(file)])
        except (OSError, ValueError) as e:
            raise Fail(f"$EDITOR {editor!r}: {e}", "set EDITOR", Exit.USAGE) from None
        if code:
            raise Fail(f"{editor} ended with {code}: nothing was forked", "", Exit.REFUSED)
        try:
            return file.read_text("utf-8")
        except (OSError, UnicodeError) as e:
            raise Fail(f"what {editor} left cannot be read: {e}", "", Exit.REFUSED) from None
