"""nats: users, rights and certificates of the broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag

_PEOPLE = "[NS/]NAME; may be repeated."
Names = list[str] | None


def config(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Where everything is written.")],
    ns: Annotated[
        Names, typer.Option("--ns", help="Namespace; may be repeated. [default: default]")
    ] = None,
    agent: Annotated[
        Names, typer.Option("--agent", help="[NS/]NAME[=QUEUE,QUEUE]; may be repeated.")
    ] = None,
    client: Annotated[
        Names, typer.Option("--client", help=f"Program that enqueues: {_PEOPLE}")
    ] = None,
    viewer: Annotated[Names, typer.Option("--viewer", help=f"Looks only: {_PEOPLE}")] = None,
    operator: Annotated[
        Names, typer.Option("--operator", help=f"May do everything: {_PEOPLE}")
    ] = None,
    site: Annotated[
        Names,
        typer.Option("--site", help="A site that joins this server as its hub; may be repeated."),
    ] = None,
    leaf_listen: Annotated[
        str, typer.Option("--leaf-listen", help="Address where a hub hears its sites.")
    ] = "0.0.0.0:7422",
    domain: Annotated[
        str, typer.Option("--domain", help="A hub's JetStream domain, by which sites know it.")
    ] = "hub",
    tenant: Annotated[
        Names,
        typer.Option(
            "--tenant", help="NAME=NS,NS: accounts, streams and engines of their own; may repeat."
        ),
    ] = None,
    host: Annotated[
        Names,
        typer.Option("--host", help="Name or address of the server; may be repeated."),
    ] = None,
    listen: Annotated[str, typer.Option("--listen", help="Address of clients.")] = "0.0.0.0:4222",
    http: Annotated[
        str, typer.Option("--http", help="Address of the monitoring port; empty = none.")
    ] = "",
    server_name: Annotated[str, typer.Option("--server-name", help="Unique and fixed.")] = "nats-1",
    store_dir: Annotated[
        str, typer.Option("--store-dir", help="JetStream's data.")
    ] = "/var/lib/nats",
    max_store: Annotated[str, typer.Option("--max-store", help="Disk of the server.")] = "50GB",
    tenant_store: Annotated[
        str, typer.Option("--tenant-store", help="Disk of one tenant; default: an even share.")
    ] = "",
    tls_cert: Annotated[str, typer.Option("--tls-cert", help="The server's certificate.")] = "",
    tls_key: Annotated[str, typer.Option("--tls-key", help="Its key.")] = "",
    tls_ca: Annotated[str, typer.Option("--tls-ca", help="Its CA; clients trust this one.")] = "",
    tls_verify: Annotated[
        bool, typer.Option("--tls-verify", help="Clients must show a certificate of that CA too.")
    ] = False,
    self_signed: Annotated[
        bool, typer.Option("--self-signed", help="Make a CA and a certificate, in DIR/tls.")
    ] = False,
    edge: Annotated[
        bool, typer.Option("--edge", help="Of an edge: the engine has no Postgres.")
    ] = False,
    passwords: Annotated[
        bool,
        typer.Option("--passwords", help="Users with passwords from $HW_NAME, in place of keys."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a nats-server configuration: who may do what, with keys, accounts and TLS.

    DIR gets nats.conf (public keys only), keys/ with a secret seed for each user (mode 0600, never
    printed) and env/ with the variables that each one starts with:

      headway nats config /etc/headway --agent a1 --client app --operator ann --self-signed

      nats-server -c /etc/headway/nats.conf

      env $(cat /etc/headway/env/ann.env) headway ls

    Called again it keeps the seeds that are there: name all users each time, those left out lose
    their access at the server's next reload. Engines and their streams sit in an account of their
    own; agents, and people, reach it through imports alone, an account for each namespace.
    With --edge the server's name is the site's name too, and its monitoring port is open on this
    host, where the engine looks whether every message is fsynced.
    """
    from headway import subjects
    from headway_ops.access import conf, write

    write.run(
        write.Wanted(
            Path(folder),
            tuple(ns or (() if tenant else ("default",))),
            tuple(tenant or ()),
            tuple(agent or ()),
            tuple(client or ()),
            tuple(viewer or ()),
            tuple(operator or ()),
            tuple(site or ()),
            tuple(host or ("127.0.0.1", "localhost")),
            self_signed,
            passwords,
            edge,
            conf.Server(
                server_name, listen, http or ("127.0.0.1:8222" if edge else ""), store_dir,
                max_store, tenant_store=tenant_store, tls=(tls_cert, tls_key, tls_ca),
                verify=tls_verify, leaf_listen=leaf_listen,
                domain=subjects.name(server_name if edge else domain, "domain"),
            ),
        ),
        as_json=as_json,
    )  # fmt: skip
