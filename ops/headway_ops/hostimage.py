"""The base image for tasks, made from this machine's own Python: no registry, no download.

The interpreter that runs this code, its standard library and shared libraries, msgspec and the SDK
(without NATS) become one image: what works on the host under this Python works in the image, since
the wheels fit the same interpreter. Debian's own Python and one under its own prefix (pyenv, uv,
python.org) both become `/usr/local` in the image.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from docker.errors import BuildError, DockerException, ImageNotFound

import headway

Progress = Callable[[str], None]

RECIPE = "2"
"""Part of the tag: a change of what is below makes a new image."""
REPOSITORY = "headway-base"
LABEL = "headway.base"
KEPT = 2
"""Base images that stay, besides those that are in use."""
FRESH = 3600
"""Seconds in which none is removed: another program may be about to use it."""
VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"
STDLIB = f"usr/local/lib/{VERSION}"
PACKAGES = f"{STDLIB}/site-packages"
SKIPPED = {
    "__pycache__", "test", "tests", "idlelib", "turtledemo", "lib2to3", "tkinter",
    "site-packages", "dist-packages", "EXTERNALLY-MANAGED",
}  # fmt: skip
# What ldd does not show: loaded by name at run time, or stubs that old wheels still ask for.
HIDDEN = (
    "libpthread", "libdl", "librt", "libutil", "libm", "libresolv", "libnss_dns", "libnss_files",
    "libgcc_s", "libstdc++",
)  # fmt: skip


class Image(NamedTuple):
    """A tag and the image id behind it."""

    tag: str
    id: str


class Entry(NamedTuple):
    """One path of the image: a file of the host, or a link, or an empty folder, or given bytes."""

    name: str
    source: str = ""
    link: str = ""
    mode: int = 0
    data: bytes | None = None


def _silent(_line: str) -> None:
    """Nobody listens."""


def sdk_dir() -> Path:
    """Where the installed SDK's package lies."""
    return Path(headway.__file__ or "").resolve().parent


def base_tag() -> str:
    """The tag that this interpreter, this SDK and this recipe give."""
    digest = sha256()
    for word in (RECIPE, sys.version, msgspec.__version__, os.uname().machine):
        digest.update(word.encode() + b"\0")
    root = sdk_dir()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{REPOSITORY}:{digest.hexdigest()[:24]}"


def ensure_host_base(client: Any, progress: Progress | None = None) -> Image:
    """The base image of this machine's Python; built if it is not there (a few seconds).

    Raises docker.errors.DockerException without an engine. A crash in the middle leaves an
    untagged image at most.
    """
    say: Progress = progress or _silent
    tag = base_tag()
    try:
        return Image(tag, str(client.inspect_image(tag)["Id"]))
    except ImageNotFound:
        pass
    python = sys.version.split()[0]
    say(f"making the base image of tasks from Python {python} at {sys.base_prefix} (once)")
    repository, _, version = tag.partition(":")
    raw = f"raw-{version}"
    with tempfile.TemporaryFile() as file:
        count = write_tar(file)
        say(f"{tag}: {count} files, {file.tell() // 1_000_000} MB")
        file.seek(0)
        client.import_image_from_stream(
            iter(lambda: file.read(1 << 20), b""),  # pieces: the client sends them chunked
            repository=repository,
            tag=raw,
            changes=["ENV PATH=/usr/local/bin:/usr/bin:/bin", "WORKDIR /app"],
        )
    say("compiling its modules")
    dockerfile = (
        f"FROM {repository}:{raw}\n"
        f"LABEL {LABEL}={version}\n"
        # Exit 1 = a file of the library does not compile, which is meant so for a few.
        f"RUN python3 -m compileall -q -j0 /{STDLIB} >/dev/null || true\n"
    )
    for step in client.build(
        fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True, forcerm=True, decode=True
    ):
        if "error" in step:
            raise BuildError(str(step["error"]), iter([]))
    for old in outdated(client.images(filters={"label": [LABEL]}), time.time()):
        remove(client, old)
    return Image(tag, str(client.inspect_image(tag)["Id"]))


def outdated(rows: list[dict[str, Any]], now: float) -> list[str]:
    """Tags of base images that nobody needs: all but the newest two, and none of the last hour."""
    # Images made on a base inherit its label: only our own tags count.
    bases = sorted(
        (
            (int(row["Created"]), tag)
            for row in rows
            for tag in row.get("RepoTags") or ()
            if tag.startswith(f"{REPOSITORY}:")
        ),
        reverse=True,
    )
    return [tag for created, tag in bases[KEPT:] if created < now - FRESH]


def remove(client: Any, tag: str) -> None:
    """Take away a base image and what it was made of; never raises.

    Not by force: what a container or another image is made of stays.
    """
    repository, _, version = tag.partition(":")
    for name in (tag, f"{repository}:raw-{version}"):
        with contextlib.suppress(DockerException):
            client.remove_image(name)


def write_tar(file: Any) -> int:
    """Write the image's file system as a tar; gives the number of entries."""
    seen: set[str] = set()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for entry in entries():
            if entry.name in seen:
                continue
            seen.add(entry.name)
            _add(tar, entry)
    return len(seen)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    if entry.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
    elif entry.source:
        status = os.stat(entry.source)
        info.size, info.mtime = status.st_size, int(status.st_mtime)
        # The task's user reads everything, whoever owns it on the host.
        info.mode = 0o755 if status.st_mode & 0o111 else 0o644
        with open(entry.source, "rb") as f:
            tar.addfile(info, f)
    elif entry.data is not None:
        info.size, info.mode = len(entry.data), 0o644
        tar.addfile(info, io.BytesIO(entry.data))
    else:
        info.type, info.mode = tarfile.DIRTYPE, entry.mode
        tar.addfile(info)


def entries() -> Iterator[Entry]:
    """All that is in the image, links first so that files land behind them."""
    for name in ("lib", "lib64", "bin", "sbin"):
        yield Entry(f"usr/{name}", mode=0o755)
        yield Entry(name, link=f"usr/{name}")
    for name in ("python3", "python"):
        yield Entry(f"usr/local/bin/{name}", link=VERSION)
    for name in ("proc", "dev", "sys", "run", "run/hw", "app", "etc"):
        yield Entry(name, mode=0o755)
    yield Entry("tmp", mode=0o1777)
    passwd = b"root:x:0:0::/:/bin/sh\ntask:x:1000:1000::/app:/bin/false\n"
    yield Entry("etc/passwd", data=passwd)
    yield Entry("etc/group", data=b"root:x:0:\ntask:x:1000:\n")
    yield Entry("etc/nsswitch.conf", data=b"hosts: files dns\n")
    authorities = "/etc/ssl/certs/ca-certificates.crt"
    if os.path.exists(authorities):
        yield Entry(authorities[1:], source=authorities)
        yield Entry("usr/lib/ssl/cert.pem", link=authorities)
    binary = interpreter()
    stdlib = Path(os.__file__).parent
    yield Entry(f"usr/local/bin/{VERSION}", source=binary)
    yield Entry("usr/bin/env", source=os.path.realpath("/usr/bin/env"))
    yield Entry("usr/bin/sh", source=os.path.realpath("/bin/sh"))
    yield from _libraries([binary, "/usr/bin/env", "/bin/sh", *_extensions(stdlib)])
    yield from _tree(stdlib, STDLIB, SKIPPED)
    # Debian's site module looks into dist-packages, all others into site-packages.
    yield Entry(f"{STDLIB}/dist-packages", link="site-packages")
    spec = importlib.util.find_spec("msgspec")
    if spec is not None and spec.origin is not None:
        yield from _tree(Path(spec.origin).parent, f"{PACKAGES}/msgspec", {"__pycache__"})
    yield from _tree(sdk_dir(), f"{PACKAGES}/headway", {"__pycache__"})


def interpreter() -> str:
    """The real interpreter behind a virtual environment."""
    for candidate in (f"{sys.base_prefix}/bin/{VERSION}", sys.executable):
        if os.path.exists(candidate):
            return os.path.realpath(candidate)
    raise FileNotFoundError(f"no {VERSION} under {sys.base_prefix}")


def _extensions(stdlib: Path) -> list[str]:
    return sorted(glob.glob(str(stdlib / "lib-dynload" / "*.so")))


def _libraries(roots: list[str]) -> Iterator[Entry]:
    """Shared libraries: what `ldd` finds, under the names that the loader asks for."""
    text = subprocess.run(
        ["ldd", *roots], check=False, capture_output=True, text=True, env={"LC_ALL": "C"}
    ).stdout
    found = set(re.findall(r"(/\S+\.so\S*)", text))
    folders = {os.path.dirname(p) for p in found if "/libc.so" in p}
    for folder in folders:
        for name in HIDDEN:
            found.update(glob.glob(f"{folder}/{name}.so*"))
    stem = f"lib{VERSION}"
    for path in sorted(found):
        if "/lib-dynload/" in path or path.endswith(":"):
            continue
        if os.path.basename(path).startswith(stem) and folders:
            # It may lie under a prefix that the image has not: put it where the loader looks.
            yield Entry(
                _inside(f"{min(folders)}/{os.path.basename(path)}"), source=os.path.realpath(path)
            )
        elif os.path.exists(path):
            yield Entry(_inside(path), source=os.path.realpath(path))


def _inside(path: str) -> str:
    """The path in the image: the three merged folders of the root lie under usr."""
    path = os.path.normpath(path).lstrip("/")
    first = path.split("/", 1)[0]
    return f"usr/{path}" if first in ("lib", "lib64", "bin") else path


def _tree(root: Path, name: str, skipped: set[str]) -> Iterator[Entry]:
    yield Entry(name, mode=0o755)
    with os.scandir(root) as items:
        found = sorted(items, key=lambda e: e.name)
    for item in found:
        if item.name in skipped or item.name.startswith("config-"):
            continue
        if item.is_dir():
            yield from _tree(Path(item.path), f"{name}/{item.name}", skipped)
        elif os.path.exists(item.path):  # not a dangling link
            yield Entry(f"{name}/{item.name}", source=os.path.realpath(item.path))
