"""Principals into accounts: pure.

A tenant is one core account with JetStream (`HW`), where its engines live. Everybody else has an
account alone, without JetStream, and reaches the core through imports. So the server rewrites every
reply subject on its way: an answer, or the server's own ack, can be aimed at nobody else, since
nobody else hears anything in that account.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from headway import subjects
from headway.errors import HeadwayError
from headway_ops.access import rights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal[
    "engine", "answers", "both", "backup", "agent", "client", "viewer", "operator", "site"
]
"""`engine` and `answers` are an engine's two connections; `both` is one user for the two."""

CORE = "HW"
"""The tenant that is there without `--tenant`, and its core account."""


class BadPlan(HeadwayError):
    """The principals that were asked for do not fit together."""

    code = "bad_request"


class Principal(NamedTuple):
    """Who gets credentials of their own."""

    kind: Kind
    name: str
    ns: str = ""
    queues: tuple[str, ...] = ("default",)
    """Of an agent."""
    edge: bool = False
    """Of an engine: without Postgres, its streams are the truth."""
    own_site: str = ""
    """Of an engine at an edge: the name by which it may join a hub."""
    sites: tuple[str, ...] = ()
    """Of an engine at a hub: those that it follows."""
    hub: str = "hub"
    """Of a site: the JetStream domain of its hub."""

    @property
    def label(self) -> str:
        """Its own in a tenant: agents are named within their namespace. A dot is in no name."""
        if self.kind == "site":
            return f"site.{self.name}"
        return f"agent.{self.ns}.{self.name}" if self.kind == "agent" else self.name

    @property
    def rights(self) -> rights.Rights:
        """What the server lets it do."""
        match self.kind:
            case "engine":
                return self._work
            case "answers":
                return rights.engine_answers()
            case "both":
                return self._work | rights.engine_answers()
            case "backup":
                return rights.backup(self.name)
            case "site":
                return rights.site(self.name, self.hub)
            case "agent":
                return rights.agent(self.ns, self.name, self.queues)
            case "client":
                return rights.client(self.ns, self.name)
            case "viewer":
                return rights.viewer(self.ns, self.name)
            case "operator":
                return rights.operator(self.ns, self.name)

    @property
    def _work(self) -> rights.Rights:
        work = rights.engine_work() | rights.engine_of_hub(self.sites)
        if not self.edge:
            return work
        work |= rights.engine_edge()
        return work | rights.engine_of_site(self.own_site) if self.own_site else work


class Tenant(NamedTuple):
    """Namespaces that share one engine, and nothing with others."""

    name: str
    namespaces: tuple[str, ...]
    people: tuple[Principal, ...]
    """Agents, clients, viewers, operators."""
    sites: tuple[Principal, ...] = ()
    """Leaf nodes that it is the hub of."""


class Share(NamedTuple):
    """Subjects that one account offers, or takes a part of."""

    kind: Literal["service", "stream"]
    subject: str
    many: bool = False
    """A service that answers one request with several messages."""


class Import(NamedTuple):
    """What an account takes from another one."""

    share: Share
    account: str


@dataclass
class Account:
    """One account of the server. What it exports is open: the file alone says who imports what."""

    name: str
    what: str
    users: list[Principal]
    jetstream: bool = False
    exports: tuple[Share, ...] = ()
    imports: list[Import] = field(default_factory=list[Import])
    streams: int = 16
    """At most so many."""

    def take(self, account: Account, kind: Literal["service", "stream"], *subjects: str) -> None:
        """Import these from another account."""
        self.imports += [Import(Share(kind, subject), account.name) for subject in subjects]


EXPORTS = (
    Share("service", "hw.in.*"),
    Share("service", "hw.api.>"),
    Share("service", "hw.rpc.>"),
    Share("service", "hw.log.>"),
    Share("service", "hw.span.>"),
    Share("service", f"$JS.API.CONSUMER.MSG.NEXT.{subjects.WORK}.*", many=True),
    Share("service", f"$JS.ACK.{subjects.WORK}.>"),
    Share("stream", "hw.ctl.>"),
    Share("stream", "hw.reply.>"),
    Share("stream", "hw.live.>"),
    Share("stream", "hw.hb.>"),
)
"""Of a core account: the same whoever there is, so that somebody new changes the imports alone:
its own, and of an agent those of the core account and of who watches, for its beats."""

KEPT = Share("service", "$JS.API.DIRECT.GET.*", many=True)
"""Of the core account of a hub besides: each site imports the stream that is kept for it."""

TWO = (Principal("engine", "engine"), Principal("answers", "engine-answers"))
ONE = (Principal("both", "engine"),)
"""The engine's users: with one, a fault of an engine can reach further than with two."""
BACKUP = Principal("backup", "backup")
"""Beside the engine of an edge: `headway edge backup`."""


def accounts(tenants: Iterable[Tenant], engine: Sequence[Principal] = TWO) -> list[Account]:
    """All accounts, each tenant's core first; raises BadPlan."""
    made: list[Account] = []
    for tenant in tenants:
        made += _of_tenant(tenant, engine)
    return made


def _of_tenant(tenant: Tenant, engine: Sequence[Principal]) -> list[Account]:
    _check(tenant)
    names = tuple(one.name for one in tenant.sites)
    users = [one if one.kind == "answers" else one._replace(sites=names) for one in engine]
    exports = (*EXPORTS, KEPT) if names else EXPORTS
    core = Account(
        tenant.name, "engines and streams", users, True, exports, streams=16 + 4 * len(names)
    )
    made = [core, *(_for_site(core, one) for one in tenant.sites)]
    agents: list[Account] = []
    for one in tenant.people:
        account = Account(f"{tenant.name}.{one.label}", f"{one.kind} of {one.ns}", [one])
        made.append(account)
        if one.kind == "agent":
            beat = subjects.beat_agent(one.ns, one.name)
            account.exports = (Share("stream", beat),)
            core.take(account, "stream", beat)
            agents.append(account)
            _for_agent(core, account, one)
        else:
            _for_person(core, account, one)
    for account in made[1 + len(names) :]:
        (one,) = account.users
        for other in agents if one.kind in _WATCHERS else ():
            if other.users[0].ns == one.ns:
                account.take(other, "stream", *(share.subject for share in other.exports))
    return made


_WATCHERS = ("viewer", "operator")
"""Those who hear the beats of the installation."""


def _for_site(core: Account, one: Principal) -> Account:
    """Its leaf node sits alone: the hub asks it for its streams, it reads the one kept for it.

    Flow control has the same subjects at every site; there is nothing in it but that one may go on.
    """
    api, sync = f"{subjects.site_api(one.name)}.>", f"{subjects.site_sync(one.name)}.>"
    account = Account(
        f"{core.name}.{one.label}", f"leaf node of site {one.name}", [one],
        exports=(Share("service", api, many=True), Share("service", "$JS.FC.>"),
                 Share("stream", sync)),
    )  # fmt: skip
    core.take(account, "service", api, "$JS.FC.>")
    core.take(account, "stream", sync)
    down = subjects.site_stream("DOWN", one.name)
    account.take(core, "service", f"$JS.API.DIRECT.GET.{down}")
    return account


def _for_agent(core: Account, account: Account, one: Principal) -> None:
    rpc = f"hw.rpc.{one.ns}.{one.name}.>"
    account.take(core, "service", rpc, f"hw.log.{one.ns}.>", f"hw.span.{one.ns}.>")
    for queue in one.queues:
        consumer = subjects.work_consumer(one.ns, queue)
        pull = f"$JS.API.CONSUMER.MSG.NEXT.{subjects.WORK}.{consumer}"
        account.take(core, "service", pull, f"$JS.ACK.{subjects.WORK}.{consumer}.>")
    reply = subjects.agent_reply(one.ns, one.name, "*")
    account.take(core, "stream", subjects.ctl(one.ns, one.name), reply)


def _for_person(core: Account, account: Account, one: Principal) -> None:
    account.take(core, "service", f"hw.api.{one.ns}.{one.name}.*")
    if one.kind != "viewer":
        account.take(core, "service", subjects.ingest(one.ns))
        account.take(core, "stream", f"hw.reply.{one.name}.*")
    account.take(core, "stream", f"hw.live.*.{one.ns}.>")
    if one.kind in _WATCHERS:
        account.take(core, "stream", subjects.beat_engine(),
                     subjects.beat_queue(one.ns), subjects.beat_runs(one.ns),
                     subjects.beat_job(one.ns))  # fmt: skip


def _check(tenant: Tenant) -> None:
    """Names are tokens of subjects, and say who somebody is: each is one principal's."""
    if tenant.name != CORE:
        subjects.name(tenant.name, "tenant")
    if not tenant.namespaces:
        raise BadPlan(f"tenant {tenant.name}: give it at least one namespace")
    seen: dict[tuple[str, str], Principal] = {("", one.name): one for one in (*TWO, BACKUP)}
    for ns in tenant.namespaces:
        subjects.name(ns, "namespace")
    for one in tenant.sites:
        one.rights  # noqa: B018 - raises BadName
    if len({one.name for one in tenant.sites}) != len(tenant.sites):
        raise BadPlan("a site is named twice")
    for one in tenant.people:
        if one.ns not in tenant.namespaces:
            raise BadPlan(
                f"{one.kind} {one.name}: no namespace {one.ns!r} (there are:"
                f" {', '.join(tenant.namespaces)})"
            )
        one.rights  # noqa: B018 - raises BadName
        # Answers to people carry their name alone, those to agents the namespace too.
        key = ("agent", f"{one.ns}/{one.name}") if one.kind == "agent" else ("", one.name)
        if key in seen:
            raise BadPlan(
                f"{one.kind} {one.name} and {seen[key].kind} {seen[key].name} have the same name:"
                " it says who somebody is, in commands and in the audit trail"
            )
        seen[key] = one


def parse(kind: Kind, text: str, namespaces: Sequence[str]) -> Principal:
    """`[NS/]NAME`, for an agent `[NS/]NAME[=QUEUE,QUEUE]`; raises BadPlan or BadName."""
    head, _, queues = text.partition("=")
    ns, slash, name = head.rpartition("/")
    if queues and kind != "agent":
        raise BadPlan(f"{kind} {text!r}: queues are for agents")
    if not slash and len(namespaces) != 1:
        raise BadPlan(f"{kind} {text!r}: which namespace? Write NS/{name}")
    place = ns if slash else namespaces[0]
    names = tuple(part for part in queues.split(",") if part) or ("default",)
    return Principal(kind, name, place, names)
