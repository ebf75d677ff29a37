"""When the file of the projection cannot be trusted any more, and what is done then."""

from __future__ import annotations

import functools
import inspect
import sqlite3
from typing import TYPE_CHECKING, Any, TypeVar

from headway_engine.store import StoreDown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T", bound=type)

_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SHORT_READ = sqlite3.SQLITE_IOERR_SHORT_READ
"""A page that the file should have is not there: it was cut off."""


class Damaged(Exception):
    """What stands in the file cannot be: its text says what."""


def is_damage(error: Exception) -> bool:
    """The file is not what was written; a full disk, a lock or a mistake of ours is no damage."""
    if isinstance(error, Damaged):
        return True
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _CODES or code == _SHORT_READ:
        return True
    # Closed: it was to be made anew, and could not be.
    return str(error).startswith(("no such table", "no such column", "Cannot operate on a closed"))


def healed(cls: T) -> T:
    """A store whose calls, where they meet damage, have it mended (`_damaged`) and are StoreDown.

    Each caller asks again after StoreDown, and is answered from a projection that is being made
    anew.
    """
    for name, method in inspect.getmembers(cls, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            setattr(cls, name, _healed(method))
    return cls


def _healed(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return await method(self, *args, **options)
        except (sqlite3.Error, Damaged) as e:
            if is_damage(e):
                self._damaged(e)
                raise StoreDown("the projection is damaged, and is made anew") from None
            if isinstance(e, sqlite3.OperationalError):
                raise StoreDown(f"the projection cannot be used: {e}") from None
            raise

    return call
