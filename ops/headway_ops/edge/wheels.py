"""The wheels of an install kit: fetched by pip for one Python and one kind of machine."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from headway._version import __version__
from headway_ops.say import Exit, Fail
from headway_ops.shipped import checkout

if TYPE_CHECKING:
    from collections.abc import Sequence

GLIBC = (2, 28)
"""What the wheels may ask of the C library at most: Debian 10, Ubuntu 20.04, RHEL 8."""
OLDEST_GLIBC = 17
"""Names of platforms begin here: manylinux_2_17."""
MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
"""What a machine is called, to its name in wheels."""
FLOOR = (3, 11)
WITHIN = 900.0
"""Seconds for pip, over a slow line."""
_NETWORK = ("connection", "timed out", "name resolution", "retrying", "network", "proxy", "ssl")


class Target(NamedTuple):
    """What the kit is for."""

    python: str
    """Such as 3.11: wheels with compiled code fit one minor version."""
    machine: str
    """x86_64 or aarch64."""


def target_of(python: str, machine: str) -> Target:
    """What was asked for, by default this Python and this machine; Fail if there is no such."""
    version = python or f"{sys.version_info[0]}.{sys.version_info[1]}"
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()) or (int(major), int(minor)) < FLOOR:
        raise Fail(f"--python {version}", "3.11, 3.12, 3.13 ...", Exit.USAGE)
    word = (machine or platform.machine()).lower().removeprefix("linux-").removeprefix("linux/")
    if word not in MACHINES:
        raise Fail(f"--platform {machine or word}", "linux-x86_64 or linux-arm64", Exit.USAGE)
    return Target(f"{int(major)}.{int(minor)}", MACHINES[word])


def flags_of(target: Target) -> list[str]:
    """How pip is told to choose files for a machine that is not this one."""
    return [
        "--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python,
        "--abi", f"cp{target.python.replace('.', '')}",
        "--platform", f"manylinux2014_{target.machine}",
        *(word for minor in range(OLDEST_GLIBC, GLIBC[1] + 1)
          for word in ("--platform", f"manylinux_2_{minor}_{target.machine}")),
    ]  # fmt: skip


def fetch(target: Target, also: Sequence[str], wheels: Path, work: Path) -> None:
    """Fill the folder: headway, all that its edge extra needs, `also`, and pip. Raises Fail.

    The versions are those that are installed here. `work`: a folder for what is made on the way.
    """
    if find_spec("pip") is None:
        raise Fail(f"pip is not installed for {sys.executable}", "python -m ensurepip", Exit.USAGE)
    own = _own_wheel(work)
    pins = work / "pins.txt"
    pins.write_text("".join(f"{line}\n" for line in installed()), "utf-8")
    _pip(
        "download", "--dest", str(wheels), "--constraint", str(pins), *flags_of(target),
        f"headway[edge] @ {own.as_uri()}", "pip", *also,
    )  # fmt: skip


def installed() -> list[str]:
    """`name==version` of all that is installed here, but for ourselves."""
    found = {
        f"{dist.metadata['Name']}=={dist.version}"
        for dist in importlib.metadata.distributions()
        if dist.metadata["Name"] and dist.metadata["Name"] != "headway"
    }
    return sorted(found)


def _own_wheel(work: Path) -> Path:
    """The wheel of this very Headway: of its checkout, of its file, or of an index."""
    folder = work / "own"
    folder.mkdir()
    root = checkout()
    if root is not None:
        # With what builds it at hand nothing has to be fetched for it.
        here = ["--no-build-isolation"] if find_spec("hatchling") is not None else []
        _pip("wheel", "--no-deps", "--wheel-dir", str(folder), *here, str(root))
    elif (file := _installed_from()) is not None:
        return file
    else:
        _pip("download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder),
             f"headway=={__version__}")  # fmt: skip
    (made,) = folder.glob("headway-*.whl")
    return made


def _installed_from() -> Path | None:
    """The wheel file that this Headway was installed from, if it is there still."""
    try:
        text = importlib.metadata.distribution("headway").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    url = urlsplit(str(json.loads(text or "{}").get("url", "")))
    path = Path(unquote(url.path))
    return path if url.scheme == "file" and path.suffix == ".whl" and path.is_file() else None


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", arguments[0], "-q", "--disable-pip-version-check"]
    command += ["--no-input", "--retries", "2", *arguments[1:]]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", timeout=WITHIN
        )
    except subprocess.TimeoutExpired:
        raise Fail(f"pip {arguments[0]} has not ended within {WITHIN:g} s",
                   "look at the network", Exit.NO_LINK) from None  # fmt: skip
    if done.returncode:
        raise failure(done.stderr)


def failure(said: str) -> Fail:
    """What pip said when it gave up, as what and what to do. Pure."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    what = "; ".join((errors or lines or ["it did not say why"])[-2:])
    text = said.lower()
    if "no space left" in text:
        todo = "make room where OUT is to be, and in the folder for temporary files (TMPDIR)"
        return Fail("pip has no room: No space left on device", todo)
    if any(word in text for word in _NETWORK):
        todo = ("a kit is made where an index of packages can be reached: look at the network, or"
                " set PIP_INDEX_URL, or PIP_NO_INDEX=1 and PIP_FIND_LINKS=DIR")  # fmt: skip
        return Fail(f"pip could not fetch the wheels: {what}", todo, Exit.NO_LINK)
    todo = "another --python or --platform: every package must have a wheel for it"
    return Fail(f"pip found no wheels: {what}", todo, Exit.REFUSED)
