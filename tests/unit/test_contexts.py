"""Named connections: what a file says, what is refused, what wins over what."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from headway import contexts
from headway.client import Client
from headway.config import Settings, from_environment
from headway.errors import ReadOnly
from headway_ops import link, named, quick
from headway_ops.say import Fail

if TYPE_CHECKING:
    from pathlib import Path

PROD = """
nats_url = "tls://nats.example.org:4222"
namespace = "prod"
credentials = "prod.creds"
protect = true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [n for n in os.environ if n.startswith("HEADWAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in (contexts.VARIABLE, "HEADWAY_NATS_URL", "HEADWAY_NAMESPACE"):
        monkeypatch.setenv(name, "")  # what is set meanwhile is taken back
    place = tmp_path / "headway" / "contexts"
    place.mkdir(parents=True)
    (place / "prod.toml").write_text(PROD)
    (place / "lab.toml").write_text('nats_url = "nats://127.0.0.1:5222"\nreadonly = true\n')
    return place


def test_a_context_says_where_and_how(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(contexts.VARIABLE, "prod")
    found = from_environment()
    assert (found.nats_url, found.namespace) == ("tls://nats.example.org:4222", "prod")
    assert found.credentials == str(folder / "prod.creds")
    assert (found.context, found.protect, found.readonly) == ("prod", True, False)
    assert contexts.names() == ["lab", "prod"]
    assert "the context prod" in link.asked(found)


def test_an_option_stands_in_place_of_the_variables(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://elsewhere:4222")
    monkeypatch.setenv("HEADWAY_NAMESPACE", "mine")
    quick.set_environment({"HEADWAY_CONTEXT": "prod"})
    assert from_environment().namespace == "prod"
    quick.set_environment({"HEADWAY_CONTEXT": "prod", "HEADWAY_NAMESPACE": "other"})
    found = from_environment()
    assert (found.context, found.namespace) == ("prod", "other")
    quick.set_environment({"HEADWAY_NATS_URL": "nats://elsewhere:4222"})
    assert (from_environment().context, from_environment().shown_url) == (
        "", "nats://elsewhere:4222",
    )  # fmt: skip
    with pytest.raises(Fail, match="so does --nats-url"):
        quick.set_environment({"HEADWAY_CONTEXT": "prod", "HEADWAY_NATS_URL": "nats://x"})


def test_two_variables_that_name_different_servers_are_a_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(contexts.VARIABLE, "prod")
    monkeypatch.setenv("HEADWAY_NATS_URL", "nats://elsewhere:4222")
    with pytest.raises(contexts.BadContext, match="different servers: unset one"):
        from_environment()


@pytest.mark.parametrize(
    ("text", "why"),
    [("nats_url = 1", "Expected `str`"), ("nats_url =", "Invalid value"), ("", "nats_url"),
     ('nats_url = "nats://x"\nurl = "y"', "unknown field `url`"),
     ('nats_url = "nats://ana:secret@x"', "holds a password, and others may")],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused_with_what_is_wrong(
    folder: Path, text: str, why: str
) -> None:
    file = folder / "bad.toml"
    file.write_text(text)
    file.chmod(0o644)
    with pytest.raises(contexts.BadContext, match=why) as refused:
        contexts.named("bad")
    assert str(file) in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_password_in_a_file_of_ones_own_is_taken(folder: Path) -> None:
    file = folder / "own.toml"
    file.write_text('nats_url = "nats://ana:secret@x"')
    file.chmod(0o600)
    assert contexts.named("own").nats_url == "nats://ana:secret@x"


@pytest.mark.parametrize("name", ["../prod", "", ".hidden", "a b", "x" * 80])
def test_a_name_is_no_path(folder: Path, name: str) -> None:
    with pytest.raises(contexts.BadContext, match="no name of a context"):
        contexts.named(name)


def test_one_that_is_not_there_is_told_with_those_that_are(folder: Path) -> None:
    with pytest.raises(contexts.BadContext, match=r"no context 'stage' \(there are: lab, prod\)"):
        contexts.named("stage")


def test_those_there_are_are_listed_without_secrets(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "own.toml").write_text('nats_url = "nats://ana:secret@far:4222"')
    (folder / "own.toml").chmod(0o600)
    (folder / "bad.toml").write_text("nats_url =")
    monkeypatch.setenv(contexts.VARIABLE, "lab")
    named.run(as_json=True)
    told = {o["name"]: o for o in map(json.loads, capsys.readouterr().out.splitlines())}
    assert told["own"]["server"] == "nats://far:4222"
    assert told["lab"]["used"]
    assert told["lab"]["readonly"]
    assert "Invalid value" in told["bad"]["flaw"]
    named.run(as_json=False)
    out = capsys.readouterr().out
    assert "secret" not in out
    assert "prod" in out


def test_servers_of_its_own_need_no_context(folder: Path) -> None:
    quick.set_environment({"HEADWAY_CONTEXT": "prod"})
    quick.no_context("up", own=True)
    assert not os.environ.get(contexts.VARIABLE)
    quick.set_environment({"HEADWAY_CONTEXT": "prod"})
    with pytest.raises(Fail, match="takes its servers from --config"):
        quick.no_context("engine", own=False)


async def test_a_read_only_connection_sends_nothing_that_changes_something(folder: Path) -> None:
    settings = Settings(context="lab", readonly=True)
    client = Client.__new__(Client)  # nothing is to get as far as a connection
    client.settings = settings
    for verb in ("cancel", "plan-start", "blob-put", "anything-new"):
        with pytest.raises(ReadOnly, match=rf"{verb} was not sent: the context 'lab' is read-only"):
            await client.api(verb, None, dict[str, object])
    with pytest.raises(ReadOnly, match="an enqueue was not sent"):
        await client.submit([object()])  # type: ignore[list-item]
