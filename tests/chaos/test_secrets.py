"""Secrets of a careless task: looked for everywhere that anything of a run is kept or shown."""

from __future__ import annotations

import base64
import json
import os
import secrets as random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import docker
import pytest
from docker.errors import APIError
from msgspec import Raw
from msgspec.structs import replace

from headway.ids import new_run_id
from headway.wire.enqueue import EnqueueItem
from headway.wire.fleet import Deployment, TaskSpec
from support import secret_tasks as t
from support.docker import base_image, require_docker
from support.site import Site, running_site
from support.wait import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(240)

BROKEN = """
import os

from headway import task


@task(secrets=("H_TOKEN",))
def s_broken() -> None: ...


raise RuntimeError("bad token " + os.environ["H_TOKEN"])
"""


def made_up() -> dict[str, str]:
    """A token, a password that URLs and base64 write in other ways, a key of several lines."""
    lines = "\n".join(random.token_urlsafe(48) for _ in range(3))
    return {
        "H_TOKEN": "tok-" + random.token_hex(16),
        "H_PASSWORD": f"p@ss/w+rd {random.token_hex(8)} ?&=ü~>{random.token_hex(4)}",
        "H_KEY": f"-----BEGIN KEY-----\n{lines}\n-----END KEY-----",
    }


def needles(values: dict[str, str]) -> dict[bytes, str]:
    """Pieces of every spelling; long enough to be nobody else's, and short enough for a half."""
    found: dict[bytes, str] = {}
    for name, value in values.items():
        for n, line in enumerate(value.splitlines()):
            if line.startswith("-----"):
                continue
            what = f"{name}/{n}"
            data = line.encode()
            if name == "H_TOKEN":
                # A half of it too, where it was cut between two lines or two writes.
                found[data[4 : len(data) // 2]] = f"first half of {what}"
                found[data[len(data) // 2 :]] = f"second half of {what}"
            found[data] = what
            found[quote(line, safe="").encode()] = f"{what} in a URL"
            for lead in ("", "u:", "ab"):
                text = base64.b64encode(lead.encode() + data)
                core = text[4 : len(text) - 8]
                found[core] = f"{what} in base64 after {lead!r}"
                found[core.translate(bytes.maketrans(b"+/", b"-_"))] = f"{what} in URL base64"
    return found


Places = list[tuple[str, bytes]]


async def database(site: Site) -> Places:
    """Each row of each table."""
    tables = await site.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found: Places = []
    for table in (r["tablename"] for r in tables):
        for row in await site.rows(f'SELECT * FROM "{table}"'):
            for column, value in row.items():
                data = value if isinstance(value, bytes) else str(value).encode()
                found.append((f"table {table}.{column}", data))
    return found


def files(folder: Path, *, without: tuple[Path, ...] = ()) -> Iterator[tuple[str, bytes]]:
    """All files below a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path not in without:
            yield f"file {path}", path.read_bytes()


def processes() -> Iterator[tuple[str, bytes]]:
    """Command lines and initial environments of every process of this machine."""
    for path in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield f"{path.name} {name}", (path / name).read_bytes()
            except OSError:
                continue


def containers(owner: str) -> Iterator[tuple[str, bytes]]:
    """What Docker shows and keeps of an agent's containers."""
    client: Any = docker.APIClient(version="auto")
    for row in client.containers(all=True, filters={"label": f"headway.owner={owner}"}):
        with suppress(APIError):  # it has ended meanwhile
            yield "docker inspect", json.dumps(client.inspect_container(row["Id"])).encode()
            yield "docker logs", client.logs(row["Id"])
            yield "docker top", json.dumps(client.top(row["Id"])).encode()
    client.close()


async def everywhere(site: Site, provider: Path) -> Places:
    """All that is kept or shown."""
    found = await database(site)
    found += files(site.folder, without=(provider,))  # agents' state, tails, logs of all processes
    found += files(site.nats.directory)  # streams and blobs
    found += processes()
    return found


def leaked(places: Places, wanted: dict[bytes, str]) -> set[str]:
    return {f"{what}: {where}" for where, data in places for n, what in wanted.items() if n in data}


@pytest.mark.parametrize(
    "runtime", ["process", pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.nightly])]
)
async def test_a_careless_tasks_secrets_are_nowhere(runtime: str) -> None:
    if runtime == "docker":
        require_docker()
    values = made_up()
    wanted = needles(values)
    async with running_site(start=False) as site:
        provider = site.folder / "provider.toml"
        provider.write_text(
            "[secrets]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in values.items())
        )
        provider.chmod(0o600)
        name = f"s{os.getpid()}"
        site.agent = {
            "runtime": runtime,
            "provider_file": str(provider),
            "name": name,
            "start_timeout": 20.0,
        }
        site.role("engine", "e1")
        site.role("agent", name)
        await site.ready()
        source = site.folder / "src"
        source.mkdir()
        shutil.copy(t.__file__, source / "secret_tasks.py")
        (source / "broken_tasks.py").write_text(BROKEN)
        image = base_image() if runtime == "docker" else ""
        for version, specs, module in (
            ("v1", [replace(x.spec(), module="") for x in t.all_tasks()], "secret_tasks"),
            ("v2", [TaskSpec("s-broken", secrets=("H_TOKEN",))], "broken_tasks"),
        ):
            what = Deployment(
                version, specs, image=image, modules=(module,), source=str(source), dev=True
            )
            await site.client.api("deploy", what, Raw)
        gate = source / "gate"
        asked = {"gate": str(gate) if runtime == "process" else "/app/gate"}
        leaks, ends, broken = await site.client.submit([
            EnqueueItem(new_run_id(), "s-leaks", Raw(json.dumps(asked).encode())),
            EnqueueItem(new_run_id(), "s-ends", Raw(b"{}")),
            EnqueueItem(new_run_id(), "s-broken", Raw(b"{}")),
        ])  # fmt: skip

        async def knows() -> bool:
            return "once" in await site.kinds(leaks.id)

        await until(knows, 60, what="the task has printed everything", every=0.1)
        # While it runs: its process, its container, its parent.
        live: Places = [*processes()]
        if runtime == "docker":
            live += containers(f"default.{name}")
            assert any(where == "docker inspect" for where, _ in live)
        assert leaked(live, wanted) == set()
        gate.touch()
        assert await ends.result(40) == sum(map(len, values.values()))

        async def over() -> bool:
            rows = await site.rows(
                "SELECT id FROM runs WHERE ended_at IS NULL AND state <> 'REVIEW'"
            )
            return not rows

        await until(over, 60, what="all have ended", every=0.1)
        for done in (await site.headway("show", leaks.id), await site.headway("logs", leaks.id)):
            assert done.returncode == 0, done.stderr
            assert "[redacted]" in done.stdout
            assert leaked([("the command line", done.stdout.encode())], wanted) == set()
        assert "redacted" in (await site.headway("show", broken.id)).stdout
        places = await everywhere(site, provider)
        assert {"table events.data", "table results.error"} <= {where for where, _ in places}
        assert any(b"[redacted]" in data for where, data in places if "file" in where)
        assert leaked(places, wanted) == set()
