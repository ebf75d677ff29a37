"""Words of list queries that all stores share, with no I/O."""

from __future__ import annotations

from headway.states import LIVE, TERMINAL, RunState

S = RunState
_COUNTED = frozenset({S.STARTING, S.RUNNING, S.CANCELLING, S.WAITING, S.SUCCEEDED})


def attempt_of(state: RunState, failures: int) -> int:
    """Attempts that used a retry, the current (or last, successful) one included."""
    return failures + (state in _COUNTED)


def states_of(status: tuple[str, ...]) -> list[str] | None:
    """States for the words of a query; `live` and `ended` are sets of them."""
    if not status:
        return None
    wanted: set[str] = set()
    for word in status:
        if word == "live":
            wanted |= {s.value for s in LIVE}
        elif word == "ended":
            wanted |= {s.value for s in TERMINAL}
        else:
            wanted |= {s.value for s in RunState if s.status == word}
    return sorted(wanted)
