"""What a store has to say of itself to whoever asks an engine for `info`."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from headway_engine.sites.homing import Ships


@runtime_checkable
class Fills(Protocol):
    """A store whose lists are made from what is the truth, and may lack much of it for a while."""

    def filling(self) -> tuple[int, int] | None:
        """(how far it is, how far it has to go), in messages; None = nothing is missing."""
        ...


def told_of(store: object) -> dict[str, Any]:
    """How far its lists are, and its hub with what it did; nothing where there is nothing to say.

    Its hub: where nobody waits for one, there is none.
    """
    words: dict[str, Any] = {}
    if isinstance(store, Fills) and (found := store.filling()) is not None:
        words["filling"] = {"at": found[0], "of": found[1]}
    if isinstance(store, Ships) and store.holds:
        shipped = store.shipped()
        words["shipping"] = {"confirmed": shipped.seq, "lost": shipped.lost}
    return words


def unshipped(store: object) -> int:
    """Runs that this site removed before its hub had confirmed them; 0 at anything else."""
    return store.shipped().lost if isinstance(store, Ships) and store.holds else 0
