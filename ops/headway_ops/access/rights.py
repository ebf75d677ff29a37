"""Who may publish and hear what: the one table, pure (RELIABILITY: nobody in).

A principal is what has credentials of its own. Everything that is not listed is refused by the
server. Whoever adds a subject, a stream or an api verb to the code adds it here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headway import subjects
from headway.verbs import READ_VERBS

if TYPE_CHECKING:
    from collections.abc import Iterable

CLIENT_VERBS = (
    "blob-done", "blob-get", "blob-put", "blob-url", "cancel", "commands", "events", "info", "logs",
    "result", "run", "runs", "send", "sites", "spans", "tasks",
)  # fmt: skip
"""What a program needs that enqueues runs and waits for them."""
_STEER_VERBS = (
    "ack", "agent-drain", "bulk", "deploy", "fork", "fork-bundle", "job-approve", "job-hold",
    "job-stop", "plan-start", "queue-set", "replay", "resume", "tag",
)  # fmt: skip
OPERATOR_VERBS = tuple(sorted({*READ_VERBS, *CLIENT_VERBS, *_STEER_VERBS}))
"""All of them."""

AGENT_VERBS = (
    "beat", "blob_done", "blob_get", "blob_put", "blob_url", "child_get", "claim", "ends",
    "enqueue", "load", "register", "report", "save",
)  # fmt: skip
"""What agents ask engines."""

STREAMS = (
    subjects.INGEST, subjects.WORK, subjects.RUNS, subjects.LOGS, subjects.SPANS,
    f"KV_{subjects.AGENTS_BUCKET}", f"KV_{subjects.SETTINGS_BUCKET}",
    f"OBJ_{subjects.BLOBS_BUCKET}",
)  # fmt: skip
"""What the engine declares; it may change their settings, but never delete one."""


class Rights(NamedTuple):
    """Subjects that one principal may publish on, and subscribe to."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def __or__(self, other: object) -> Rights:
        """Both together: for a server whose engine has one user."""
        assert isinstance(other, Rights)
        return Rights(
            tuple(dict.fromkeys(self.publish + other.publish)),
            tuple(dict.fromkeys(self.subscribe + other.subscribe)),
        )


def engine_work() -> Rights:
    """The engine's first connection: writes streams, pulls INGEST, steers agents."""
    intake = f"{subjects.INGEST}.{subjects.INTAKE_CONSUMER}"
    otlp = f"{subjects.SPANS}.{subjects.OTLP_CONSUMER}"
    blobs = f"OBJ_{subjects.BLOBS_BUCKET}"
    return Rights(
        (
            subjects.ALL_RUNS,
            "hw.work.>",
            "hw.ctl.>",
            "hw.hb.>",
            subjects.WAKE,
            f"$O.{subjects.BLOBS_BUCKET}.>",
            *(f"$JS.API.STREAM.{verb}.{s}" for s in STREAMS for verb in _STREAM_VERBS),
            *(f"$JS.API.DIRECT.GET.{s}" for s in (subjects.LOGS, subjects.SPANS, blobs)),
            # For `headway verify`, which asks as an engine.
            *(f"$JS.API.DIRECT.GET.{s}" for s in (subjects.RUNS, subjects.WORK)),
            f"$JS.API.STREAM.PURGE.{blobs}",
            f"$JS.API.STREAM.PURGE.{subjects.WORK}",
            # At the edge the truth is in RUNS, with the settings beside it.
            f"$JS.API.DIRECT.GET.KV_{subjects.SETTINGS_BUCKET}",
            f"$KV.{subjects.SETTINGS_BUCKET}.>",
            f"$JS.API.STREAM.PURGE.{subjects.RUNS}",
            f"$JS.API.CONSUMER.CREATE.{intake}",
            f"$JS.API.CONSUMER.INFO.{intake}",
            f"$JS.API.CONSUMER.MSG.NEXT.{intake}",
            f"$JS.ACK.{intake}.>",
            f"$JS.API.CONSUMER.CREATE.{otlp}",
            f"$JS.API.CONSUMER.INFO.{otlp}",
            f"$JS.API.CONSUMER.MSG.NEXT.{otlp}",
            f"$JS.ACK.{otlp}.>",
            f"$JS.API.CONSUMER.CREATE.{subjects.WORK}.*.>",
            f"$JS.API.CONSUMER.INFO.{subjects.WORK}.*",
        ),
        ("_INBOX.engine.>", subjects.WAKE, "hw.hb.engine.*", "hw.hb.agent.>", "hw.hb.queue.>"),
    )


_STREAM_VERBS = ("INFO", "CREATE", "UPDATE")


def engine_edge() -> Rights:
    """What the first connection needs besides where RUNS and the settings are the truth.

    Idempotency keys lie in RUNS beside the runs; what is past its time is purged from there.
    """
    settings = subjects.SETTINGS_BUCKET
    return Rights(
        (
            "hw.key.>",
            f"$KV.{settings}.>",
            f"$JS.API.DIRECT.GET.KV_{settings}",
            f"$JS.API.STREAM.PURGE.{subjects.RUNS}",
        ),
        (),
    )


def engine_of_site(name: str) -> Rights:
    """What an edge's first connection needs besides when it is a site of a hub.

    Over the link it reads what the hub keeps for it, under whatever name the hub has.
    """
    return Rights(
        (
            f"$JS.*.API.DIRECT.GET.{subjects.site_stream('DOWN', name)}",
            "hw.done.>",
            *(f"$JS.API.STREAM.{verb}.DONE" for verb in _STREAM_VERBS),
            "$JS.API.DIRECT.GET.DONE",
        ),
        (),
    )


def backup(user: str) -> Rights:
    """Somebody who copies an edge while it works, and can change nothing."""
    kept = (
        subjects.INGEST, subjects.RUNS, f"KV_{subjects.SETTINGS_BUCKET}",
        f"OBJ_{subjects.BLOBS_BUCKET}",
    )  # fmt: skip
    return Rights(
        (
            "$JS.API.STREAM.NAMES",
            *(f"$JS.API.STREAM.{verb}.{s}" for s in kept for verb in ("INFO", "SNAPSHOT")),
            "$JS.SNAPSHOT.ACK.>",  # each chunk waits for our word
        ),
        (_inbox(user),),
    )


def engine_of_hub(sites: Iterable[str]) -> Rights:
    """What the engine's first connection does besides at a hub: for each site what it must."""
    publish: list[str] = []
    for site in sites:
        copies = [subjects.site_stream(s, site) for s in ("RUNS", "LOGS", "SPANS", "DOWN")]
        publish += [f"$JS.API.STREAM.{verb}.{s}" for s in copies for verb in _STREAM_VERBS]
        publish += [f"$JS.API.DIRECT.GET.{s}" for s in copies]
        publish += [
            f"$JS.API.STREAM.PURGE.{copies[0]}",
            f"down.{site}.>",
            f"{subjects.site_api(site)}.STREAM.INFO.{subjects.RUNS}",
            f"{subjects.site_api(site)}.DIRECT.GET.DONE",
            f"{subjects.site_api(site)}.DIRECT.GET.OBJ_{subjects.BLOBS_BUCKET}",
        ]
    return Rights(tuple(publish), ())


def site(name: str, hub: str) -> Rights:
    """The leaf node of a site: is asked for its own streams, reads what is kept for it.

    Publish: what it may send to the hub; subscribe: what the hub may send to it. `hub`: the domain.
    """
    down = f"DIRECT.GET.{subjects.site_stream('DOWN', name)}"
    return Rights(
        (f"{subjects.site_sync(name)}.>", f"$JS.{hub}.API.{down}", f"$JS.API.{down}", "_R_.>"),
        (f"{subjects.site_api(name)}.>", "$JS.FC.>", "_INBOX.>", "_R_.>"),
    )


def engine_answers() -> Rights:
    """The engine's second connection: hears requests, and can write into no stream.

    A bug, or a forged reply subject, ends here.
    """
    return Rights(
        ("_INBOX.>", "_R_.>", "hw.reply.>"),
        ("hw.rpc.>", "hw.api.>", "$SRV.>", "_INBOX.engine.>"),
    )


def agent(ns: str, name: str, queues: Iterable[str]) -> Rights:
    """One agent: its own name, its namespace, and the queues that it serves."""
    consumers = [subjects.work_consumer(ns, queue) for queue in queues]
    return Rights(
        (
            # To any engine, and to one alone.
            *(subjects.rpc(ns, name, verb) for verb in AGENT_VERBS),
            *(f"{subjects.rpc(ns, name, verb)}.*" for verb in AGENT_VERBS),
            f"hw.log.{ns}.>",
            f"hw.span.{ns}.>",
            subjects.beat_agent(ns, name),
            *(f"$JS.API.CONSUMER.MSG.NEXT.{subjects.WORK}.{c}" for c in consumers),
            *(f"$JS.ACK.{subjects.WORK}.{c}.>" for c in consumers),
        ),
        (
            f"{subjects.inbox_prefix('agent', ns, name)}.>",
            subjects.ctl(ns, name),
            subjects.agent_reply(ns, name, "*"),
        ),
    )


def client(ns: str, user: str) -> Rights:
    """A program: enqueues, waits for results, watches its runs, cancels them."""
    return Rights(
        (subjects.ingest(ns), *_api(ns, user, CLIENT_VERBS)),
        (
            _inbox(user),
            f"hw.reply.{user}.*",
            f"hw.live.run.{ns}.>",
            f"hw.live.log.{ns}.>",
        ),
    )


def viewer(ns: str, user: str) -> Rights:
    """Somebody who looks, and can change nothing."""
    return Rights(_api(ns, user, READ_VERBS), (_inbox(user), *_seen(ns)))


def operator(ns: str, user: str) -> Rights:
    """Somebody who enqueues, deploys, pauses, decides."""
    return Rights(
        (subjects.ingest(ns), *_api(ns, user, OPERATOR_VERBS)),
        (_inbox(user), f"hw.reply.{user}.*", *_seen(ns)),
    )


def who_may(subject: str) -> list[str]:
    """Kinds of people that may publish there: for messages."""
    _, what, *rest = subject.split(".")
    if what == "in":
        return ["clients", "operators"]
    verb = rest[-1] if what == "api" else ""
    verbs = {"viewers": READ_VERBS, "clients": CLIENT_VERBS, "operators": OPERATOR_VERBS}
    return [kind for kind, may in verbs.items() if verb in may]


def _api(ns: str, user: str, verbs: Iterable[str]) -> tuple[str, ...]:
    return tuple(subjects.api(ns, user, verb) for verb in verbs)


def _inbox(user: str) -> str:
    return f"{subjects.inbox_prefix('client', user)}.>"


def _seen(ns: str) -> tuple[str, ...]:
    return (
        f"hw.live.*.{ns}.>",
        subjects.beat_engine(),
        subjects.beat_agent(ns),
        subjects.beat_queue(ns),
        subjects.beat_runs(ns),
        subjects.beat_job(ns),
    )
