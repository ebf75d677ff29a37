"""contexts: the named connections of this user, and which one commands use."""

from __future__ import annotations

import os

from msgspec import Struct

from headway import contexts
from headway.config import Settings
from headway_ops import render, say


class Named(Struct):
    """One context as its file says it."""

    name: str
    server: str = ""
    """Without user and password."""
    namespace: str = ""
    protect: bool = False
    readonly: bool = False
    used: bool = False
    """HEADWAY_CONTEXT, or `--context`, names it."""
    flaw: str = ""
    """Why it cannot be used."""


def run(*, as_json: bool) -> None:
    """Print them; also those that cannot be used, with the reason."""
    found = [_look(name) for name in contexts.names()]
    if as_json:
        say.rows(found)
    elif found:
        table = render.a_table("", "NAME", "SERVER", "NAMESPACE", "", wide=2)
        for one in found:
            marks = [w for w in ("protect", "readonly") if getattr(one, w)]
            table.add_row("*" if one.used else "", one.name, one.flaw or one.server,
                          one.namespace, " ".join(marks))  # fmt: skip
        say.show(table)
    else:
        say.tell(f"no contexts: one is a file in {contexts.folder()}, such as prod.toml")


def _look(name: str) -> Named:
    used = name == os.environ.get(contexts.VARIABLE)
    try:
        found = contexts.named(name)
    except contexts.BadContext as e:
        return Named(name, used=used, flaw=str(e))
    server = Settings(nats_url=found.nats_url).shown_url
    return Named(name, server, found.namespace or "default", found.protect, found.readonly, used)
