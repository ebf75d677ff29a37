"""check + image + registration: a version of some tasks becomes the current one."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headway.wire.fleet import Deployment
from headway_ops import say
from headway_ops.check import Report, examine, version_of
from headway_ops.checking import print_report
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from headway.client import Client
    from headway_ops.hostimage import Image

START_LIMIT = 60
"""Seconds that the dry start may take."""

_LOADS = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]"


class Registered(msgspec.Struct):
    """The engine's answer: what is current now, and what somebody should know."""

    version: str
    tasks: list[str] = []
    warnings: list[str] = []


async def register(
    client: Client,
    report: Report,
    version: str,
    *,
    image: str = "",
    image_tag: str = "",
    dev: bool = False,
    source: str = "",
) -> Registered:
    """Register the report's tasks under the version; asking twice changes nothing more."""
    deployment = Deployment(
        version, report.tasks, image=image, image_tag=image_tag,
        modules=tuple(report.modules), source=source, dev=dev,
    )  # fmt: skip
    return await client.api("deploy", deployment, Registered)


def deploy(
    targets: list[str],
    path: str,
    image: str,
    base: str,
    version: str,
    *,
    process: bool,
    as_json: bool,
) -> None:
    """`headway deploy`: check, build (or look at) the image, start it once, register."""
    from headway_ops import link

    if process and image:
        raise Fail("--process and --image do not go together", code=Exit.USAGE)
    root = Path(path).resolve()
    report = asyncio.run(examine(targets, root))
    if not report.ok:
        print_report(report)
        raise Fail("nothing was deployed: the definitions above are wrong")
    built = None
    if not process:
        built = named_image(image) if image else project_image(root, base)
        dry_start(built, report.modules)
    name = version or version_of(report, "v", built.id if built else "")

    async def work(client: Client) -> Registered:
        return await register(
            client, report, name,
            image=built.id if built else "", image_tag=built.tag if built else "",
            source="" if built else report.root,
        )  # fmt: skip

    row = link.with_client(work)
    for warning in row.warnings:
        say.tell(f"note: {warning}")
    if as_json:
        say.data(row)
    else:
        print_report(report)
        say.tell(f"version {name} is current" + (f", image {built.tag}" if built else ""))


def docker_client() -> Any:
    """A connection to the local engine; Fail says what to do where there is none."""
    import docker
    from docker.errors import DockerException

    client = None
    try:
        client = docker.APIClient(os.environ.get("DOCKER_HOST"), timeout=60)
        client.ping()
    except DockerException as e:
        if client is not None:
            client.close()
        raise Fail(f"no Docker engine answers: {_where(e)}", "start it, or use --process",
                   Exit.NO_LINK) from None  # fmt: skip
    return client


def _where(error: Exception) -> str:
    """The address that was tried, and the last cause: docker-py wraps it several times."""
    while (inner := error.__cause__ or error.__context__) is not None and inner is not error:
        if not isinstance(inner, Exception):
            break
        error = inner
    return f"{os.environ.get('DOCKER_HOST') or 'the default socket'}: {error}"


def build_image(path: str, base: str, *, as_json: bool) -> None:
    """`headway image build`: print the tag and the image id."""
    image = project_image(Path(path).resolve(), base)
    if as_json:
        say.data({"tag": image.tag, "id": image.id})
    else:
        say.line(image.tag)


def project_image(root: Path, base: str) -> Image:
    """The project's image on the base; found if the source has not changed."""
    from headway_ops.hostimage import ensure_host_base
    from headway_ops.images import BuildFailed, build_project

    if not root.is_dir():
        raise Fail(f"no folder {root}", code=Exit.USAGE)
    client = docker_client()
    with progress(f"image of {root.name}") as step:
        try:
            base_id = ensure_host_base(client, step).id if base == "host" else base
            return build_project(client, root, base_id, progress=step)
        except BuildFailed as e:
            if e.log:
                say.tell(e.log)
            raise Fail(str(e), "read the builder's lines above") from None


def named_image(name: str) -> Image:
    """An image that is on this host; its id is what runs are pinned to."""
    from headway_ops.hostimage import Image
    from headway_ops.images import find_image

    found = find_image(docker_client(), name)
    if not found:
        raise Fail(f"no image {name} on this host", f"docker pull {name}", Exit.USAGE)
    return Image(name, found)


def dry_start(image: Image, modules: list[str]) -> None:
    """Start the image once and import the modules in it, without network; Fail if that fails."""
    client = docker_client()
    with progress(f"starting {image.tag} once") as step:
        step("importing " + ", ".join(modules))
        made: Any = client.create_container(
            image.id, ["python3", "-c", _LOADS, *modules], network_disabled=True,
            labels={"headway.dry-start": "1"}, entrypoint=[],
        )  # fmt: skip
        try:
            client.start(made["Id"])
            code = int(client.wait(made["Id"], timeout=START_LIMIT)["StatusCode"])
            output = bytes(client.logs(made["Id"], tail=20)).decode(errors="replace")
        finally:
            client.remove_container(made["Id"], force=True)
    if code:
        say.tell(output.rstrip())
        raise Fail(
            f"the tasks cannot be imported in the image {image.tag} (exit {code})",
            "put what is missing into requirements.txt, or into the base image",
        )


@contextmanager
def progress(what: str) -> Generator[Callable[[str], None]]:
    """A spinner with the last line of a long work; plain lines where stderr is no terminal."""
    if not sys.stderr.isatty():
        say.tell(f"{what} ...")
        yield say.tell
        return
    from rich.text import Text

    from headway.safe import safe_line

    with say.console(stderr=True).status(Text(what)) as status:
        yield lambda line: status.update(Text(f"{what}: {safe_line(line, 60)}"))
