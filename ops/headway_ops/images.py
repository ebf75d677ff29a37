"""Project images: a task's code on a base image, built without a registry.

The tag is the hash of what goes in (`<project>:<24 hex>`), so an unchanged project is found, not
built. The context is deterministic; no BuildKit-only syntax, so that both builders work.
"""

from __future__ import annotations

import io
import os
import tarfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from docker.errors import ImageNotFound
from docker.utils import exclude_paths

from headway.errors import HeadwayError
from headway_ops.hostimage import Image, Progress

if TYPE_CHECKING:
    from pathlib import Path


TEMPLATE = "2"
"""Part of the tree hash: a change of the template makes new images."""
ALWAYS_OUT = [
    ".git", ".hg", ".venv", "venv", "node_modules", ".headway", "**/__pycache__", "**/*.pyc",
    ".pytest_cache", ".mypy_cache", ".ruff_cache", ".env", "**/.env", "**/.DS_Store",
]  # fmt: skip
OWN = "Dockerfile"
GENERATED = ".headway.Dockerfile"
SIZE_LIMIT = 512 * 1024 * 1024


class BuildFailed(HeadwayError):
    """The image could not be built; `log` has the builder's last lines."""

    code = "build_failed"

    def __init__(self, message: str, log: str = "") -> None:
        self.log = log
        super().__init__(message)


def project_files(root: Path) -> list[str]:
    """Paths (with `/`) of the project's files, sorted; `.dockerignore` is honoured."""
    patterns = list(ALWAYS_OUT)
    ignore = root / ".dockerignore"
    if ignore.is_file():
        patterns += [
            line.strip()
            for line in ignore.read_text(encoding="utf-8").splitlines()
            if line.strip() and not line.lstrip().startswith("#")
        ]
    found = exclude_paths(str(root), patterns)
    return sorted(p.replace(os.sep, "/") for p in found if (root / p).is_file())


def dockerfile(files: list[str]) -> str:
    """The template for a project without a Dockerfile of its own."""
    lines = ["ARG BASE", "FROM ${BASE}", "USER 0", "WORKDIR /app"]
    if "requirements.txt" in files:
        # The lock file first: a change of source alone does not install again.
        lines += [
            "ARG PIP_INDEX_URL",
            "COPY requirements.txt /app/requirements.txt",
            "RUN python3 -m pip --version >/dev/null 2>&1 || python3 -m ensurepip >/dev/null; "
            "python3 -m pip install --no-cache-dir -r requirements.txt"
            " && python3 -m compileall -q"
            ' "$(python3 -c "import sysconfig; print(sysconfig.get_path(\'purelib\'))")"',
        ]
    lines += [
        "COPY . /app",
        # Python for both: the base may have no other program.
        "RUN python3 -c \"import os; os.makedirs('/run/hw', exist_ok=True)\""
        " && python3 -m compileall -q /app",
        "ENV PYTHONPATH=/app",
        "USER 1000",
    ]
    return "\n".join(lines) + "\n"


def tree_hash(root: Path, files: list[str], base_id: str) -> str:
    """24 hex over paths, x-bits, contents, the base's id and the template's version."""
    digest = sha256(f"{TEMPLATE}\0{base_id}\0".encode())
    for name in files:
        path = root / name
        flag = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{name}\0{flag}\0".encode())
        digest.update(sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def context_tar(root: Path, files: list[str]) -> bytes:
    """The build context, the same bytes for the same files: no times, no owners, sorted."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in files:
            data = (root / name).read_bytes()
            executable = bool((root / name).stat().st_mode & 0o100)
            _put(tar, name, data, 0o755 if executable else 0o644)
        if OWN not in files:
            _put(tar, GENERATED, dockerfile(files).encode(), 0o644)
    return buffer.getvalue()


_CHATTER = ("--->", "Removing intermediate", "Successfully ")
"""Docker's lines that tell a person nothing; they stay in the log that a failure shows."""


def _silent(_line: str) -> None:
    """Nobody listens."""


def _put(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime, info.uid, info.gid = len(data), mode, 0, 0, 0
    tar.addfile(info, io.BytesIO(data))


def find_image(client: Any, tag: str) -> str:
    """The image's id, or empty."""
    try:
        return str(client.inspect_image(tag)["Id"])
    except ImageNotFound:
        return ""


def build_project(
    client: Any,
    root: Path,
    base: str,
    *,
    name: str = "",
    index_url: str = "",
    progress: Progress | None = None,
) -> Image:
    """Build the project's image on `base` (a tag or id of this host), or find it built.

    `index_url`: where pip looks for the project's requirements. Raises BuildFailed with the
    builder's log, docker.errors.DockerException without an engine. Never pulls a base.
    """
    say: Progress = progress or _silent
    root = root.resolve()
    base_id = find_image(client, base)
    if not base_id:
        raise BuildFailed(f"base image {base!r} is not on this host")
    files = project_files(root)
    size = sum((root / f).stat().st_size for f in files)
    if size > SIZE_LIMIT:
        raise BuildFailed(f"{root} holds {size:,} bytes: list what is not code in .dockerignore")
    digest = tree_hash(root, files, base_id)
    tag = f"{_repository(name or root.name)}:{digest}"
    if found := find_image(client, tag):
        return Image(tag, found)
    say(f"building {tag}: {len(files)} files, {size:,} bytes")
    arguments = {"BASE": base_id}
    if index_url:
        arguments["PIP_INDEX_URL"] = index_url
    log: list[str] = []
    steps: Any = client.build(
        fileobj=io.BytesIO(context_tar(root, files)),
        custom_context=True,
        dockerfile=OWN if OWN in files else GENERATED,
        tag=tag,
        buildargs=arguments,
        labels={"headway.project": name or root.name, "headway.tree": digest},
        rm=True,
        forcerm=True,
        pull=False,
        decode=True,
    )
    for step in steps:
        if line := str(step.get("stream", "")).strip():
            log.append(line)
            if not line.startswith(_CHATTER):
                say(line)
        if "error" in step:
            raise BuildFailed(str(step["error"]).strip(), "\n".join(log[-40:]))
    return Image(tag, find_image(client, tag))


def _repository(name: str) -> str:
    clean = "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
    return clean or "project"
