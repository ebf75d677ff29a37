from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import fields

from headway_engine.config import (
    BadConfig,
    Config,
    EngineConfig,
    NatsConfig,
    field_docs,
    load_config,
    sample_toml,
)

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> Path:
    file = path / "headway.toml"
    file.write_text(text)
    return file


def test_defaults_need_no_file() -> None:
    assert load_config(None, {}) == Config()


def test_the_environment_goes_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[engine]\nlease = 30.0\nid = "e1"\n[nats]\nurl = "nats://a:1"\n')
    config = load_config(file, {"HEADWAY_ENGINE_LEASE": "45", "HEADWAY_NATS_REPLICAS": "3"})
    assert (config.engine.lease, config.engine.id) == (45.0, "e1")
    assert (config.nats.url, config.nats.replicas) == ("nats://a:1", 3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[engine]\nlease = -1.0\n", ["headway.toml", "[engine] lease", "> 0"]),
        ('[engine]\nlease = "long"\n', ["headway.toml", "[engine] lease", "float", "'long'"]),
        ("[engine]\nleese = 1\n", ["headway.toml", "[engine] leese", "no such setting", "lease"]),
        ("[motor]\nx = 1\n", ["headway.toml", "[motor]", "no such section", "engine"]),
        ("engine = 3\n", ["headway.toml", "engine", "table"]),
        ("[engine\n", ["headway.toml", "not TOML"]),
        ('[blobs]\nkind = "tape"\n', ["headway.toml", "[blobs] kind", "tape"]),
        ("[engine]\nlease = 9.0\n", ["headway.toml", "beat_every", "third"]),
        (
            '[edge]\nfolder = "/e"\n[postgres]\ndsn = "postgresql://h/d"\n',
            ["headway.toml", "[edge] folder", "[postgres] dsn", "no Postgres"],
        ),
    ],
)
def test_a_wrong_setting_names_file_key_and_expectation(
    tmp_path: Path, text: str, says: list[str]
) -> None:
    with pytest.raises(BadConfig) as caught:
        load_config(write(tmp_path, text), {})
    for word in says:
        assert word in str(caught.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(BadConfig, match="HEADWAY_ENGINE_LEASE"):
        load_config(None, {"HEADWAY_ENGINE_LEASE": "soon"})
    with pytest.raises(BadConfig, match="HEADWAY_ENGINE_LEASE"):
        load_config(None, {"HEADWAY_ENGINE_LEASE": "-3"})


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"absent\.toml"):
        load_config(tmp_path / "absent.toml", {})


def test_secrets_are_not_in_errors(tmp_path: Path) -> None:
    with pytest.raises(BadConfig) as caught:
        load_config(write(tmp_path, "[blobs]\nsecret_key = 12345678\n"), {})
    assert "12345678" not in str(caught.value)


@pytest.mark.parametrize("kind", [NatsConfig, EngineConfig])
def test_every_field_is_documented_and_in_the_sample(kind: type) -> None:
    docs, sample = field_docs(kind), sample_toml()
    for field in fields(kind):
        assert docs.get(field.name), field.name
        assert f"# {field.name} = " in sample
        assert docs[field.name].splitlines()[0] in sample


def test_the_agents_section_is_there_only_if_it_is_given(tmp_path: Path) -> None:
    assert load_config(None, {}).agent is None
    file = write(tmp_path, '[agent]\nstate_dir = "/tmp/a"\nqueues = ["gpu"]\n')
    agent = load_config(file, {"HEADWAY_AGENT_QUEUES": "gpu,cpu"}).agent
    assert agent is not None
    assert agent.queues == ("gpu", "cpu")
