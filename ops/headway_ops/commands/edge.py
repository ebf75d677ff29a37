"""edge: sites that stand alone, and join a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag


def join(
    hub: Annotated[
        str, typer.Argument(metavar="HUB_URL", help="HOST, HOST:PORT or nats-leaf://HOST:PORT.")
    ],
    site: Annotated[str, typer.Option("--site", help="This site's name, its JetStream domain.")],
    out: Annotated[str, typer.Option("--out", help="The file to write.")] = "hub.conf",
    credentials: Annotated[
        str, typer.Option("--credentials", help="File with this site's user at the hub.")
    ] = "",
    ca: Annotated[str, typer.Option("--ca", help="CA of the hub's certificate.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Write what this site's nats-server includes to join a hub as a leaf node."""
    from headway_ops.edge import joining

    joining.join(hub, site, out, credentials, ca, as_json=as_json)
