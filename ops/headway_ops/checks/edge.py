"""An edge: is it fsynced, is there room, and what can one node not promise?"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any, cast

from headway import bus, subjects
from headway.errors import NotAllowed
from headway_engine.streams import shown_jetstream
from headway_ops.checks.finding import Finding, bad, note, ok
from headway_ops.settings import monitor_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from headway.bus import Connection
    from headway.wire.api import Info

ALWAYS = "write `jetstream { sync_interval: always }` into its config and restart it"


async def edge(nc: Connection, info: Info | None) -> list[Finding]:
    """What holds at an edge alone."""
    url = os.environ.get("HEADWAY_NATS_MONITOR_URL", "") or monitor_url()
    shown = await shown_jetstream(url, nc.server_id) if url else None
    seen = bool(shown and shown["config"].get("sync_always")) if url else None
    found = [fsync(seen, url, info.durability if info else "", interval_of(shown))]
    found += disk(shown, shutil.disk_usage) if shown else []
    if info and (filling := cast("dict[str, int]", info.detail.get("filling"))):
        found.append(filled(filling["at"], filling["of"]))
    try:
        runs = await bus.jsapi(nc, f"STREAM.INFO.{subjects.RUNS}")
    except NotAllowed:
        return [*found, UNSEEN, ONE_NODE]
    found.append(room(int(runs["state"]["bytes"]), int(runs["config"]["max_bytes"])))
    if info and (shipping := cast("dict[str, int]", info.detail.get("shipping"))):
        last = int(runs["state"]["last_seq"])
        found.append(home(shipping["confirmed"], last, shipping["lost"]))
    return [*found, ONE_NODE]


def interval_of(shown: dict[str, Any] | None) -> float:
    """Seconds between two fsyncs, by the monitoring port; 0 = it does not say."""
    found: dict[str, Any] = shown["config"] if shown else {}
    return int(found.get("sync_interval", 0)) / 1e9


def fsync(seen: bool | None, url: str, told: str, every: float = 0.0) -> Finding:
    """`seen`: what the monitoring port shows, None = not asked; `told`: the engine's word.

    `every`: seconds between two fsyncs, where it shows them.
    """
    if seen:
        return ok("edge", "NATS fsyncs before each acknowledgement (sync_interval: always)")
    if seen is False:
        if every:
            what = f"NATS fsyncs every {every:g} s: a power cut loses what was acknowledged since"
            return bad("edge", what, ALWAYS)
        what = f"{url} does not show sync_interval: always of this nats-server"
        return bad("edge", f"{what}: a power cut may lose what was acknowledged", ALWAYS)
    if told == "fsynced":
        return ok("edge", "NATS fsyncs before each acknowledgement, by the word of the engine")
    return note("edge", "whether NATS fsyncs before each acknowledgement was not seen",
                "set HEADWAY_NATS_MONITOR_URL, such as http://127.0.0.1:8222")  # fmt: skip


def room(used: int, most: int) -> Finding:
    """How full RUNS is, in bytes: it forgets nothing by itself."""
    what = f"{used / 2**20:,.0f} of {_mib(most)} of RUNS are used"
    todo = "raise edge.runs_bytes (and max_file_store of nats-server), then restart the engine"
    if used > most * 0.95:
        return bad("edge", f"{what}: soon nothing new is stored", todo)
    return note("edge", what, todo) if used > most * 0.8 else ok("edge", what)


def disk(shown: dict[str, Any], usage: Callable[[str], Any]) -> list[Finding]:
    """Whether the disk holds all that JetStream may still store; nothing if it is not ours.

    `usage`: of a path, as `shutil.disk_usage`.
    """
    config: dict[str, Any] = shown["config"]
    stats: dict[str, Any] = shown.get("stats") or {}
    store = str(config.get("store_dir", ""))
    try:
        free = int(usage(store).free)
    except OSError:
        return []  # nats-server is elsewhere
    left = max(0, int(config.get("max_storage", 0)) - int(stats.get("storage", 0)))
    what = f"JetStream may take {_mib(left)} more, {_mib(free)} are free in {store}"
    if free >= left:
        return [ok("edge", what)]
    todo = "lower max_file_store of nats-server (not below what the streams reserve), or free space"
    what += ": the disk is full before a stream is, and that stops the server"
    return [note("edge", what, todo)]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"


def filled(at: int, last: int) -> Finding:
    """How far the lists of the engine that answers are made anew, by messages of RUNS."""
    share = min(99, 100 * at // max(1, last))
    return note(
        "edge",
        f"the engine makes its lists anew: {at:,} of {last:,} messages of RUNS ({share} %). It"
        " works; until it is done lists and numbers lack runs, queues with limits and leases wait",
        "wait; if it begins again and again, its log says why",
    )


def home(confirmed: int, last: int, lost: int) -> Finding:
    """How much of RUNS the hub has confirmed; `lost`: runs that were removed before that."""
    what = f"the hub has confirmed RUNS up to {confirmed:,} of {last:,}"
    if lost:
        return bad(
            "edge",
            f"{what}; {lost:,} runs were removed before that, for want of room: the hub does not"
            " have their history",
            "raise edge.runs_bytes, or mend the link to the hub; what was lost stays lost",
        )
    return ok("edge", what)


UNSEEN = note(
    "edge",
    "how full RUNS is, this user may not see",
    "ask with the engine's credentials: env $(cat env/engine.env) headway doctor",
)
ONE_NODE = note(
    "edge",
    "one node, not highly available: while this box is off nothing runs; and there is one copy: a"
    " dead disk takes its runs along, a bit that rots is noticed at best, and not mended",
    "`headway edge backup DIR`, with DIR on another disk, from time to time",
)
