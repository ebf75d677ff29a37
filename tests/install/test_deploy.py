"""What ops/deploy holds parses, and names only commands, settings and variables that exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from headway.config import Settings
from headway_engine.config import load_config
from headway_engine.declared import declared_edge
from headway_ops.commands import TABLE
from headway_ops.local.process import find_binary
from headway_ops.sample import settings

DEPLOY = Path(__file__).parents[2] / "ops" / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
UNITS = sorted(DEPLOY.rglob("*.service"))
EDGE = DEPLOY / "edge"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CLIENT = set(
    re.findall(
        r"HEADWAY_[A-Z_]+", Path(sys.modules[Settings.__module__].__file__ or "").read_text()
    )
)


def shown(path: Path) -> str:
    """A file's name below ops/deploy."""
    return str(path.relative_to(DEPLOY))


def known_variables() -> set[str]:
    logs = {"HEADWAY_LOG_FORMAT", "HEADWAY_LOG_LEVEL"}
    return CLIENT | {setting.variable for setting in settings()} | logs


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_every_variable_is_one_that_is_read(path: Path) -> None:
    found = set(re.findall(r"HEADWAY_[A-Z_]*[A-Z]", path.read_text()))
    assert found <= known_variables()


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_every_setting_that_a_comment_names_exists(path: Path) -> None:
    known = {f"{setting.section}.{setting.name}" for setting in settings()}
    found = set(
        re.findall(r"(?<![.\w])(?:agent|engine|nats|postgres)\.[a-z]+_?[a-z]+\b", path.read_text())
    )
    files = {"engine.txt", "nats.conf", "engine.env", "agent.env", "engine.yaml", "agent.yaml"}
    files |= {"nats.service", "engine.service", "agent.service"}
    assert found - files <= known


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_every_command_exists(path: Path) -> None:
    text = path.read_text()
    called = re.findall(r"(?:bin/|`|HEADWAY_\S+ )headway ([a-z]+)", text)
    called += re.findall(r'(?:command|args): \["([a-z]+)"\]', text)
    assert set(called) <= {path.split()[0] for path in TABLE}


def test_the_compose_file_fits_nats_conf_and_the_example_of_passwords() -> None:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    text = (DEPLOY / "compose.yaml").read_text()
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "example.env").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert set(re.findall(r"\$\{(HW_[A-Z0-9_]+)", text)) == set(example)
    wanted = set(re.findall(r"\$(HW_[A-Z0-9_]+)", (DEPLOY / "nats.conf").read_text()))
    assert wanted == set(made["services"]["nats"]["environment"])
    users = set(re.findall(r"user: ([a-z0-9-]+)", (DEPLOY / "nats.conf").read_text()))
    for role in ("engine", "agent"):
        url = made["services"][role]["environment"]["HEADWAY_NATS_URL"]
        assert re.match(r"nats://([a-z0-9-]+):", url)[1] in users  # pyright: ignore[reportOptionalSubscript] a match is asserted
    for service in made["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("/") or source in made["volumes"] or (DEPLOY / source).exists()


@pytest.mark.parametrize("role", ["engine", "agent"])
def test_the_roles_understand_what_compose_gives_them(role: str) -> None:
    made: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = made["services"][role]
    config = load_config(None, service["environment"])
    grace = float(service["stop_grace_period"].rstrip("s"))
    if role == "engine":
        assert grace > config.engine.drain
    else:
        assert config.agent is not None
        assert grace > config.agent.drain_timeout + config.agent.kill_after
        assert f"{config.agent.state_dir}:{config.agent.state_dir}" in service["volumes"]


@pytest.mark.parametrize("path", MANIFESTS, ids=shown)
def test_the_manifests_are_understood_by_the_roles(path: Path) -> None:
    made: dict[str, Any] = yaml.safe_load(path.read_text())
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert made["spec"]["selector"]["matchLabels"] == made["spec"]["template"]["metadata"]["labels"]
    given = {one["name"]: str(one.get("value", "from-elsewhere")) for one in container["env"]}
    config = load_config(None, given)
    if container["args"] == ["agent"]:
        assert config.agent is not None
        assert pod["terminationGracePeriodSeconds"] > config.agent.drain_timeout
        assert config.agent.runtime == "process"
    else:
        assert pod["terminationGracePeriodSeconds"] > config.engine.drain
    assert {v["name"] for v in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


@pytest.mark.parametrize("path", [u for u in UNITS if "nats" not in u.name], ids=shown)
def test_the_units_give_more_time_than_a_drain_takes(path: Path) -> None:
    stop = float(re.findall(r"TimeoutStopSec=(\d+)", path.read_text())[0])
    config = load_config(None, {"HEADWAY_AGENT_STATE_DIR": "/x"})
    assert config.agent is not None
    longest = config.engine.drain if "engine" in path.name else config.agent.drain_timeout
    assert stop > longest


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
@pytest.mark.parametrize("path", UNITS, ids=shown)
def test_systemd_finds_nothing_wrong_with_the_units(path: Path, tmp_path: Path) -> None:
    program = tmp_path / "headway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / path.name
    unit.write_text(re.sub(r"/usr/lib/headway/bin/[a-z-]+", str(program), path.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert unit.name not in done.stderr


def test_the_files_of_the_edge_fit_each_other_and_the_units() -> None:
    config = load_config(EDGE / "headway.toml", {})
    text = (EDGE / "nats.conf").read_text()
    assert config.edge.folder
    assert config.edge == load_config(None, {"HEADWAY_EDGE_FOLDER": config.edge.folder}).edge
    assert config.agent is not None
    assert f'listen: "{config.nats.url.removeprefix("nats://")}"' in text
    assert f'http: "{config.nats.monitor_url.removeprefix("http://")}"' in text
    assert "\n  sync_interval: always\n" in text
    room = int(re.findall(r"max_file_store: (\d+)GB", text)[0]) * 10**9
    assert room > sum(int(c.get("max_bytes", 0)) for c in declared_edge().values())
    kept = {config.edge.folder, config.agent.state_dir, *re.findall(r'store_dir: "(.+)"', text)}
    units = "".join(unit.read_text() for unit in EDGE.glob("*.service"))
    assert {f"/var/lib/{d}" for d in re.findall(r"StateDirectory=(.+)", units)} == kept
    assert "--config /etc/headway/headway.toml" in units
    done = subprocess.run(
        [find_binary("nats-server", ""), "-t", "-c", str(EDGE / "nats.conf")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_nats_server_takes_the_file() -> None:
    secrets = {"HW_ENGINE": "a", "HW_AGENT_0": "b", "HW_APP": "c", "HW_OPERATOR": "d"}
    command = [find_binary("nats-server", ""), "-t", "-c", str(DEPLOY / "nats.conf")]
    done = subprocess.run(
        command, env={**os.environ, **secrets}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
