from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(180)


def shell(*command: str | Path, cwd: str | Path = "/") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, capture_output=True, text=True, timeout=170, check=False
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that this checkout builds."""
    out = tmp_path_factory.mktemp("wheel")
    done = shell(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", out, ROOT)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("headway-*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel and what it asks for by itself."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    versions = folder.with_name("versions.txt")
    locked = (ROOT / ".ci" / "locked" / "all.txt").read_text()
    versions.write_text("\n".join(re.findall(r"^[^\s#]+==[^\s;]+", locked, re.MULTILINE)))
    done = shell(sys.executable, "-m", "venv", "--without-pip", folder)
    assert done.returncode == 0, done.stderr
    done = shell(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "-q",
        "-c", versions, wheel,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def test_the_wheel_holds_every_package_with_its_data_files(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = ("sdk/headway", "engine/headway_engine", "tui/headway_tui", "ops/headway_ops")
    for package in packages:
        assert f"{Path(package).name}/py.typed" in names
    data = [
        path.relative_to(ROOT / Path(package).parts[0]).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".sql", ".tcss"}
    ]
    assert data
    assert set(data) <= names
    assert not {n.split("/")[0] for n in names} & {"sdk", "engine", "tui", "ops", "tests"}


def test_a_bare_install_brings_msgspec_and_nats_only(bare: Path) -> None:
    done = shell(sys.executable, "-m", "pip", "--python", bare / "python", "list", "--format=json")
    assert done.returncode == 0, done.stderr
    names = {str(entry["name"]) for entry in json.loads(done.stdout)}
    assert names - {"pip", "setuptools"} == {"headway", "msgspec", "nats-py"}


def test_a_bare_install_imports_without_warnings_and_without_nats(bare: Path) -> None:
    code = "import headway, sys; assert 'nats' not in sys.modules; print(headway.task.__name__)"
    done = shell(bare / "python", "-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "task\n"


def test_a_bare_headway_says_what_to_install(bare: Path) -> None:
    done = shell(bare / "headway")
    assert done.returncode == 2
    assert "pip install 'headway[cli]'" in done.stderr
    assert "Traceback" not in done.stderr
