"""`headway nats config`: what it writes, what it refuses, and what it never shows."""

from __future__ import annotations

import base64
import re
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headway import nkeys
from headway.errors import BadName
from headway_ops.access import conf, plan, rights, write
from headway_ops.access.plan import BadPlan
from headway_ops.local.process import find_binary
from support.guarded import headway

if TYPE_CHECKING:
    from pathlib import Path


def test_a_seed_gives_the_public_key_that_other_tools_show() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = nkeys.Key.new("user")
    assert re.fullmatch(r"SU[A-Z2-7]{56}", key.seed)
    assert re.fullmatch(r"U[A-Z2-7]{55}", key.public)
    raw = base64.b32decode(key.public)[1:33]
    Ed25519PublicKey.from_public_bytes(raw).verify(key.sign(b"nonce"), b"nonce")
    assert nkeys.Key(key.seed).public == key.public
    assert nkeys.Key.new("account").public[0] == "A"
    assert nkeys.Key.new("operator").public[0] == "O"


@given(st.integers(0, 56), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_a_damaged_seed_is_refused_and_never_shown(at: int, letter: str) -> None:
    # The last letter has bits that mean nothing.
    seed = nkeys.Key.new("user").seed
    bad = seed[:at] + letter + seed[at + 1 :]
    if bad == seed:
        return
    with pytest.raises(ValueError, match="seed") as caught:
        nkeys.Key(bad)
    assert bad not in str(caught.value)


def test_a_credentials_file_is_a_seed_or_what_nsc_writes(tmp_path: Path) -> None:
    key = nkeys.Key.new("user")
    bare, both = tmp_path / "a.seed", tmp_path / "a.creds"
    bare.write_text(f"{key.seed}\n")
    both.write_text(
        "-----BEGIN NATS USER JWT-----\nhead.body.sig\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{key.seed}\n------END USER NKEY SEED------\n"
    )
    assert (nkeys.read(str(bare)).key.public, nkeys.read(str(bare)).jwt) == (key.public, "")
    assert (nkeys.read(str(both)).key.public, nkeys.read(str(both)).jwt) == (
        key.public, "head.body.sig",
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "nonsense", "\xff\xfe", "SU" + "A" * 56])
def test_what_is_no_credentials_file_is_named_and_not_shown(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.seed"
    path.write_text(text)
    with pytest.raises(nkeys.BadCredentials, match=r"x\.seed") as caught:
        nkeys.read(str(path))
    assert "SU" not in str(caught.value).replace("(SU...)", "")
    with pytest.raises(nkeys.BadCredentials, match="No such file"):
        nkeys.read(str(tmp_path / "absent"))


def wanted(folder: Path, **more: object) -> write.Wanted:
    return write.Wanted(
        folder, agents=("a1=default,gpu",), clients=("app",), viewers=("web",), operators=("ann",),
        **more,  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def test_secrets_are_for_their_owner_alone_and_stand_nowhere_else(tmp_path: Path) -> None:
    write.write(wanted(tmp_path, self_signed=True))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    seeds = {path: path.read_text().strip() for path in files if path.suffix == ".seed"}
    assert len(seeds) == 6
    for path in files:
        secret = path.suffix == ".seed" or path.name.endswith("-key.pem")
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if secret else 0o644), path
        if path not in seeds:
            assert not [seed for seed in seeds.values() if seed in path.read_text()], path
    text = (tmp_path / "nats.conf").read_text()
    assert {nkeys.Key(seed).public for seed in seeds.values()} == set(
        re.findall(r"nkey: (U\w+)", text)
    )
    assert "sync_interval: always" in text


def test_called_again_it_changes_nobody_s_keys(tmp_path: Path) -> None:
    first = write.write(wanted(tmp_path, self_signed=True)).conf.read_text()
    ca = (tmp_path / "tls" / "ca.pem").read_bytes()
    assert write.write(wanted(tmp_path, self_signed=True)).conf.read_text() == first
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == ca
    fewer = write.write(write.Wanted(tmp_path, clients=("app",)))
    assert {path.name for path in fewer.unused} == {
        "agent.default.a1.seed", "ann.seed", "web.seed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"agents": ("x/a1",)}, "no namespace 'x'"),
        ({"clients": ("app",), "operators": ("app",)}, "same name"),
        ({"clients": ("engine",)}, "same name"),
        ({"clients": ("app=gpu",)}, "queues are for agents"),
        ({"namespaces": ("a", "b"), "clients": ("app",)}, "which namespace"),
        ({"namespaces": ("a",), "tenants": ("t=a",)}, "belongs to one tenant"),
        ({"tenants": ("t",)}, "NAME=NS,NS"),
        ({"tenants": ("t=x", "t=y")}, "each tenant once"),
        ({"server": conf.Server(max_store="much")}, "a size such as"),
        ({"tenants": ("t=x",), "server": conf.Server(tenant_store="40GB")}, "do not fit"),
        (
            {"namespaces": ("a", "b"), "agents": ("a/x", "b/x"), "passwords": True},
            "every name can be there once",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(
    tmp_path: Path, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(BadPlan, match=says):
        write.write(write.Wanted(tmp_path, **changes))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "changes",
    [
        {"agents": ("a.b",)}, {"agents": ("a*",)}, {"agents": ("a=q>",)}, {"clients": ("a b",)},
        {"operators": (">",)}, {"viewers": ("*",)}, {"namespaces": ("a.*",)}, {"clients": ("",)},
        {"clients": ('x"} # ',)}, {"tenants": ("T.x=y",)},
    ],
)  # fmt: skip
def test_a_name_that_could_mean_more_than_itself_is_refused(
    tmp_path: Path, changes: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises((BadName, BadPlan)):
        write.write(write.Wanted(tmp_path, **changes))  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "nats.conf").exists()


def test_tenants_share_nothing_but_the_server(tmp_path: Path) -> None:
    made = plan.accounts(
        write.tenants_of(
            write.Wanted(
                tmp_path, tenants=("acme=x", "corp=y"),
                agents=("x/a1", "y/a1", "default/a1"), clients=("x/app", "y/shop"),
            )
        )
    )  # fmt: skip
    for account in made:
        tenant = account.name.partition(".")[0]
        assert {one.account.partition(".")[0] for one in account.imports} <= {tenant}
    cores = [account.name for account in made if account.jetstream]
    assert cores == ["HW", "acme", "corp"]
    assert len({account.name for account in made}) == len(made)


def test_nats_server_takes_what_is_written(tmp_path: Path) -> None:
    made = write.write(
        write.Wanted(
            tmp_path, self_signed=True, tenants=("acme=x,y",), agents=("x/a1=q1,q2",),
            viewers=("y/web",), operators=("default/ann",),
            server=conf.Server(verify=True, http="127.0.0.1:8222"),
        )
    )  # fmt: skip
    done = subprocess.run(
        [find_binary("nats-server", ""), "-t", "-c", str(made.conf)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


async def test_the_command_prints_paths_and_no_secret(tmp_path: Path) -> None:
    words = ("nats", "config", "out", "--agent", "a1", "--operator", "ann", "--self-signed")
    done = await headway(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str((tmp_path / "out" / "nats.conf").resolve())
    said = done.stdout + done.stderr
    for path in (tmp_path / "out").rglob("*.seed"):
        assert path.read_text().strip() not in said
    assert "--signal reload" in said
    again = await headway(tmp_path, "nats", "config", "out", "--agent", "a b")
    assert again.returncode == 2
    assert "bad agent 'a b'" in again.stderr


def test_who_may_do_it_is_said_for_a_refused_subject() -> None:
    assert rights.who_may("hw.in.default") == ["clients", "operators"]
    assert rights.who_may("hw.api.default.web.deploy") == ["operators"]
    assert rights.who_may("hw.api.default.web.cancel") == ["clients", "operators"]
    assert rights.who_may("$JS.API.STREAM.INFO.RUNS") == []
