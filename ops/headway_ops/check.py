"""What is wrong with task definitions: modules are imported in their own process and looked at.

`examine` starts `python -m headway_ops.examining`, which imports the targets, asks each task for
its spec and writes a `Report`. User code that hangs, exits or floods harms that process alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from headway.wire.fleet import TaskSpec
from headway_ops.say import Exit, Fail

TIMEOUT = 60.0
"""Seconds that all imports together may take."""


class Problem(msgspec.Struct, omit_defaults=True):
    """One finding: where, what, what to do."""

    file: str
    line: int
    what: str
    todo: str = ""
    warning: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}: " if self.file else ""
        return f"{where}{'warning: ' if self.warning else ''}{self.what}"


class Report(msgspec.Struct):
    """What the targets hold. `root` must be on `sys.path` to import `modules`."""

    problems: list[Problem]
    tasks: list[TaskSpec]
    modules: list[str]
    root: str
    files: list[str]
    """Their source files below `root`: what the version is the hash of, and what is watched."""

    @property
    def ok(self) -> bool:
        """True if nothing but warnings was found."""
        return all(p.warning for p in self.problems)


class Target(NamedTuple):
    """A module and the folder it is imported from."""

    module: str
    root: Path


def resolve(text: str, cwd: Path) -> Target:
    """`app.py`, `src/pkg/mod.py`, `pkg.mod` or a package folder as a module and its root.

    Raises Fail if there is no such thing.
    """
    path = (cwd / text).absolute()
    if path.is_file() or text.endswith(".py") or os.sep in text:
        return _of_file(path, text)
    if path.is_dir() and (path / "__init__.py").is_file():
        return _of_file(path / "__init__.py", text)
    if not all(part.isidentifier() for part in text.split(".")):
        raise Fail(f"{text!r} is no file and no module", "app.py, or pkg.mod", Exit.USAGE)
    return Target(text, cwd.absolute())


def _of_file(path: Path, text: str) -> Target:
    if path.is_dir():
        raise Fail(f"{text} is a folder", f"name its file with the tasks: {text}/app.py",
                   Exit.USAGE)  # fmt: skip
    if not path.is_file():
        raise Fail(f"no file {text}", code=Exit.USAGE)
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if not all(part.isidentifier() for part in parts):
        raise Fail(f"{text} cannot be imported: {'.'.join(parts)!r} is no module name",
                   "rename it", Exit.USAGE)  # fmt: skip
    return Target(".".join(parts), folder)


async def examine(targets: list[str], cwd: Path | None = None) -> Report:
    """Import the targets in a process of their own and report. Raises Fail for unusable targets."""
    where = cwd or Path.cwd()
    found = [resolve(text, where) for text in targets]
    roots = {t.root for t in found}
    if len(roots) > 1:
        raise Fail("the modules lie in different folders: " + ", ".join(sorted(map(str, roots))),
                   "give them one by one", Exit.USAGE)  # fmt: skip
    root = found[0].root
    modules = list(dict.fromkeys(t.module for t in found))
    with tempfile.TemporaryDirectory(prefix="headway-check-") as scratch:
        answer = Path(scratch, "report.json")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headway_ops.examining", str(answer), str(root), *modules,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, cwd=where, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return _broken(modules, root, f"importing took more than {TIMEOUT:g} s")
        return _read(answer) or _broken(
            modules, root, f"importing ended python ({process.returncode}){_last(output)}"
        )


def _read(answer: Path) -> Report | None:
    return msgspec.json.decode(answer.read_bytes(), type=Report) if answer.is_file() else None


def _last(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return f": {lines[-1]}" if lines else ""


def _broken(modules: list[str], root: Path, what: str) -> Report:
    problem = Problem("", 0, f"{', '.join(modules)}: {what}",
                      "keep what a module does at import to definitions")  # fmt: skip
    return Report([problem], [], modules, str(root), [])


def version_of(report: Report, prefix: str, image: str = "") -> str:
    """A version named after the source: the same files, modules and image, the same version."""
    digest = sha256()
    for file in sorted(report.files):
        path = Path(file)
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        relative = os.path.relpath(file, report.root)
        digest.update(f"{relative}\x00{len(content)}\x00".encode("utf-8", "surrogateescape"))
        digest.update(content)
    digest.update("\x00".join([*report.modules, image]).encode())
    return f"{prefix}-{digest.hexdigest()[:12]}"
