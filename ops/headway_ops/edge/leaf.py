"""The configuration by which a site's nats-server joins a hub as a leaf node; pure."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from headway.errors import HeadwayError
from headway.subjects import is_name
from headway_ops.quoting import for_nats

SCHEMES = ("nats-leaf", "nats", "tls", "ws", "wss")
PORT = 7422
"""Where a hub listens for leaf nodes, by custom."""
OURS = ("hw.>", "down.>")
"""Both places have these subjects: what one says in them is not for the other's streams."""


class BadJoin(HeadwayError):
    """A hub's address or a site's name that cannot be joined with."""

    code = "bad_request"


def leaf_conf(
    hub: str,
    site: str,
    *,
    account: str = "",
    credentials: str = "",
    seed: str = "",
    ca: str = "",
) -> str:
    """Text for the site's nats-server, to be included in its configuration. Raises BadJoin.

    `hub`: `HOST`, `HOST:PORT` or a URL. `account`: of the site's server, where its streams are;
    empty where it has no accounts. `credentials` (a user's JWT and seed) and `ca` are files that
    the site has; `seed` is itself what stands in the text, which is a secret then.
    """
    if not is_name(site):
        raise BadJoin(f"--site {site!r}: expected a-z, 0-9, _ and -, at most 64")
    lines = [f"    url: {for_nats(url_of(hub))}"]
    if account:
        lines.append(f"    account: {for_nats(account)}")
    if credentials:
        lines.append(f"    credentials: {for_nats(credentials)}")
    if seed:
        lines.append(f"    nkey: {for_nats(seed)}")
    if ca:
        lines.append(f"    tls {{ ca_file: {for_nats(ca)} }}")
    deny = f"[{', '.join(map(for_nats, OURS))}]"
    return "\n".join(
        [
            f"# Site {site} joins a hub. Put `include` with this file's name into its nats.conf,",
            f"# give its server a server_name of its own, and `domain: {for_nats(site)}` in its",
            "# jetstream block: the hub finds the site's streams under that name.",
            "leafnodes {",
            '  reconnect: "1s"',
            "  remotes: [{",
            *lines,
            "    # The link joins the subjects of both places, and both have these: without this a",
            "    # site's enqueue is stored at the hub as well, and the hub answers its agents.",
            f"    deny_exports: {deny}",
            f"    deny_imports: {deny}",
            "  }]",
            "}",
            "",
        ]
    )


_WITH_STREAMS = re.compile(r'^\s*"?([\w.-]+)"?\s*[:=]?\s*\{\s*jetstream\b', re.MULTILINE)
_DOMAIN = re.compile(r'^[^#\n]*\bdomain\s*[:= ]\s*"?([\w-]+)"?', re.MULTILINE)


def account_of(conf: str) -> str:
    """The account of a nats.conf that has the streams; empty if it has no accounts.

    Raises BadJoin where that cannot be told.
    """
    if not re.search(r"^\s*accounts\b", conf, re.MULTILINE):
        return ""
    found = _WITH_STREAMS.findall(conf)
    if len(found) != 1:
        raise BadJoin(
            "it has accounts, and which one has the streams cannot be told:"
            f" {', '.join(found) or 'none has `jetstream`'}; name it by --account"
        )
    return found[0]


def domain_of(conf: str) -> str:
    """The JetStream domain of a nats.conf; empty if it names none."""
    found = _DOMAIN.search(conf)
    return found[1] if found else ""


def url_of(hub: str) -> str:
    """The URL that a leaf node dials; raises BadJoin."""
    parts = urlsplit(hub if "://" in hub else f"nats-leaf://{hub}")
    try:
        port = parts.port or PORT
    except ValueError:
        port = 0
    if parts.scheme not in SCHEMES or not parts.hostname or not port:
        raise BadJoin(
            f"{hub[:200]!r} is no address of a hub: expected HOST, HOST:PORT, or a URL that begins"
            f" with {'://, '.join(SCHEMES)}://"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    user = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"{parts.scheme}://{user}{host}:{port}{parts.path}"
