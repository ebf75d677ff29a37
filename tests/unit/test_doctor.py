from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headway.config import Settings
from headway.wire.api import Info
from headway.wire.events import Event
from headway.wire.fleet import TaskSpec
from headway_ops import doctor
from headway_ops.checks import broker, containers, database, edge, host
from headway_ops.checks.finding import clock
from headway_ops.demo import proof_of
from headway_ops.local.up import example_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("version", "state"),
    [("2.15.1", "ok"), ("2.15.0", "bad"), ("2.9.25", "bad"), ("2.16.0-dev", "ok"),
     ("3.0.0", "ok"), ("odd", "note")],
)  # fmt: skip
def test_an_older_nats_server_is_refused(version: str, state: str) -> None:
    assert broker.nats_version(version).state == state


@pytest.mark.parametrize(
    ("facts", "state"),
    [({"server_version": "18.6"}, "ok"), ({"server_version": "15.0"}, "ok"),
     ({"server_version": "14.20"}, "bad"), ({"server_version": ""}, "note"),
     ({"server_version": "18.6", "fsync": "off"}, "bad"),
     ({"server_version": "18.6", "synchronous_commit": "off"}, "bad"),
     ({"server_version": "18.6", "full_page_writes": "off"}, "bad"),
     ({"server_version": "18.6", "fsync": "on", "synchronous_commit": "local"}, "ok")],
)  # fmt: skip
def test_postgres_settings_that_break_promises_are_bad(facts: dict[str, Any], state: str) -> None:
    (finding,) = database.postgres_facts(facts)
    assert finding.state == state
    assert finding.todo or state != "bad"


@pytest.mark.parametrize(
    ("durability", "store_ok", "state"),
    [("fsynced", True, "ok"), ("replicated", True, "ok"), ("lazy", True, "note"),
     ("fsynced", False, "bad")],
)  # fmt: skip
def test_what_accepted_is_worth_is_said(durability: str, store_ok: bool, state: str) -> None:
    info = Info("e1", "0.1.0", "postgres", store_ok, durability, NOW)
    finding = doctor.engine(info)
    assert finding.state == state
    assert durability in finding.what


async def test_it_answers_in_full_while_nats_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWAY_POSTGRES_DSN", raising=False)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, not listening: refused
        url = f"nats://127.0.0.1:{s.getsockname()[1]}"
        monkeypatch.setenv("HEADWAY_NATS_URL", url)
        settings = replace(Settings(), nats_url=url, connect_timeout=1.0)
        found = {f.name: f for f in await doctor.look(settings)}
    assert found["nats"].state == "bad"
    assert found["nats"].todo
    assert {"python", "settings", "postgres", "engine", "agents", "docker"} <= set(found)


async def test_it_answers_in_full_while_postgres_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWAY_POSTGRES_DSN", "postgresql://me:secret@127.0.0.1:1/headway")
    (finding,) = await database.postgres(None)
    assert finding.state == "bad"
    assert "secret" not in finding.what + finding.todo


@pytest.mark.parametrize(
    ("ahead", "within", "state"),
    [(0.5, 0.0, ""), (-1.5, 0.0, "note"), (1.5, 1.0, ""), (7.0, 0.1, "bad"), (-60.0, 0.1, "bad")],
)
def test_a_clock_that_differs_more_than_the_answer_took_is_told(
    ahead: float, within: float, state: str
) -> None:
    found = clock("nats", ahead, within)
    assert [f.state for f in found] == ([state] if state else [])
    assert all(("ahead of" in f.what) == (ahead > 0) and "NTP" in f.todo for f in found)


@pytest.mark.parametrize(
    ("facts", "state", "told"),
    [({"autovacuum": "off"}, "note", "autovacuum"),
     ({"data_checksums": "off"}, "note", "checksums"),
     ({"max_connections": "20", "connections": 15}, "note", "15 of 20"),
     ({"max_connections": "100", "connections": 15}, "ok", "Postgres 18.6"),
     ({"standby": True}, "bad", "standby"),
     ({"default_transaction_read_only": "on"}, "bad", "takes no writes")],
)  # fmt: skip
def test_postgres_settings_that_hurt_later_are_told(
    facts: dict[str, Any], state: str, told: str
) -> None:
    (finding,) = database.postgres_facts({"server_version": "18.6", "fsync": "on", **facts})
    assert finding.state == state
    assert told in finding.what


@pytest.mark.parametrize(
    ("most", "used", "state"),
    [(-1, 10, "ok"), (1 << 40, 10, "ok"), (1 << 30, 10, "bad"), (10 << 30, 9 << 30, "note"),
     (10 << 30, 10 << 30, "bad")],
)  # fmt: skip
def test_a_full_or_small_jetstream_is_told(most: int, used: int, state: str) -> None:
    (finding,) = broker.jetstream({"limits": {"max_storage": most}, "storage": used}, 8 << 30)
    assert finding.state == state


@pytest.mark.parametrize(
    ("api", "info", "states"),
    [("1.41", {"CgroupVersion": "2", "LiveRestoreEnabled": True}, ["ok"]),
     ("1.39", {}, ["bad"]),
     ("1.45", {"LiveRestoreEnabled": False}, ["ok", "note"]),
     ("1.45", {"MemoryLimit": False, "SecurityOptions": ["name=rootless"]}, ["ok", "bad"])],
)  # fmt: skip
def test_what_docker_cannot_do_for_tasks_is_told(
    api: str, info: dict[str, Any], states: list[str]
) -> None:
    found = containers.docker_facts({"Version": "x", "ApiVersion": api}, info)
    assert [f.state for f in found] == states
    assert all(f.todo for f in found if f.state != "ok")
    assert ("rootless" in found[0].what) == bool(info.get("SecurityOptions"))


@pytest.mark.parametrize(
    ("free", "state"), [(100 << 20, "bad"), (3 << 30, "note"), (50 << 30, "ok")]
)
def test_a_full_disk_is_told(free: int, state: str) -> None:
    assert host.disk(Path("/data"), free, 100 << 30).state == state


@pytest.mark.parametrize(("soft", "state"), [(256, "bad"), (600, "note"), (1024, "ok"), (-1, "ok")])
def test_too_few_open_files_are_told(soft: int, state: str) -> None:
    assert host.files(soft).state == state


@pytest.mark.parametrize(
    ("length", "mode", "told"),
    [(61, 0o711, "does not fit"), (20, 0o700, "chmod 711 /a"), (20, 0o711, "open for containers")],
)
def test_a_folder_that_sockets_cannot_be_in_is_told(length: int, mode: int, told: str) -> None:
    (finding,) = host.channel_folder(Path("/a"), length, mode)
    assert told in finding.what + finding.todo
    assert (finding.state == "ok") == (told == "open for containers")


def test_secrets_that_are_missing_or_open_to_others_are_told(tmp_path: Path) -> None:
    file = tmp_path / "given.env"
    assert host.provider(None) == []
    (missing,) = host.provider(file)
    assert (missing.name, missing.state) == ("provider", "bad")
    assert "does not start" in missing.what
    file.touch(0o644)
    file.chmod(0o644)
    (wide,) = host.provider(file)
    assert (wide.state, wide.todo) == ("bad", f"chmod 600 {file}")
    assert "0644" in wide.what
    file.chmod(0o600)
    assert [f.state for f in host.provider(file)] == ["ok"]


def events(*told: tuple[str, int, dict[str, Any]]) -> list[Event]:
    return [Event(n, NOW, kind, epoch, data=data) for n, (kind, epoch, data) in enumerate(told, 1)]


def test_the_demo_believes_stored_events_only() -> None:
    survived = events(
        ("started", 1, {"container": "a"}),
        ("checkpoint", 1, {"number": 1}),
        ("checkpoint", 1, {"number": 2}),
        ("lost", 1, {}),
        ("started", 3, {"container": "b", "resumed_from": 2}),
        ("checkpoint", 3, {"number": 3}),
        ("once", 3, {"status": "started"}),
        ("once", 3, {"status": "done"}),
    )
    proof = proof_of(survived)
    assert proof.holds
    assert (proof.containers, proof.resumed_from, proof.last_before) == (["a", "b"], [2], 2)
    assert not proof_of(survived[:3] + survived[5:]).holds  # no second container
    twice = [*survived, Event(9, NOW, "once", 3, data={"status": "done"})]
    assert not proof_of(twice).holds


def test_the_example_names_the_parameters_that_must_be_given() -> None:
    spec = TaskSpec("t", payload_schema=b'{"type":"object","required":["a","b"]}')  # pyright: ignore[reportArgumentType] bytes are raw JSON
    assert example_of(spec) == "headway run t a=... b=..."
    assert example_of(TaskSpec("t")) == "headway run t"


@pytest.mark.parametrize(
    ("seen", "told", "state"),
    [(True, "", "ok"), (False, "fsynced", "bad"), (None, "fsynced", "ok"), (None, "", "note")],
)
def test_at_the_edge_what_the_server_shows_counts_more_than_a_word(
    seen: bool | None, told: str, state: str
) -> None:
    assert edge.fsync(seen, "http://127.0.0.1:8222", told).state == state


def test_what_a_power_cut_takes_is_told_in_seconds() -> None:
    shown = {"config": {"sync_interval": 120_000_000_000}}
    told = edge.fsync(False, "http://127.0.0.1:8222", "fsynced", edge.interval_of(shown))
    assert told.state == "bad"
    assert "fsyncs every 120 s" in told.what
    assert edge.interval_of(None) == 0


@pytest.mark.parametrize(("free", "state"), [(60, "ok"), (40, "note")])
def test_a_disk_that_is_full_before_jetstream_is_told(free: int, state: str) -> None:
    shown = {
        "config": {"max_storage": 100 << 20, "store_dir": "/store"},
        "stats": {"storage": 50 << 20},
    }
    asked: list[str] = []

    def usage(path: str) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=free << 20)

    (told,) = edge.disk(shown, usage)
    assert (told.state, asked) == (state, ["/store"])
    assert "may take 50 MiB more" in told.what

    def elsewhere(path: str) -> SimpleNamespace:
        raise FileNotFoundError(path)

    assert edge.disk(shown, elsewhere) == []


def test_lists_that_are_made_anew_are_told_with_how_far_they_are() -> None:
    told = edge.filled(250_000, 1_000_000)
    assert told.state == "note"
    assert "250,000 of 1,000,000 messages of RUNS (25 %)" in told.what
    assert edge.filled(5, 5).what.count("(99 %)") == 1


@pytest.mark.parametrize(("used", "state"), [(10, "ok"), (85, "note"), (96, "bad")])
def test_a_full_store_of_the_edge_is_told_before_it_refuses(used: int, state: str) -> None:
    assert edge.room(used << 20, 100 << 20).state == state
