"""The kit for an edge, without making one: whom it is for, what pip said, what is refused."""

from __future__ import annotations

import json
import platform
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from headway_ops.edge import installer
from headway_ops.edge.kit import sums
from headway_ops.edge.wheels import Target, failure, flags_of, target_of
from headway_ops.say import Exit, Fail

if TYPE_CHECKING:
    from pathlib import Path

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_a_kit_is_for_this_machine_unless_told() -> None:
    assert target_of("", "") == Target(HERE, platform.machine())
    assert target_of("3.12", "linux-arm64") == Target("3.12", "aarch64")
    assert target_of("3.13", "amd64") == Target("3.13", "x86_64")


@pytest.mark.parametrize(
    ("python", "machine", "said"),
    [("3.9", "", "--python 3.9"), ("three", "", "--python three"), ("", "vax", "--platform vax")],
)
def test_an_edge_that_cannot_be_is_refused(python: str, machine: str, said: str) -> None:
    with pytest.raises(Fail, match=said) as refused:
        target_of(python, machine)
    assert refused.value.code == Exit.USAGE


def test_wheels_ask_for_no_newer_c_library_than_the_edge_has() -> None:
    flags = flags_of(Target("3.12", "aarch64"))
    platforms = [b for a, b in pairwise(flags) if a == "--platform"]
    assert {"manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_28_aarch64"} <= set(
        platforms
    )
    assert all(name.endswith("_aarch64") for name in platforms)
    assert "manylinux_2_29_aarch64" not in platforms
    assert flags[flags.index("--abi") + 1] == "cp312"


def test_what_pip_said_becomes_what_to_do() -> None:
    away = failure(
        "WARNING: Retrying (Retry(total=1)) after connection broken by 'NewConnectionError'\n"
        "ERROR: Could not find a version that satisfies the requirement rich>=14\n"
        "ERROR: No matching distribution found for rich>=14\n"
    )
    assert away.code == Exit.NO_LINK
    assert "No matching distribution found for rich>=14" in away.what
    assert "PIP_INDEX_URL" in away.todo
    full = failure(
        "  error: [Errno 28] No space left on device\nERROR: Failed to build one or more wheels\n"
    )
    assert (full.code, "TMPDIR" in full.todo) == (Exit.FAILED, True)
    none = failure("ERROR: No matching distribution found for uvloop>=0.21\n")
    assert (none.code, "--platform" in none.todo) == (Exit.REFUSED, True)


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kit with one wheel that is none."""
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a-1-py3-none-any.whl").write_bytes(b"a")
    facts = {"headway": "1", "python": HERE, "machine": platform.machine(), "glibc": "2.0"}
    (tmp_path / "kit.json").write_text(json.dumps(facts))
    (tmp_path / "SHA256SUMS").write_text("".join(f"{line}\n" for line in sums(tmp_path)))
    monkeypatch.setattr(installer, "KIT", tmp_path)
    return tmp_path


def test_a_whole_kit_is_taken(kit: Path) -> None:
    installer.check_sums()
    installer.check_machine(json.loads((kit / "kit.json").read_text()))
    installer.right_python(HERE)


def test_a_kit_that_was_copied_badly_is_refused(kit: Path) -> None:
    wheel = kit / "wheels" / "a-1-py3-none-any.whl"
    wheel.write_bytes(b"b")
    with pytest.raises(installer.Stop, match=r"a-1-.* is damaged"):
        installer.check_sums()
    wheel.unlink()
    with pytest.raises(installer.Stop, match=r"a-1-.* is missing"):
        installer.check_sums()
    wheel.write_bytes(b"a")
    (kit / "wheels" / "b-1-py3-none-any.whl").write_bytes(b"b")
    with pytest.raises(installer.Stop, match=r"b-1-.* does not belong"):
        installer.check_sums()


def test_another_machine_c_library_or_python_is_refused(kit: Path) -> None:
    facts = json.loads((kit / "kit.json").read_text())
    with pytest.raises(installer.Stop, match="this kit is for Linux on s390x"):
        installer.check_machine(facts | {"machine": "s390x"})
    with pytest.raises(installer.Stop, match=r"needs glibc 99\.1 or newer"):
        installer.check_machine(facts | {"glibc": "99.1"})
    with pytest.raises(installer.Stop, match=r"for Python 3\.99"):
        installer.right_python("3.99")


def test_a_folder_with_something_else_in_it_is_left_alone(kit: Path) -> None:
    with pytest.raises(installer.Stop, match="holds something else"):
        installer.install(kit / "wheels", ["headway[edge]==1"])
