"""Project images: what goes in, and the tag that follows from it. The builds need an engine."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import docker
import pytest

from headway_ops import hostimage, images
from support.docker import base_image, require_docker

if TYPE_CHECKING:
    from pathlib import Path
from typing import Any


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "My Project"
    (root / "pkg" / "__pycache__").mkdir(parents=True)
    (root / "pkg" / "__init__.py").write_text("X = 1\n")
    (root / "pkg" / "__pycache__" / "x.pyc").write_bytes(b"junk")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    (root / ".env").write_text("SECRET=1\n")
    (root / "notes.txt").write_text("private\n")
    (root / ".dockerignore").write_text("# ours\nnotes.txt\n")
    return root


def test_caches_secrets_and_ignored_files_stay_out(project: Path):
    assert images.project_files(project) == [".dockerignore", "pkg/__init__.py", "run.sh"]


def test_hash_follows_names_contents_and_the_execute_bit_and_no_times(project: Path):
    def now() -> str:
        return images.tree_hash(project, images.project_files(project), "sha256:1")

    before = now()
    (project / "pkg" / "__init__.py").touch()
    assert now() == before
    seen = {before, images.tree_hash(project, images.project_files(project), "sha256:2")}
    (project / "run.sh").chmod(0o644)
    seen.add(now())
    (project / "pkg" / "__init__.py").write_text("X = 2\n")
    seen.add(now())
    (project / "pkg" / "__init__.py").rename(project / "pkg" / "b.py")
    seen.add(now())
    assert len(seen) == 5


def test_context_is_the_same_bytes_each_time(project: Path):
    files = images.project_files(project)
    first = hashlib.sha256(images.context_tar(project, files)).digest()
    (project / "run.sh").touch()
    assert hashlib.sha256(images.context_tar(project, files)).digest() == first


def test_template_compiles_drops_root_and_needs_no_buildkit():
    text = images.dockerfile(["requirements.txt", "app.py"])
    assert "compileall" in text
    assert text.rstrip().endswith("USER 1000")
    assert "--mount" not in text
    assert "<<" not in text
    assert "pip" not in images.dockerfile(["app.py"])


def test_base_tag_is_stable_and_names_this_interpreter():
    assert hostimage.base_tag() == hostimage.base_tag()
    names = {e.name for e in hostimage.entries()}
    assert f"usr/local/bin/{hostimage.VERSION}" in names
    assert {"run/hw", "app", "tmp", "etc/passwd"} <= names
    assert f"{hostimage.PACKAGES}/headway/wire/frames.py" in names
    assert not any("/nats" in n or "/test/" in n for n in names)


@pytest.mark.docker
@pytest.mark.timeout(180)
def test_project_image_is_built_once_and_runs_as_the_tasks_user(project: Path):
    require_docker()
    client: Any = docker.APIClient(version="auto", timeout=120)
    said: list[str] = []
    image = images.build_project(
        client, project, base_image(), name="hw-test", progress=said.append
    )
    try:
        assert said
        assert images.build_project(client, project, base_image(), name="hw-test") == image
        made: dict[str, str] = client.create_container(
            image.tag,
            ["python3", "-c", "import os, pkg, msgspec, headway; print(os.getuid(), pkg.X)"],
            network_disabled=True,
        )
        client.start(made["Id"])
        client.wait(made["Id"])
        assert client.logs(made["Id"]).decode().strip() == "1000 1"
        client.remove_container(made["Id"])
    finally:
        client.remove_image(image.tag)
        client.close()


@pytest.mark.docker
def test_a_base_that_is_not_here_is_an_error_and_never_a_pull(project: Path):
    require_docker()
    client = docker.APIClient(version="auto", timeout=30)
    with pytest.raises(images.BuildFailed, match="not on this host"):
        images.build_project(client, project, "headway-no-such-base:1")
    client.close()
