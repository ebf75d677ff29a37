"""Project images: what goes in, and the tag that follows from it. The builds need an engine."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, cast

import docker
import pytest

from headway_ops import hostimage, images
from support.docker import base_image, require_docker

if TYPE_CHECKING:
    from pathlib import Path


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
    assert not any(n.startswith(f"{hostimage.PACKAGES}/nats") or "/test/" in n for n in names)


def test_old_base_images_go_but_never_the_newest_two_nor_a_fresh_one():
    now = 1_000_000.0

    def image(age: float, *tags: str) -> dict[str, Any]:
        return {"Created": int(now - age), "RepoTags": list(tags)}

    rows = [
        image(90_000, "headway-base:d"),
        image(5, "project:made-on-a"),
        image(10, "headway-base:a"),
        image(50_000, "headway-base:c", "mine:latest"),
        image(1_000, "headway-base:b"),
        image(2_000, "headway-base:fresh"),
        image(95_000),
    ]
    assert hostimage.outdated(rows, now) == ["headway-base:c", "headway-base:d"]
    alone = [image(90_000, "headway-base:x"), image(80_000, "headway-base:y")]
    assert hostimage.outdated(alone, now) == []


@pytest.mark.docker
def test_removing_a_base_image_leaves_what_else_names_it():
    require_docker()
    client = docker.APIClient(version="auto", timeout=60)
    ident = base_image()
    for tag in ("test-old", "raw-test-old"):
        client.tag(ident, "headway-base", tag)
    hostimage.remove(client, "headway-base:test-old")
    tags = cast("list[str]", client.inspect_image(ident)["RepoTags"])
    assert not [tag for tag in tags if tag.endswith("test-old")]
    hostimage.remove(client, "headway-base:test-old")
    client.close()


@pytest.mark.docker
@pytest.mark.timeout(180)
def test_project_image_is_built_once_and_runs_as_the_tasks_user(project: Path):
    require_docker()
    client: Any = docker.APIClient(version="auto", timeout=120)
    (project / "own.txt").write_text(secrets.token_hex(8))  # an image that no other test has
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
