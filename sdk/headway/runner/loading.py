"""Why the user's modules did not load, where Python's own words lead astray.

A folder that the runner's user may not read looks to Python as if it were empty: all it says is "No
module named 'app'".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def reason(
    error: BaseException,
    modules: Iterable[str],
    source: str,
    may: Callable[[str, int], bool] = os.access,
) -> str:
    """What to say beside an error of loading `modules` from the folder `source`; mostly nothing.

    `may(path, mode)` is `os.access` of the runner's user.
    """
    if not source:
        return ""
    if isinstance(error, PermissionError) and _below(error.filename, source):
        return _unreadable(str(error.filename))
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    if error.name.partition(".")[0] not in {m.partition(".")[0] for m in modules}:
        return ""  # what the user's code imports: the words are right
    place = source
    for part in ("", *error.name.split(".")):
        place = os.path.join(place, part) if part else place
        if os.path.isdir(place) and not may(place, os.R_OK | os.X_OK):
            return _unreadable(place)
    if not os.path.isdir(source):
        return f"there is no folder {source}, or one above it is closed for {_who()}"
    if not os.listdir(source):
        return f"the folder {source} is empty here"
    return ""


def _who() -> str:
    return f"user {os.geteuid()}, under whom the task runs"


def _unreadable(path: str) -> str:
    return f"{path} is closed for {_who()}: chmod -R o+rX on it"


def _below(path: object, folder: str) -> bool:
    return isinstance(path, str) and path.startswith(folder.rstrip("/") + "/")
