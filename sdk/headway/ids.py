"""Run ids: ULIDs made by the caller, so that a repeated enqueue is the same run.

A ULID is 48 bits of milliseconds since the Unix epoch and 80 random bits, written as 26 upper-case
Crockford base32 characters (https://github.com/ulid/spec). Ids sort by the time they were made.
"""

from __future__ import annotations

import os
import re
import time
from hashlib import sha256

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_ULID = re.compile(r"\A[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_TRACE = re.compile(r"\A[0-9a-f]{32}\Z")
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}


def encode(milliseconds: int, randomness: int) -> str:
    """The ULID of a time (ms since the Unix epoch, 48 bits) and 80 random bits."""
    p, t, high, low = _PAIRS, milliseconds, randomness >> 40, randomness & 0xFFFFFFFFFF
    # Written out: a loop takes three times as long, and every enqueue makes an id.
    return (
        f"{p[t >> 40]}{p[t >> 30 & 1023]}{p[t >> 20 & 1023]}{p[t >> 10 & 1023]}{p[t & 1023]}"
        f"{p[high >> 30]}{p[high >> 20 & 1023]}{p[high >> 10 & 1023]}{p[high & 1023]}"
        f"{p[low >> 30]}{p[low >> 20 & 1023]}{p[low >> 10 & 1023]}{p[low & 1023]}"
    )


def new_run_id(now_ms: int | None = None) -> str:
    """A fresh run id; `now_ms` (ms since the Unix epoch) is for tests."""
    ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return encode(ms, int.from_bytes(os.urandom(10), "big"))


def derived_run_id(at_ms: int, *parts: str) -> str:
    """A run id that the same parts always give: of a child, of a schedule's firing.

    `at_ms` fixes the time half (DECISIONS F7: the parent's own), the hash of the parts the rest.
    """
    digest = sha256("\x00".join(parts).encode("utf-8", "surrogatepass")).digest()
    return encode(at_ms, int.from_bytes(digest[:10], "big"))


def child_run_id(root: str, parent: str, key: str) -> str:
    """The id of the run that `parent` enqueues under a key: the same in every attempt of it.

    `root` is the parent's own root. Its time half is the parent's (DECISIONS F7).
    """
    return derived_run_id(time_of(parent), root, parent, key)


def child_root(root: str, key: str) -> str:
    """The root of such a child: the id that it has under the parent's root itself.

    So children have tokens of their own (siblings must not share them), and the child of a replay
    has those of the child that it repeats.
    """
    return child_run_id(root, root, key)


def is_run_id(text: str) -> bool:
    """True if the text is a well-formed run id."""
    return _ULID.match(text) is not None


def time_of(run_id: str) -> int:
    """When the id was made, in milliseconds since the Unix epoch."""
    value = 0
    for c in run_id[:10]:
        value = value * 32 + _VALUES[c]
    return value


def number_of(run_id: str) -> int:
    """All 128 bits of an id."""
    value = 0
    for c in run_id:
        value = value * 32 + _VALUES[c]
    return value


def trace_of(traceparent: str, root: str) -> str:
    """The id of the trace that a run's spans belong to: 32 hex digits.

    That of the W3C traceparent which came with its enqueue; else all attempts of a run, and all its
    children, share one whose id is the root run's ULID (both have 128 bits).
    """
    parts = traceparent.split("-")
    if len(parts) == 4 and _TRACE.match(parts[1]) and parts[1].strip("0"):
        return parts[1]
    return f"{number_of(root):032x}"
