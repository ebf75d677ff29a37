"""check, deploy, image: from source to a registered version."""

from __future__ import annotations

from typing import Annotated

import typer

from headway_ops.commands.options import JsonFlag, Targets

Base = Annotated[
    str,
    typer.Option("--base", help='Base image: "host" (made from this Python), or a name.'),
]


def check(targets: Targets, as_json: JsonFlag = False) -> None:
    """Import task modules and report what is wrong with their tasks. Exit 1 if anything is."""
    from headway_ops import checking

    checking.run(targets, as_json=as_json)


def deploy(
    targets: Annotated[
        list[str], typer.Option("--module", "-m", help="Module or file with tasks; may repeat.")
    ],
    path: Annotated[str, typer.Option("--path", help="The project's folder.")] = ".",
    image: Annotated[str, typer.Option("--image", help="An image that holds the tasks.")] = "",
    base: Base = "host",
    version: Annotated[
        str, typer.Option("--version", help="Name of the version; default: hash of the source.")
    ] = "",
    process: Annotated[
        bool, typer.Option("--process", help="No image: agents with the process runtime.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check, build the image, start it once, register the tasks."""
    from headway_ops import deploying

    deploying.deploy(targets, path, image, base, version, process=process, as_json=as_json)


def image_build(
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="The project's folder.")] = ".",
    base: Base = "host",
    as_json: JsonFlag = False,
) -> None:
    """Build a project's task image; nothing is downloaded for the base `host`."""
    from headway_ops import deploying

    deploying.build_image(path, base, as_json=as_json)
