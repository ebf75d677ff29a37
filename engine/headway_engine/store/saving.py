"""The rules of saves that both stores share, with no I/O: order, event bodies, second look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headway.children import ChildRecord
from headway.wire.saves import Save, SaveCheckpoint, SaveMark

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGUN = ("started", "open")
"""Statuses that a mark may leave within its epoch."""

Round = tuple[list[tuple[int, SaveCheckpoint]], list[tuple[int, SaveMark]]]


def split(saves: Sequence[Save]) -> list[Round]:
    """Rounds of (checkpoints, marks), each with its place in `saves`.

    Within a round checkpoints are written before marks, a (run, key) occurs once, and so does a
    (run, epoch, number). What must come after an earlier save of the same run goes to a later
    round. A checkpoint that occurs twice with the same hash is left out the second time.
    """
    rounds: list[Round] = []
    at: dict[str, int] = {}
    marked: set[tuple[int, str]] = set()
    taken: set[tuple[int, str, Any]] = set()
    numbers: dict[tuple[str, int, int], str] = {}
    for i, save in enumerate(saves):
        turn = at.get(save.run, 0)
        if isinstance(save, SaveCheckpoint):
            number = (save.run, save.epoch, save.number)
            if numbers.setdefault(number, save.sha256) == save.sha256:
                if (turn, save.run) in marked:
                    turn += 1
                if any((t, save.run, number) in taken for t in range(turn + 1)):
                    continue  # the same once more: it gets the first one's answer
            else:
                turn += 1  # other content under the same number: refused after the first is in
            taken.add((turn, save.run, number))
        else:
            if (turn, save.run, save.key) in taken:
                turn += 1
            taken.add((turn, save.run, save.key))
            marked.add((turn, save.run))
        at[save.run] = turn
        while len(rounds) <= turn:
            rounds.append(([], []))
        if isinstance(save, SaveCheckpoint):
            rounds[turn][0].append((i, save))
        else:
            rounds[turn][1].append((i, save))
    return rounds


def by_namespace(saves: Sequence[Save], ns: Sequence[str]) -> list[list[int]] | None:
    """Places in `saves` per namespace, if two of them name the same run; else None.

    One of the two is not its agent's: it must not share a statement, nor an answer, with the other.
    """
    if not ns or len(set(ns)) == 1:
        return None
    owner: dict[str, str] = {}
    if all(owner.setdefault(s.run, who) == who for s, who in zip(saves, ns, strict=True)):
        return None
    places: dict[str, list[int]] = {}
    for i, who in enumerate(ns):
        places.setdefault(who, []).append(i)
    return list(places.values())


def checkpoint_data(save: SaveCheckpoint) -> dict[str, Any]:
    """Body of the event `checkpoint`."""
    return {"number": save.number, "name": save.name, "size": save.size}


def mark_event(save: SaveMark) -> str:
    """Kind of the event: `once` or `step`; waits inside an attempt are steps of their own kind."""
    return "once" if save.kind == "once" else "step"


def mark_data(save: SaveMark) -> dict[str, Any]:
    """Body of the event."""
    data: dict[str, Any] = {"key": save.key, "fn": save.fn}
    if save.kind != "step":
        data["status"] = save.status
    if save.kind not in ("step", "once"):
        data["verb"] = save.kind
    if save.token:
        data["token"] = save.token
    if save.size:
        data["size"] = save.size
    if save.seconds:
        data["seconds"] = save.seconds
    if save.error is not None:
        data["error"] = save.error.type
    if save.kind == "enqueue":
        data["child"] = msgspec.json.decode(bytes(save.value), type=ChildRecord).run
    return data


def may_write(save: SaveMark, kind: str, status: str, epoch: int) -> bool:
    """True if the mark may go over the recorded one (kind, status, epoch)."""
    if kind != save.kind or status == "done" or epoch > save.epoch:
        return False
    return epoch < save.epoch or (status in BEGUN and save.status not in BEGUN)


def look(
    save: SaveMark, kind: str | None, status: str, epoch: int, cancelling: bool
) -> tuple[str, str]:
    """The attempt is the run's own and the mark was not written: (outcome, message)."""
    if kind is None:
        if cancelling and save.status == "started":
            return "cancelling", "the run is being cancelled: no new once block"
        return "stale_epoch", "the attempt has ended"
    if kind != save.kind:
        return "conflict", f"key {save.key!r} is recorded as {kind}, not {save.kind}"
    if status == save.status or save.status in BEGUN:
        if epoch == save.epoch or status == "done":
            return "ok", ""  # a repeat, or late: what is recorded stays
        if cancelling and save.status == "started":
            return "cancelling", "the run is being cancelled: no new once block"
    if status in BEGUN:
        return "stale_epoch", "the attempt has ended"
    return "conflict", f"key {save.key!r} is recorded as {status}"
