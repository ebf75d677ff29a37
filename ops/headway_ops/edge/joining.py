"""`headway edge join`: the file by which a site's nats-server joins a hub."""

from __future__ import annotations

import os
from pathlib import Path

from headway_ops import say
from headway_ops.edge.leaf import BadJoin, leaf_conf, url_of
from headway_ops.say import Exit, Fail


def join(hub: str, site: str, out: str, credentials: str, ca: str, *, as_json: bool) -> None:
    """Write the file; say what is left to do at both places. Raises Fail."""
    try:
        found = _there(credentials, "--credentials")
        seed = _seed_in(found) if found else ""
        text = leaf_conf(
            hub,
            site,
            credentials="" if seed else found,
            seed=seed,
            ca=_there(ca, "--ca"),
        )
    except BadJoin as e:
        raise Fail(str(e), "", Exit.USAGE) from None
    path = Path(out).absolute()
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
    if as_json:
        say.data({"conf": str(path), "site": site})
        return
    say.line(str(path))
    say.tell(
        f'here: write `include "{path}"` into nats.conf, `domain: {site}` into its jetstream block,'
        f' and a server_name that no other server has; `site = "{site}"` into [engine] of its'
        " engines; then restart them."
    )
    say.tell(
        f"at the hub ({url_of(hub).rpartition('@')[2]}): its nats.conf needs leafnodes and a"
        f' domain, its engines `sites = ["{site}"]` in [engine]; then `headway ls site:{site}`'
        " lists what this site does (ops/README.md, Sites and a hub)."
    )


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
