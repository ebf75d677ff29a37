"""An exception as data: bounded, printable text for the wire."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

from headway.wire import ErrorInfo

if TYPE_CHECKING:
    from types import TracebackType

MESSAGE_LIMIT = 8 * 1024
TRACEBACK_LIMIT = 32 * 1024
_HERE = os.path.dirname(__file__) + os.sep


def clean(text: str, limit: int) -> str:
    """The text without what no store can keep (NUL, lone surrogates), cut in the middle."""
    text = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if len(text.encode()) <= limit:
        return text
    half = max(8, limit // 2 - 32)
    head = text.encode()[:half].decode("utf-8", "ignore")
    tail = text.encode()[-half:].decode("utf-8", "ignore")
    return f"{head}\n... (cut) ...\n{tail}"


def error_info(error: BaseException) -> ErrorInfo:
    """Type name, message (8 KiB) and traceback (32 KiB), the latter from the user's first frame."""
    tb = _users(error.__traceback__)
    try:
        message = str(error)
    except Exception as e:  # a __str__ that fails must not hide the error itself
        message = f"(its message cannot be shown: {type(e).__name__})"
    try:
        text = "".join(traceback.format_exception(type(error), error, tb))
    except Exception:
        text = ""
    return ErrorInfo(
        clean(type(error).__qualname__, 200),
        clean(message, MESSAGE_LIMIT),
        clean(text, TRACEBACK_LIMIT),
    )


def _users(tb: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame outside of this package on; all of it if there is none."""
    at = tb
    while at is not None and at.tb_frame.f_code.co_filename.startswith(_HERE):
        at = at.tb_next
    return at if at is not None else tb
