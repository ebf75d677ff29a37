"""edge: an installation without a database: its kit, its copies, how it joins a hub."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag


def kit(
    out: Annotated[
        str,
        typer.Argument(
            metavar="[OUT]", help="A new folder, or a new .tar.gz. Else one by its name."
        ),
    ] = "",
    python: Annotated[
        str, typer.Option("--python", help="Version at the edge, such as 3.12; else this one.")
    ] = "",
    platform: Annotated[
        str, typer.Option("--platform", help="linux-x86_64 or linux-arm64; else this machine's.")
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="A package that tasks need there; may be repeated."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Put all that an edge needs into a folder or file, which installs without a network."""
    from headway_ops.edge import kit as made

    made.kit(made.Options(out, python, platform, tuple(also or ())), as_json=as_json)


def backup(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder, on another disk.")],
    as_json: JsonFlag = False,
) -> None:
    """Copy all runs, queues and bodies of an edge, beside the running system."""
    from headway_ops.edge import backup as copy

    copy.backup(folder, as_json=as_json)


def restore(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="What `edge backup` wrote.")],
    state_dir: Annotated[
        str,
        typer.Option(
            "--state-dir", help="Of a `headway up --edge` that does not run, or a new one."
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Put a copy into a nats-server without runs, while engines and agents are stopped."""
    from headway_ops.edge import backup as copy

    copy.restore(folder, state_dir, as_json=as_json)


def join(
    hub: Annotated[
        str, typer.Argument(metavar="HUB_URL", help="HOST, HOST:PORT or nats-leaf://HOST:PORT.")
    ],
    site: Annotated[str, typer.Option("--site", help="This site's name, its JetStream domain.")],
    conf: Annotated[
        str,
        typer.Option("--conf", help="This site's nats.conf: it is made to include the file."),
    ] = "",
    out: Annotated[
        str,
        typer.Option("--out", help="The file to write; else hub.conf beside --conf, or here."),
    ] = "",
    account: Annotated[
        str,
        typer.Option(
            "--account", help="Of nats.conf, with the streams; else the one that has jetstream."
        ),
    ] = "",
    credentials: Annotated[
        str, typer.Option("--credentials", help="File with this site's user at the hub.")
    ] = "",
    ca: Annotated[str, typer.Option("--ca", help="CA of the hub's certificate.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Write what this site's nats-server includes to join a hub as a leaf node."""
    from headway_ops.edge import joining

    joining.join(joining.Ask(hub, site, out, credentials, ca, conf, account), as_json=as_json)
