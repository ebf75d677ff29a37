"""`headway edge join`: the file by which a site's nats-server joins a hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from headway_ops import say
from headway_ops.access.conf import HUB_CONF, include_line
from headway_ops.edge.leaf import BadJoin, account_of, domain_of, leaf_conf, url_of
from headway_ops.say import Exit, Fail


@dataclass(frozen=True)
class Ask:
    """What was asked for on the command line."""

    hub: str
    site: str
    out: str = ""
    """Empty = `HUB_CONF` beside `conf`, or here."""
    credentials: str = ""
    ca: str = ""
    conf: str = ""
    """The site's nats.conf; it gets the line that includes the file."""
    account: str = ""
    """Empty = as `conf` says, or the nats.conf beside the file."""


def join(ask: Ask, *, as_json: bool) -> None:
    """Write the file; say what is left to do at both places. Raises Fail.

    The file is written before it is included: killed in between, the same command once more is
    what to do.
    """
    hub, site = ask.hub, ask.site
    conf = _there(ask.conf, "--conf")
    path = Path(ask.out).absolute() if ask.out else Path(conf).absolute().parent / HUB_CONF
    beside = Path(conf) if conf else path.with_name("nats.conf")
    try:
        account = ask.account or _look(beside, site, named=bool(conf))
        found = _there(ask.credentials, "--credentials")
        seed = _seed_in(found) if found else ""
        text = leaf_conf(
            hub,
            site,
            account=account,
            credentials="" if seed else found,
            seed=seed,
            ca=_there(ask.ca, "--ca"),
        )
    except BadJoin as e:
        raise Fail(str(e), "", Exit.USAGE) from None
    try:
        # The URL may hold a password, the text a seed.
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as f:
            os.fchmod(f.fileno(), 0o600)
            f.write(text)
    except OSError as e:
        hint = "name a file in a folder that is there"
        raise Fail(f"--out {path}: {e.strerror}", hint, Exit.USAGE) from None
    if conf:
        _include(Path(conf), path)
    if as_json:
        say.data({"conf": str(path), "site": site, "account": account})
        return
    say.line(str(path))
    if not conf:
        line = include_line(os.path.relpath(path, beside.parent))
        say.tell(
            f"here: write `{line}` into {beside}, `domain: {site}` into its jetstream block, and a"
            " server_name that no other server has (--conf FILE writes the line)."
        )
    say.tell(
        f'here: `site = "{site}"` into [engine] of its engines; restart nats-server, then them.'
        f" {path} is a secret: nats-server's user has to be able to read it, nobody else."
    )
    say.tell(
        f"at the hub ({url_of(hub).rpartition('@')[2]}): its nats.conf needs leafnodes and a"
        f' domain, its engines `sites = ["{site}"]` in [engine]; then `headway ls site:{site}`'
        " lists what this site does (ops/README.md, Sites and a hub)."
    )


def _look(conf: Path, site: str, *, named: bool) -> str:
    """The account of the streams; a nats.conf that nobody named need not be there. Raises Fail."""
    try:
        text = conf.read_text("utf-8", "replace")
    except OSError as e:
        if not named:
            return ""
        raise Fail(f"--conf {conf}: {e.strerror}", "", Exit.USAGE) from None
    try:
        account = account_of(text)
    except BadJoin as e:
        raise Fail(f"{conf}: {e}", "", Exit.USAGE) from None
    domain = domain_of(text)
    if named and domain != site:
        has = f"says `domain: {domain}`" if domain else "names no domain"
        hint = f"write `domain: {site}` there, or join as --site {domain}" if domain else ""
        raise Fail(
            f"the hub finds this site by its JetStream domain, and {conf} {has}",
            hint or f"write `domain: {site}` into its jetstream block",
            Exit.USAGE,
        )
    return account


def _include(conf: Path, path: Path) -> None:
    """Add the line to nats.conf, unless it is there. Raises Fail."""
    line = include_line(os.path.relpath(path, conf.absolute().parent))
    try:
        text = conf.read_text("utf-8", "replace")
        if line in text.splitlines():
            return
        with conf.open("a", encoding="utf-8") as f:
            f.write(("" if text.endswith("\n") else "\n") + line + "\n")
    except OSError as e:
        raise Fail(f"--conf {conf}: {e.strerror}", f"write `{line}` there", Exit.USAGE) from None


def _seed_in(path: str) -> str:
    """A seed alone, as `headway nats config` writes it; empty for a file with a JWT."""
    try:
        text = Path(path).read_text("ascii", "replace").strip()
    except OSError as e:
        raise Fail(f"--credentials {path}: {e.strerror}", "", Exit.USAGE) from None
    return text if text.startswith("SU") and text.isalnum() else ""


def _there(name: str, what: str) -> str:
    """The absolute path of a file that a person named; empty if none was named."""
    path = Path(name).absolute()
    if name and not path.is_file():
        raise Fail(f"{what} {path}: there is no such file", "name one that is there", Exit.USAGE)
    return str(path) if name else ""
