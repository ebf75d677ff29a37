"""`headway nats config`: writes nats.conf, seeds, certificates, and an environment file for each.

Nothing secret is printed, and none stands in nats.conf or in the environment files: those hold
public keys and paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from headway_ops import say
from headway_ops.access import conf, plan
from headway_ops.access.conf import HUB_CONF
from headway_ops.access.files import seed_in, write_public
from headway_ops.access.plan import CORE, BadPlan, Principal, Tenant
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from pathlib import Path

    from headway_ops.access.plan import Account, Kind


@dataclass(frozen=True)
class Wanted:
    """What was asked for on the command line."""

    folder: Path
    namespaces: tuple[str, ...] = ("default",)
    """Of the tenant HW; empty where all namespaces belong to tenants."""
    tenants: tuple[str, ...] = ()
    """`NAME=NS,NS`."""
    agents: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    viewers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    """That join this server as leaf nodes; then it is a hub."""
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    """Names and addresses under which the server is reached; the first stands in the URLs."""
    self_signed: bool = False
    passwords: bool = False
    edge: bool = False
    """The engines have no Postgres: RUNS is the truth."""
    server: conf.Server = field(default_factory=conf.Server)


@dataclass
class Written:
    """What is there now."""

    conf: Path
    environments: dict[str, Path]
    """By `<tenant>/<name>` of a principal; without the tenant where there is only HW."""
    unused: list[Path]
    """Seeds of nobody in the configuration: they open nothing any more."""


def tenants_of(wanted: Wanted) -> list[Tenant]:
    """Who goes where; raises BadPlan or BadName."""
    spaces: dict[str, tuple[str, ...]] = {CORE: wanted.namespaces} if wanted.namespaces else {}
    for text in wanted.tenants:
        name, _, given = text.partition("=")
        names = tuple(part for part in given.split(",") if part)
        if not name or not names or name in spaces:
            raise BadPlan(f"tenant {text!r}: write NAME=NS,NS, each tenant once")
        spaces[name] = names
    every = [ns for names in spaces.values() for ns in names]
    if len(set(every)) != len(every):
        raise BadPlan("a namespace belongs to one tenant: name each once")
    groups: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("agent", wanted.agents),
        ("client", wanted.clients),
        ("viewer", wanted.viewers),
        ("operator", wanted.operators),
    )
    people = [plan.parse(kind, text, every) for kind, texts in groups for text in texts]
    for one in people:
        if one.ns not in every:
            raise BadPlan(f"{one.kind} {one.name}: no namespace {one.ns!r} (--ns, --tenant)")
    if wanted.sites and wanted.edge:
        raise BadPlan("--site and --edge: a hub has Postgres, an edge joins one")
    if wanted.sites and list(spaces) != [CORE]:
        raise BadPlan("--site: a hub has no tenants; give one of the two a server of its own")
    sites = tuple(Principal("site", name, hub=wanted.server.domain) for name in wanted.sites)
    return [
        Tenant(name, names, tuple(p for p in people if p.ns in names), sites)
        for name, names in spaces.items()
    ]


def write(wanted: Wanted) -> Written:
    """Write everything; existing seeds stay. Raises BadPlan, BadName, OSError."""
    folder = wanted.folder.resolve()
    tenants = tenants_of(wanted)
    # Passwords stand in a URL, of which an engine has one.
    users = plan.ONE if wanted.passwords else plan.TWO
    if wanted.edge:
        name = wanted.server.domain
        users = (*(one._replace(edge=True, own_site=name) for one in users), plan.BACKUP)
    made = plan.accounts(tenants, users)
    server = wanted.server
    if wanted.self_signed:
        from headway_ops.access.certs import self_signed

        certificate, key, ca = self_signed(folder / "tls", wanted.hosts)
        server = replace(server, tls=(str(certificate), str(key), str(ca)))
    folder.mkdir(parents=True, exist_ok=True)
    # Written by `headway edge join`: users that change must not cut the site off.
    include = HUB_CONF if wanted.edge and (folder / HUB_CONF).exists() else ""
    if wanted.passwords:
        names = [user.name for account in made for user in account.users]
        if len(set(names)) != len(names):
            raise BadPlan("with passwords every name can be there once, whatever its namespace")
        text = conf.text(server, made, _password, include)
        write_public(folder / "nats.conf", text.encode())
        return Written(folder / "nats.conf", {}, [])
    alone = len(tenants) == 1
    seeds: dict[Path, str] = {}

    def identity(account: Account, one: Principal) -> str:
        path = _seed_path(folder, "" if alone else account.name.partition(".")[0], one)
        seeds[path] = seed_in(path).public
        return f"nkey: {seeds[path]}  # {_label(one)}"

    text = conf.text(server, made, identity, include)
    environments: dict[str, Path] = {}
    for account in made:
        tenant = "" if alone else account.name.partition(".")[0]
        for one in account.users:
            if one.kind not in {"answers", "site"}:
                path = _environment(folder, tenant, one, wanted.hosts[0], server)
                environments["/".join(filter(None, (tenant, one.name)))] = path
    write_public(folder / "nats.conf", text.encode())
    unused = sorted(set((folder / "keys").rglob("*.seed")) - seeds.keys())
    return Written(folder / "nats.conf", environments, unused)


def _label(one: Principal) -> str:
    return f"{one.kind} {one.ns}/{one.name}" if one.ns else one.name


def _seed_path(folder: Path, tenant: str, one: Principal) -> Path:
    return folder / "keys" / tenant / f"{one.label}.seed"


def _environment(folder: Path, tenant: str, one: Principal, host: str, server: conf.Server) -> Path:
    """The variables with which this principal starts: addresses and paths."""
    port = server.listen.rpartition(":")[2]
    scheme = "tls" if server.tls[0] else "nats"
    shown = f"[{host}]" if ":" in host else host
    seed, ca = str(_seed_path(folder, tenant, one)), server.tls[2]
    lines = [f"HEADWAY_NATS_URL={scheme}://{shown}:{port}"]
    if one.kind in {"engine", "agent"}:
        lines.append(f"HEADWAY_NATS_CREDENTIALS={seed}")
        if ca:
            lines.append(f"HEADWAY_NATS_TLS_CA={ca}")
    else:
        lines += [f"HEADWAY_CREDENTIALS={seed}", f"HEADWAY_USER={one.name}"]
        if one.ns:
            lines.append(f"HEADWAY_NAMESPACE={one.ns}")
        if ca:
            lines.append(f"HEADWAY_TLS_CA={ca}")
    if one.kind == "engine":
        answers = _seed_path(folder, tenant, Principal("answers", "engine-answers"))
        lines.append(f"HEADWAY_NATS_ANSWERS_CREDENTIALS={answers}")
        # Where NATS is the only copy the engine looks itself.
        seen = f"HEADWAY_NATS_MONITOR_URL=http://{server.http}"
        lines.append(seen if one.edge and server.http else "HEADWAY_NATS_FSYNCED=true")
    if one.kind == "agent":
        lines += [f"HEADWAY_AGENT_NAME={one.name}", f"HEADWAY_AGENT_NS={one.ns}",
                  f"HEADWAY_AGENT_QUEUES={','.join(one.queues)}"]  # fmt: skip
    path = folder / "env" / tenant / f"{one.label}.env"
    write_public(path, ("\n".join(lines) + "\n").encode())
    return path


def _password(account: Account, one: Principal) -> str:
    variable = "HW_" + one.name.upper().replace("-", "_")
    return f"user: {one.name}, password: ${variable}"


def run(wanted: Wanted, *, as_json: bool) -> None:
    """Write and say what to do next."""
    try:
        import cryptography  # noqa: F401  # pyright: ignore[reportUnusedImport] looked for
    except ModuleNotFoundError:
        raise Fail("keys need the package cryptography", "pip install 'headway[auth]'",
                   Exit.USAGE) from None  # fmt: skip
    done = write(wanted)
    if as_json:
        say.data({
            "conf": str(done.conf),
            "environments": {name: str(path) for name, path in done.environments.items()},
            "unused": [str(path) for path in done.unused],
        })  # fmt: skip
    else:
        say.line(str(done.conf))
        for name, path in done.environments.items():
            say.tell(f"{name}: {path}")
    for path in done.unused:
        say.tell(f"{path} opens nothing any more: no such user was named this time")
    for site in wanted.sites:
        say.tell(
            f"site {site}: take {wanted.folder / 'keys' / f'site.{site}.seed'} there, for `headway"
            f" edge join HOST:{wanted.server.leaf_listen.rpartition(':')[2]} --site {site}"
            " --credentials SEED`"
        )
    tls = wanted.self_signed or wanted.server.tls[0]
    if not tls:
        say.tell("traffic is not encrypted: --self-signed, or --tls-cert, --tls-key and --tls-ca")
    say.tell(f"check it: nats-server -t -c {done.conf}")
    say.tell(
        "a server that runs takes it with: nats-server --signal reload (twice where somebody is"
        " new: the first makes the account, from the second on its imports work)"
    )
