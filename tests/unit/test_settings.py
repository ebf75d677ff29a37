from __future__ import annotations

import json
import os
import tomllib
from typing import TYPE_CHECKING

import pytest

from headway_engine.config import load_config
from headway_ops import sample, settings, verifying
from headway_ops.say import Fail
from headway_ops.settings import shown_dsn

if TYPE_CHECKING:
    from pathlib import Path


def test_the_sample_is_toml_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.run(as_json=False)
    text = capsys.readouterr().out
    assert set(tomllib.loads(text)) == {"nats", "postgres", "edge", "blobs", "engine", "agent"}
    without_agent = text.partition("[agent]")[0]
    (tmp_path / "headway.toml").write_text(without_agent)
    assert load_config(tmp_path / "headway.toml", {}) == load_config(None, {})


def test_every_setting_has_a_meaning_and_a_variable_that_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sample.run(as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) > 40
    without = [r["variable"] for r in rows if not r["meaning"]]
    assert without == ["HEADWAY_AGENT_WARM", "HEADWAY_AGENT_CAPS"]  # tables of their own
    one = next(r for r in rows if r["variable"] == "HEADWAY_ENGINE_API_WORKERS")
    assert (one["default"], load_config(None, {one["variable"]: "3"}).engine.api_workers) == (8, 3)


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:secret@db:5433/headway", "me@db:5433/headway"),
        ("postgresql://me:secret@/headway?host=/run/pg", "me@/run/pg/headway"),
        ("postgresql:///headway", "localhost/headway"),
        ("postgresql://me:secret@db:odd/x", "me@db:?/x"),
    ],
)
def test_where_postgres_is_is_shown_without_its_password(dsn: str, shown: str) -> None:
    assert shown_dsn(dsn) == shown


def test_beside_units_the_settings_of_this_host_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("HEADWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(settings, "SYSTEM_FILE", tmp_path / "system.toml")
    with pytest.raises(Fail, match="not known here"):
        verifying.settings("")
    (tmp_path / "system.toml").write_text(
        '[nats]\nurl = "nats://127.0.0.1:4222"\nmonitor_url = "http://127.0.0.1:8222"\n'
        '[edge]\nfolder = "/var/lib/headway/engine"\n'
    )
    assert verifying.settings("").edge.folder == "/var/lib/headway/engine"
    assert settings.monitor_url() == "http://127.0.0.1:8222"
    # Another installation is meant.
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://elsewhere:4222")
    with pytest.raises(Fail, match="not known here"):
        verifying.settings("")
    # A `headway up` near here is nearer.
    monkeypatch.delenv("HEADWAY_NATS_URL")
    near = tmp_path / ".headway"
    near.mkdir()
    (near / "client.toml").write_text('nats_url = "nats://127.0.0.1:1"\n')
    (near / "headway.toml").write_text('[postgres]\ndsn = "postgresql:///near"\n')
    assert verifying.settings("").postgres.dsn == "postgresql:///near"
