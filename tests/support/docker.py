"""A Docker engine for tests: skipped with the reason where there is none, required by CI."""

from __future__ import annotations

import functools
import os

import docker
import pytest
from docker.errors import DockerException

from headway_ops import hostimage


@functools.cache
def _reason() -> str:
    try:
        client = docker.APIClient(version="auto", timeout=30)
        client.ping()
        client.close()
    except (DockerException, OSError) as e:
        return f"no Docker engine answers: {e}"[:200]
    return ""


def require_docker() -> None:
    """Skip without an engine; with HEADWAY_REQUIRE=docker fail instead."""
    if reason := _reason():
        if "docker" in os.environ.get("HEADWAY_REQUIRE", "").split(","):
            pytest.fail(reason)
        pytest.skip(reason)


@functools.cache
def base_image() -> str:
    """The id of the base image made from this machine's Python."""
    client = docker.APIClient(version="auto", timeout=60)
    try:
        return hostimage.ensure_host_base(client).id
    finally:
        client.close()
