"""What ops/setup installs: exact versions with hashes, of everything that pyproject asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / ".ci" / "locked"
SETS = ["all", "audit", "build", "engine", "fuzz", "lint", "test"]


def entries(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """Of a set: by canonical name the requirement and its hashes."""
    text = (LOCKED / f"{name}.txt").read_text()
    lines = [x for x in text.replace("\\\n", " ").splitlines() if x and not x.startswith("#")]
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in lines:
        requirement, *hashes = line.split("--hash=")
        parsed = Requirement(requirement.strip())
        found[canonicalize_name(parsed.name)] = parsed, [h.strip() for h in hashes]
    assert len(found) == len(lines)
    return found


def asked(name: str) -> list[Requirement]:
    """What pyproject asks for in a set, its own extras resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    if name in extras:
        given = [*project["project"]["dependencies"], *extras[name]]
    else:
        given = list(project["dependency-groups"][name])
    found: list[Requirement] = []
    for text in given:
        wanted = Requirement(text)
        if wanted.name == "headway":
            given += [more for extra in wanted.extras for more in extras[extra]]
        else:
            found.append(wanted)
    return found


def test_the_sets_are_the_project_and_its_groups() -> None:
    assert sorted(p.stem for p in LOCKED.iterdir()) == SETS


@pytest.mark.parametrize("name", SETS)
def test_each_locked_version_is_exact_and_has_its_hashes(name: str) -> None:
    found = entries(name)
    assert found
    for requirement, hashes in found.values():
        assert re.fullmatch(r"==[A-Za-z0-9.+!_-]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", h) for h in hashes), requirement


@pytest.mark.parametrize("name", SETS)
def test_the_lock_fits_pyproject(name: str) -> None:
    """Else: `.ci/lock`."""
    found = entries(name)
    for wanted in asked(name):
        (have, _) = found[canonicalize_name(wanted.name)]
        (exact,) = have.specifier
        assert wanted.specifier.contains(exact.version, prereleases=True), (wanted, exact)


def test_a_package_has_one_version_in_all_sets() -> None:
    versions: dict[str, set[str]] = {}
    for name in SETS:
        for package, (requirement, _) in entries(name).items():
            versions.setdefault(package, set()).add(str(requirement.specifier))
    assert not {package: found for package, found in versions.items() if len(found) > 1}
