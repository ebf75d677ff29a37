"""`headway edge kit`: all that an edge needs in one folder or file, installed without a network.

```
wheels/          headway and what it needs at the edge, nats-server among it, and pip
etc/             nats.conf, headway.toml and systemd units, each setting explained
install          checks SHA256SUMS and this machine, then makes an environment of the wheels
kit.json         for which Python and machine
README.txt  SHA256SUMS
```
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from headway._version import __version__
from headway_ops import say
from headway_ops.edge import wheels
from headway_ops.edge.wheels import Target, target_of
from headway_ops.say import Exit, Fail
from headway_ops.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import Sequence

ARCHIVE = ".tar.gz"
OTHER_ARCHIVES = (".tgz", ".tar", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".whl")
"""Who names one of these does not want a folder of that name."""
SUMS = "SHA256SUMS"
_README = """\
Headway {version} for an edge: Python {python} on Linux {machine}, glibc {glibc} or newer.
Nothing is fetched while it is installed.

  ./install                 into ~/.local/share/headway-edge, to try it (--to DIR: elsewhere)
  sudo ./install --system   into /usr/lib/headway, with configuration in /etc/headway and units

Try it:      DIR/bin/headway demo --edge       research runs; one is killed and goes on
             DIR/bin/headway up --edge --tasks app.py
Keep it on:  look into /etc/headway, then systemctl enable --now headway-nats headway-engine \
headway-agent

`./install` of a newer kit over an older one is an update: stop the engine and the agent before.
Docker is not needed. Tasks run with the packages of this environment:
`headway edge kit --also NAME` puts more into a kit.
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line said."""

    out: str = ""
    python: str = ""
    platform: str = ""
    also: tuple[str, ...] = ()
    """More packages: what tasks need there."""


def kit(options: Options, *, as_json: bool) -> None:
    """Make it; a crash in the middle leaves no kit, but maybe a hidden folder beside it."""
    target = target_of(options.python, options.platform)
    name = f"headway-edge-{__version__}-py{target.python}-{target.machine}"
    out = Path(options.out or name).absolute()
    if out.exists():
        raise Fail(f"{out} is there already", "name a new folder, or a new .tar.gz", Exit.USAGE)
    if out.name.endswith(OTHER_ARCHIVES):
        raise Fail(f"{out.name}: a kit is a folder, or a file that ends in {ARCHIVE}",
                   f"name it so (`{out.name.partition('.')[0]}{ARCHIVE}`)", Exit.USAGE)  # fmt: skip
    if not out.parent.is_dir():
        raise Fail(f"there is no folder {out.parent}", "make it first", Exit.USAGE)
    with _workplace(out.parent) as work:
        say.tell(f"fetching wheels for Python {target.python} on {target.machine} ...")
        folder = Path(work) / "kit"
        fill(folder, target, options.also, Path(work))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        count = len(list((folder / "wheels").iterdir()))
        if out.name.endswith(ARCHIVE):
            packed = Path(work) / "kit.tar.gz"
            with tarfile.open(packed, "w:gz") as tar:
                tar.add(folder, out.name.removesuffix(ARCHIVE), filter=_nobodys)
            packed.rename(out)
        else:
            folder.rename(out)
    if as_json:
        say.data({"kit": str(out), "python": target.python, "machine": target.machine,
                  "wheels": count, "bytes": size})  # fmt: skip
        return
    say.line(str(out))
    first = f"tar xf {out.name}, then " if out.name.endswith(ARCHIVE) else ""
    say.tell(f"{count} wheels, {size / 1e6:.0f} MB. There: {first}./install (README.txt)")


def _workplace(beside: Path) -> tempfile.TemporaryDirectory[str]:
    try:
        # Beside it, so that the whole kit comes into its place at once.
        return tempfile.TemporaryDirectory(prefix=".headway-kit-", dir=beside)
    except OSError as e:
        raise Fail(f"{beside} cannot be written to: {e.strerror}",
                   "name a folder that is yours", Exit.USAGE) from None  # fmt: skip


def fill(folder: Path, target: Target, also: Sequence[str], work: Path) -> None:
    """Lay the kit into a new folder, its checksums last; Fail says what is missing.

    `work`: a folder for what is made on the way.
    """
    configuration = shipped("deploy/edge")
    if not configuration.is_dir():
        raise Fail(f"{configuration} is not there: this installation is not whole",
                   "install headway again", Exit.REFUSED)  # fmt: skip
    (folder / "wheels").mkdir(parents=True)
    wheels.fetch(target, also, folder / "wheels", work)
    shutil.copytree(configuration, folder / "etc")
    glibc = ".".join(map(str, wheels.GLIBC))
    facts = {"headway": __version__, **target._asdict(), "glibc": glibc, "also": also,
             "made": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    (folder / "kit.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    text = _README.format(version=__version__, **target._asdict(), glibc=glibc)
    (folder / "README.txt").write_text(text, "utf-8")
    script = folder / "install"
    source = Path(__file__).with_name("installer.py").read_text("utf-8")
    script.write_text(f"#!/usr/bin/env python3\n{source}", "utf-8")
    script.chmod(0o755)
    (folder / SUMS).write_text("".join(f"{line}\n" for line in sums(folder)), "ascii")


def sums(folder: Path) -> list[str]:
    """A line for each file, as `sha256sum -c` reads it."""
    lines: list[str] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}")
    return lines


def _nobodys(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Who made the kit owns nothing where it is unpacked."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    return info
