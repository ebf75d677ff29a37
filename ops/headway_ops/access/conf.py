"""The server's configuration as text: pure. It holds public keys (or names of variables) only."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from headway_ops.access.plan import BadPlan
from headway_ops.quoting import for_nats as _q

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headway_ops.access.plan import Account, Principal
    from headway_ops.access.rights import Rights

    Identity = Callable[[Account, Principal], str]
    """How the server knows a principal: `nkey: U...`, or `user: x, password: $X`."""


@dataclass(frozen=True)
class Server:
    """What the file says beside accounts."""

    name: str = "nats-1"
    listen: str = "0.0.0.0:4222"
    http: str = ""
    """Address of the monitoring port; empty = none. It shows settings and connections."""
    store_dir: str = "/var/lib/nats"
    max_store: str = "50GB"
    max_memory: str = "256MB"
    tenant_store: str = ""
    """Disk that one tenant may take; empty = an even share of `max_store`."""
    tls: tuple[str, str, str] = ("", "", "")
    """Certificate, key, CA of the server; without a certificate traffic is in the clear."""
    verify: bool = False
    """Ask clients for a certificate of that CA too."""
    connections: int = 1000
    """Of one account."""
    domain: str = "hub"
    """Of a hub's or an edge's JetStream: the other knows it by this name."""
    leaf_listen: str = "0.0.0.0:7422"
    """Where a hub hears the leaf nodes of its sites."""


HUB_CONF = "hub.conf"
"""Beside a site's nats.conf: how it joins its hub."""


def text(server: Server, accounts: Sequence[Account], identity: Identity, include: str = "") -> str:
    """The whole file; `identity` gives an account's user his first words.

    `include`: a file beside it that belongs to it.
    """
    hub = any(user.kind == "site" for account in accounts for user in account.users)
    edge = any(user.edge for account in accounts for user in account.users)
    lines = [*_server(server, hub=hub, edge=edge), "", "accounts {", "  SYS {}"]
    share = share_of(server, sum(account.jetstream for account in accounts))
    for account in accounts:
        lines += _account(server, share, account, identity)
    lines += ["}", "system_account: SYS"]
    return "\n".join([*lines, *([include_line(include)] if include else []), ""])


def include_line(file: str) -> str:
    """Includes a file; its name is reckoned from the folder of the file that includes it."""
    return f"include {_q(file)}"


def _server(s: Server, *, hub: bool, edge: bool) -> list[str]:
    lines = [f"server_name: {_q(s.name)}", f"listen: {_q(s.listen)}"]
    if s.http:
        lines += [
            "# For the engine and health checks: it shows settings and connections.",
            f"http: {_q(s.http)}",
        ]
    lines.append("max_payload: 1MB")
    tls = _tls(s)
    if hub:
        lines += [
            "# Sites join here; each has an account of its own below.",
            "leafnodes {",
            f"  listen: {_q(s.leaf_listen)}",
            "  no_advertise: true",
            *(f"  {line}" for line in tls),
            "}",
        ]
    if tls:
        lines += tls
    else:
        lines.append("# No TLS: whoever is on the network reads along. Keep it to one host.")
    return [
        *lines,
        "jetstream {",
        f"  store_dir: {_q(s.store_dir)}",
        *([f"  domain: {_q(s.domain)}"] if hub or edge else []),
        f"  max_file_store: {s.max_store}           # always set it: a full disk stops the server",
        f"  max_memory_store: {s.max_memory}",
        '  sync_interval: always          # what makes "accepted" survive a power cut',
        "}",
    ]


def _tls(s: Server) -> list[str]:
    certificate, key, ca = s.tls
    if not certificate:
        return []
    lines = ["tls {", f"  cert_file: {_q(certificate)}", f"  key_file: {_q(key)}"]
    if ca:
        lines.append(f"  ca_file: {_q(ca)}")
    if s.verify:
        lines.append("  verify: true")
    return [*lines, '  min_version: "1.2"', "}"]


class Share(NamedTuple):
    """Bytes that one tenant may take; the server sets them aside."""

    store: int
    memory: int


_SIZE = re.compile(r"\A(\d+)\s*([KMGT]?)B?\Z", re.IGNORECASE)


def size(text: str, what: str) -> int:
    """`50GB` in bytes; raises BadPlan."""
    found = _SIZE.match(text)
    if found is None:
        raise BadPlan(f"{what} {text!r}: a size such as 500MB or 50GB")
    return int(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")


def share_of(server: Server, tenants: int) -> Share:
    """What each tenant gets; raises BadPlan if that is more than there is."""
    store = size(server.max_store, "max-store")
    each = size(server.tenant_store, "tenant-store") if server.tenant_store else store // tenants
    if each * tenants > store:
        raise BadPlan(
            f"{tenants} tenants of {server.tenant_store} do not fit into {server.max_store}:"
            " raise --max-store, or lower --tenant-store"
        )
    return Share(each, size(server.max_memory, "memory") // tenants)


def _account(server: Server, share: Share, account: Account, identity: Identity) -> list[str]:
    lines = [f"  # {account.what}", f"  {_q(account.name)}: {{"]
    if account.jetstream:
        lines.append(
            f"    jetstream: {{ max_file: {share.store}, max_mem: {share.memory},"
            f" max_streams: {account.streams}, max_consumers: 10000 }}"
        )
    lines.append(f"    limits: {{ max_connections: {server.connections} }}")
    for word, found in (("exports", _exports(account)), ("imports", _imports(account))):
        shares = list(found)
        if shares:
            lines += [f"    {word}: [", *(f"      {one}" for one in shares), "    ]"]
    lines.append("    users: [")
    for user in account.users:
        leaf = user.kind == "site"
        lines += _user(identity(account, user), user.rights, leaf=leaf)
    return [*lines, "    ]", "  }"]


def _exports(account: Account) -> Iterable[str]:
    for share in account.exports:
        many = ", response_type: stream" if share.many else ""
        yield f"{{ {share.kind}: {_q(share.subject)}{many} }}"


def _imports(account: Account) -> Iterable[str]:
    for share, source in account.imports:
        yield (f"{{ {share.kind}: {{ account: {_q(source)}, subject: {_q(share.subject)} }} }}")


def _user(identity: str, rights: Rights, *, leaf: bool) -> list[str]:
    lines = ["      {", f"        {identity}"]
    if leaf:
        lines.append('        allowed_connection_types: ["LEAFNODE"]')
    lines.append("        permissions: {")
    for verb, subjects in (("publish", rights.publish), ("subscribe", rights.subscribe)):
        lines += [
            f"          {verb}: {{ allow: [",
            *(f"            {_q(s)}" for s in subjects),
        ]
        lines.append("          ] }")
    return [*lines, "        }", "      }"]
