"""Every subject, stream, consumer and bucket name: built and parsed here only.

Tokens are checked when a subject is built, since nats-py lets wildcards through: a name with a dot,
a space, `*` or `>` raises `BadName` before anything is published.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from headway.errors import BadName
from headway.ids import is_run_id

PREFIX = "hw"

INGEST = "INGEST"
WORK = "WORK"
RUNS = "RUNS"
LOGS = "LOGS"
SPANS = "SPANS"
BLOBS_BUCKET = "headway-blobs"
AGENTS_BUCKET = "headway-agents"
SETTINGS_BUCKET = "headway-settings"
INTAKE_CONSUMER = "intake"
ENGINE_QUEUE = "engine"
"""Queue group in which all engines answer rpc and api requests."""

_NAME = re.compile(r"\A[a-z0-9][a-z0-9_-]{0,63}\Z")
_TOKEN = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")


def site_stream(stream: str, site: str) -> str:
    """A hub's copy of a site's stream: `RUNS_berlin`."""
    return f"{stream}_{name(site, 'site')}"


def site_api(site: str) -> str:
    """The JetStream API of a site, as it is seen through the leaf link."""
    return f"$JS.{name(site, 'site')}.API"


def site_sync(site: str) -> str:
    """Under this a site's server sends its hub the messages that the hub copies."""
    return f"sync.{name(site, 'site')}"


def is_name(text: str) -> bool:
    """True for a task, queue, namespace, agent or site name: `a-z 0-9 _ -`, at most 64."""
    return _NAME.match(text) is not None


def name(text: str, what: str = "name") -> str:
    """The text itself if it may be a token of a subject; raises BadName otherwise."""
    if _NAME.match(text) is None:
        raise BadName(what, text)
    return text


def _token(text: str, what: str) -> str:
    if _TOKEN.match(text) is None:
        raise BadName(what, text)
    return text


def _run(text: str) -> str:
    if not is_run_id(text):
        raise BadName("run id", text)
    return text


def ingest(ns: str) -> str:
    """Where enqueue requests go (stream INGEST)."""
    return f"hw.in.{name(ns, 'namespace')}"


def work(ns: str, queue: str) -> str:
    """Where dispatched runs of a queue go (stream WORK)."""
    return f"hw.work.{name(ns, 'namespace')}.{name(queue, 'queue')}"


_DOUBLE = re.compile("-(?=-)")


def work_consumer(ns: str, queue: str) -> str:
    """The durable pull consumer of a queue; two places never share one.

    `--` joins the two names. Where it is a part of the namespace, `-D` stands between its hyphens:
    names hold no capitals, so the first `--` after the `w` is always ours.
    """
    return f"w--{_DOUBLE.sub('-D', name(ns, 'namespace'))}--{name(queue, 'queue')}"


EV, SET, READY = "ev", "set", "ready"
"""What a message of a run is: transitions; at the edge also changes without any, and the word that
it may start now, which the queue follows."""
ALL_RUNS = "hw.run.>"
"""All of all runs."""


def of_run(ns: str, run: str, kind: str) -> str:
    """A subject of a run that is stored; `kind` is EV, SET, `READY.<queue>`, or `>` for all.

    Its tokens were checked when it was recorded, and are not checked again: every event of the
    engine goes through here.
    """
    return f"hw.run.{ns}.{run}.{kind}"


def run_event(ns: str, run: str) -> str:
    """The one subject of a run's transitions (stream RUNS), the kind is in the body."""
    return f"hw.run.{name(ns, 'namespace')}.{_run(run)}.{EV}"


def run_all(ns: str, run: str) -> str:
    """The filter for all that a run has in RUNS: what a compare-and-set goes over at the edge."""
    return f"hw.run.{name(ns, 'namespace')}.{_run(run)}.>"


KEYS = "hw.key.>"
"""All idempotency keys: RUNS has them at the edge alone, and is told by them from a server's."""


def idempotency_key(ns: str, task: str, scope: str, key: str) -> str:
    """Where the holder of an idempotency key is written; of a namespace that is stored."""
    digest = sha256("\0".join((task, scope, key)).encode()).hexdigest()[:40]
    return f"hw.key.{ns}.{digest}"


def is_key(subject: str) -> bool:
    """True for a subject of `idempotency_key`."""
    return subject.startswith("hw.key.")


def run_ready(ns: str, run: str, queue: str) -> str:
    """The word that a run may start now; at the edge WORK takes these from RUNS."""
    return f"hw.run.{name(ns, 'namespace')}.{_run(run)}.{READY}.{name(queue, 'queue')}"


READY_TO_WORK = ("hw.run.*.*.ready.*", "hw.work.{{wildcard(1)}}.{{wildcard(3)}}")
"""How WORK renames what it takes from RUNS: `run_ready` to `work`."""


def live_event(ns: str, run: str | None = None) -> str:
    """What observers subscribe to for transitions: republished after storing."""
    token = "*" if run is None else _run(run)
    return f"hw.live.run.{name(ns, 'namespace')}.{token}.ev"


def log(ns: str, run: str, epoch: int) -> str:
    """Log chunks of one attempt (stream LOGS)."""
    return f"hw.log.{name(ns, 'namespace')}.{_run(run)}.{epoch}"


def live_log(ns: str, run: str | None = None, epoch: int | None = None) -> str:
    """Republished log chunks of one run (or of all), of one attempt or of all."""
    token = "*" if run is None else _run(run)
    return f"hw.live.log.{name(ns, 'namespace')}.{token}.{'*' if epoch is None else epoch}"


def stored_logs(ns: str, run: str, epoch: int | None = None) -> str:
    """The filter for stored log chunks of one run, of one attempt or of all."""
    return f"hw.log.{name(ns, 'namespace')}.{_run(run)}.{'*' if epoch is None else epoch}"


def span(ns: str, run: str, epoch: int) -> str:
    """OpenTelemetry spans of one attempt (stream SPANS)."""
    return f"hw.span.{name(ns, 'namespace')}.{_run(run)}.{epoch}"


def live_span(ns: str, run: str | None = None, epoch: int | None = None) -> str:
    """Republished spans of one run (or of all), of one attempt or of all."""
    token = "*" if run is None else _run(run)
    return f"hw.live.span.{name(ns, 'namespace')}.{token}.{'*' if epoch is None else epoch}"


def stored_spans(ns: str, run: str, epoch: int | None = None) -> str:
    """The filter for stored spans of one run, of one attempt or of all."""
    return f"hw.span.{name(ns, 'namespace')}.{_run(run)}.{'*' if epoch is None else epoch}"


OTLP_CONSUMER = "otlp"
"""The durable consumer of SPANS for the export to a collector."""


def rpc(ns: str, agent: str, verb: str, engine: str | None = None) -> str:
    """Agent to engine. With `engine`, to that engine alone (DECISIONS A5); without, to any."""
    base = f"hw.rpc.{name(ns, 'namespace')}.{name(agent, 'agent')}.{_token(verb, 'verb')}"
    return base if engine is None else f"{base}.{_token(engine, 'engine')}"


RPC_ANY = "hw.rpc.*.*.*"


def rpc_of(engine: str) -> str:
    """The subject on which one engine hears the agents that chose it."""
    return f"hw.rpc.*.*.*.{_token(engine, 'engine')}"


class RpcSubject(NamedTuple):
    """Who asks what, as the broker vouches for it."""

    ns: str
    agent: str
    verb: str


def parse_rpc(subject: str) -> RpcSubject:
    """Namespace, agent and verb of an rpc subject (with or without the engine's token)."""
    parts = subject.split(".")
    return RpcSubject(parts[2], parts[3], parts[4])


def api(ns: str, user: str, verb: str) -> str:
    """Client or TUI to engine; the broker vouches for `user`, so that the audit is true."""
    return f"hw.api.{name(ns, 'namespace')}.{_token(user, 'user')}.{_token(verb, 'verb')}"


API_ANY = "hw.api.*.*.*"


def api_verb(verb: str) -> str:
    """One verb of all namespaces and users, as service discovery shows it."""
    return f"hw.api.*.*.{_token(verb, 'verb')}"


class ApiSubject(NamedTuple):
    """Who asks what."""

    ns: str
    user: str
    verb: str


def parse_api(subject: str) -> ApiSubject:
    """Namespace, user and verb of an api subject."""
    parts = subject.split(".")
    return ApiSubject(parts[2], parts[3], parts[4])


def ctl(ns: str, agent: str, run: str | None = None) -> str:
    """Engine to agent, about one run: the fast path of cancel; the beat's answer is sure."""
    token = "*" if run is None else _run(run)
    return f"hw.ctl.{name(ns, 'namespace')}.{name(agent, 'agent')}.{token}"


def reply(user: str, token: str) -> str:
    """Where a caller hears `recorded` and results; named in enqueue bodies.

    `user` is the name that the broker lets it listen under, `token` one that cannot be guessed.
    """
    return f"hw.reply.{_token(user, 'user')}.{_token(token, 'token')}"


def agent_reply(ns: str, agent: str, token: str) -> str:
    """Where an agent hears of the ends of children; one token more than callers may name."""
    return f"hw.reply.agent.{name(ns, 'namespace')}.{name(agent, 'agent')}.{token}"


_REPLY = re.compile(r"\Ahw\.reply\.[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}\Z")
_AGENT_REPLY = re.compile(r"\Ahw\.reply\.agent(\.[A-Za-z0-9_-]{1,64}){3}\Z")


def is_reply(subject: str) -> bool:
    """True if a caller may name it in a body; never that of an agent."""
    return _REPLY.match(subject) is not None


def may_push(subject: str) -> bool:
    """True if the engine may publish ends there: a caller's reply subject, or an agent's."""
    return is_reply(subject) or _AGENT_REPLY.match(subject) is not None


KINDS = frozenset({"engine", "agent", "client"})
"""Kinds of principals, as they stand in inboxes. Client: whoever asks on `hw.api`."""


def may_answer(subject: str, *sender: str) -> bool:
    """True if a request's reply subject is an inbox of its sender: only there we respond.

    Broker permissions do not check reply subjects: a request that names `hw.run...`, or the inbox
    of somebody else, would make the engine write there with the engine's rights. `sender` is the
    kind and what follows it in `inbox_prefix`; without it any inbox will do. `_R_.` is what the
    broker makes of a reply that crosses accounts. An inbox without a kind belongs to nobody whom
    permissions name: a plain NATS client's.
    """
    if not subject.startswith("_INBOX."):
        return subject.startswith("_R_.")
    if not sender or subject.startswith(f"_INBOX.{'.'.join(sender)}."):
        return True
    return subject.split(".", 2)[1] not in KINDS


def inbox_prefix(kind: str, *ident: str) -> str:
    """The inbox prefix of a principal, which one rule of permissions can name.

    `engine` and its id, `agent` and its namespace and name, `client` and the user.
    """
    return ".".join(("_INBOX", _token(kind, "kind"), *(_token(part, "id") for part in ident)))


def beat_engine(engine: str = "*") -> str:
    """Engine beats for the eyes (core NATS)."""
    return f"hw.hb.engine.{engine if engine == '*' else _token(engine, 'engine')}"


def beat_agent(ns: str, agent: str = "*") -> str:
    """Agent beats for the eyes (core NATS)."""
    token = agent if agent == "*" else name(agent, "agent")
    return f"hw.hb.agent.{name(ns, 'namespace')}.{token}"


def beat_queue(ns: str, queue: str = "*") -> str:
    """Queue numbers for the eyes (core NATS)."""
    token = queue if queue == "*" else name(queue, "queue")
    return f"hw.hb.queue.{name(ns, 'namespace')}.{token}"


BEATS_OF_AGENTS = "hw.hb.agent.*.*"
BEATS_OF_QUEUES = "hw.hb.queue.*.*"
"""Of all namespaces: for engines."""


def beat_runs(ns: str) -> str:
    """Digests of a busy namespace for the eyes, in place of its single events (core NATS)."""
    return f"hw.hb.runs.{name(ns, 'namespace')}"


def beat_job(ns: str, job: str = "*") -> str:
    """Numbers of replay jobs for the eyes (core NATS)."""
    token = job if job == "*" else _token(job, "job")
    return f"hw.hb.job.{name(ns, 'namespace')}.{token}"


WAKE = "hw.wake"
"""Engines tell each other that a queue may have room (core NATS, a hint): body = `ns.queue`."""


def run_of(subject: str) -> str:
    """The run id of a `hw.run`, `hw.log`, `hw.span` or `hw.live.*` subject."""
    parts = subject.split(".")
    return parts[4] if parts[1] == "live" else parts[3]


def epoch_of_log(subject: str) -> int:
    """The epoch of a log or span subject, live or stored; 0, which none has, if it is no number."""
    token = subject.rsplit(".", 1)[1]
    return int(token) if token.isascii() and token.isdigit() and len(token) < 10 else 0
