"""Fixtures by name; how they work is in `support/servers.py`.

`nats` / `nats_server`: an own nats-server per test. `postgres`: DSN of a fresh empty database.
`database`: DSN of a fresh migrated one. `s3`: an S3 endpoint. `connection`: a NATS connection.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio

from headway import bus
from support import servers
from support.databases import Databases, create_database, drop_database, make_template

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from headway.config import Settings
    from headway_ops.local.nats import NatsServer
    from headway_ops.local.postgres import PostgresServer

servers.clean_environment()
# How soon an example is made says nothing on a machine that others use too.
hypothesis.settings.register_profile(
    "headway", suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("headway")

TEMPLATE = "headway_template"
MIGRATE = "headway_engine.store.postgres.migrate"


@pytest.fixture(scope="session")
def postgres_server() -> Generator[PostgresServer]:
    """One Postgres for the whole session; tests get databases of their own in it."""
    with asyncio.Runner() as runner:
        context = servers.running_postgres()
        server = runner.run(context.__aenter__())
        try:
            yield server
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest_asyncio.fixture
async def postgres(postgres_server: PostgresServer) -> AsyncGenerator[str]:
    """DSN of a fresh, empty database."""
    dsn = await create_database(postgres_server)
    yield dsn
    await drop_database(postgres_server, dsn)


@pytest.fixture(scope="session")
def migrated(postgres_server: PostgresServer) -> str:
    """The name of a template database to which all migrations were applied, once."""
    if importlib.util.find_spec(MIGRATE) is None:
        pytest.skip(f"{MIGRATE} is not there")
    module: Any = importlib.import_module(MIGRATE)
    asyncio.run(make_template(postgres_server, TEMPLATE, module.migrate))
    return TEMPLATE


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, migrated: str) -> Generator[Databases]:
    """Copies of the template, the next one made while a test uses the last."""
    with Databases(postgres_server, migrated) as made:
        yield made


@pytest_asyncio.fixture
async def database(databases: Databases) -> AsyncGenerator[str]:
    """DSN of a fresh database with the schema of the store."""
    dsn = await databases.take()
    yield dsn
    databases.drop(dsn)


@pytest_asyncio.fixture
async def nats_server() -> AsyncGenerator[NatsServer]:
    """A nats-server of this test's own: it may kill and restart it."""
    async with servers.running_nats() as server:
        yield server


@pytest.fixture
def nats(nats_server: NatsServer) -> str:
    """The URL of this test's nats-server."""
    return nats_server.url


@pytest.fixture
def settings(nats: str) -> Settings:
    """Client settings that lead to this test's nats-server."""
    return servers.settings_for(nats)


@pytest_asyncio.fixture
async def connection(settings: Settings) -> AsyncGenerator[bus.Connection]:
    """A NATS connection with an engine's name."""
    nc = await bus.connect(settings, kind="engine", ident="test")
    yield nc
    await nc.close()


@pytest.fixture(scope="session")
def s3_server() -> Generator[servers.S3Server]:
    """One S3 server for the session."""
    with asyncio.Runner() as runner, servers.open_folder("s3") as folder:
        server = servers.S3Server(folder)
        runner.run(server.start())
        try:
            yield server
        finally:
            runner.run(server.stop())


@pytest.fixture
def s3(s3_server: servers.S3Server) -> servers.S3Server:
    """Endpoint and keys of the S3 server."""
    return s3_server
