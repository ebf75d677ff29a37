"""The streams of a hub, one of each kind per site: copies of what a site's own streams hold."""

from __future__ import annotations

from typing import Any

from headway import subjects

Config = dict[str, Any]

DAY = 24 * 3600 * 1_000_000_000
MIB = 1024 * 1024
SEEN_BYTES = 512 * MIB
"""Of a site's logs, and of its spans."""


def declared_site(site: str, first: int = 0) -> dict[str, Config]:
    """Their configuration, by name; made at the hub alone, the site is asked to change nothing.

    `first`: of RUNS nothing before that sequence is wanted.

    A hub copies messages in the order of the site and remembers in the copies how far it came, so
    it goes on there after any outage of either. Copies may be lost with the hub's disk: they are
    asked for again, and each counts once (`following`).
    """
    return {
        str(s["name"]): s
        for s in (
            _copy(site, subjects.RUNS, "run", "transitions of runs", first),
            {**_copy(site, subjects.LOGS, "log", "output of attempts"), **_seen()},
            {**_copy(site, subjects.SPANS, "span", "OpenTelemetry spans"), **_seen()},
        )
    }


def _copy(site: str, stream: str, token: str, what: str, first: int = 0) -> Config:
    external = {"api": subjects.site_api(site), "deliver": subjects.site_sync(site)}
    return {
        "name": subjects.site_stream(stream, site),
        "description": f"site {site}: {what}",
        "subjects": [],
        "storage": "file",
        "num_replicas": 1,
        "persist_mode": "async",
        "retention": "limits",
        "allow_direct": True,
        "duplicate_window": 1_000_000_000,
        "sources": [
            {"name": stream, "external": external} | ({"opt_start_seq": first} if first else {})
        ],
        "republish": {"src": f"hw.{token}.>", "dest": f"hw.live.{token}.>"},
    }


def _seen() -> Config:
    return {
        "max_age": 7 * DAY,
        "max_bytes": SEEN_BYTES,
        "max_msgs_per_subject": 10_000,
        "discard": "old",
        "compression": "s2",
    }
