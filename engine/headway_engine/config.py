"""Settings of an engine and an agent: a TOML file, and HEADWAY_<SECTION>_<FIELD> variables over it.

Every field's docstring is its documentation; `sample_toml` makes the sample file from them. A wrong
value raises BadConfig naming the file (or variable), the key and what is expected.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import os
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from headway import subjects
from headway.errors import HeadwayError
from headway_engine.agent.config import AgentConfig
from headway_engine.metrics.endpoint import parse_listen
from headway_engine.otlp import parse_headers
from headway_engine.roles import ALL, check_roles

if TYPE_CHECKING:
    from collections.abc import Mapping

Seconds = Annotated[float, Meta(gt=0, le=86400 * 365)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]


class BadConfig(HeadwayError):
    """A setting cannot be used."""

    code = "bad_config"


class NatsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where NATS is."""

    url: str = "nats://127.0.0.1:4222"
    """One URL or several, separated by commas."""
    credentials: str = ""
    """Path of a file with an nkey seed, or with a user's JWT and seed."""
    answers_credentials: str = ""
    """Engine: the same for its second connection, which hears requests and may write answers only;
    empty = as `credentials`."""
    tls_ca: str = ""
    """Path of the CA certificate for `tls://` URLs; empty = the system's."""
    monitor_url: str = ""
    """http://host:port of the monitoring port: only there does `sync_interval: always` show."""
    fsynced: bool | None = None
    """What you know of `sync_interval: always` on this NATS; unset = ask the monitoring port."""
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    """Replicas of each stream; more than 1 needs a cluster."""


class PostgresConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where Postgres is."""

    dsn: str = "postgresql://localhost/headway"
    """Connection URL; a password belongs into a passfile or HEADWAY_POSTGRES_DSN."""


class EdgeConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """The edge: one nats-server, no Postgres."""

    folder: str = ""
    """Path of a folder of this engine's own: with it NATS is the truth, and what lists show lies
    here; it may be deleted, and is then made anew. Empty = Postgres is the truth."""
    runs_bytes: Annotated[int, Meta(ge=1 << 20)] = 2 << 30
    """Bytes that all runs may take in NATS; when they are used up, enqueues are refused. The server
    must have room for it: `max_file_store`."""


class BlobsConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Where bodies over 128 KiB lie."""

    kind: Literal["objects", "s3", "memory"] = "objects"
    """`objects`: JetStream object store; `s3`: any S3-compatible store; `memory`: tests."""
    bucket: str = "headway-blobs"
    """Name of the bucket; it is made if it is not there."""
    endpoint: str = ""
    """S3: URL of a compatible store; empty = AWS."""
    region: str = "us-east-1"
    """S3: region."""
    access_key: str = ""
    """S3: empty = boto's usual chain (environment, profile, instance role)."""
    secret_key: str = ""
    """S3: as access_key; best given as HEADWAY_BLOBS_SECRET_KEY."""
    direct: bool = True
    """S3: clients and agents upload large bodies themselves, by URLs that the engine signs for one
    body each; who cannot reach the store sends them through the engine."""
    public_endpoint: str = ""
    """S3: URL under which clients and agents reach the store; empty = as `endpoint`."""
    prefix: str = ""
    """S3: put before every key, so that installations can share a bucket."""


class EngineConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of one engine."""

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{0,40}\Z")] = ""
    """Unique among the engines; empty = made at start."""
    roles: tuple[str, ...] = ALL
    """Which services this process runs (`headway engine --roles`); each role must run somewhere."""
    lease: Seconds = 15.0
    """Seconds without a renewal after which an agent's attempts are lost."""
    beat_every: Seconds = 5.0
    """Seconds between an agent's renewals; at most a third of the lease."""
    intake_batch: Count = 256
    """INGEST messages in one commit, at most."""
    intake_lanes: Count = 2
    """Intake batches at work at once."""
    save_batch: Count = 128
    """Saves in one statement, at most."""
    save_lanes: Count = 2
    """Save batches at work at once."""
    commit_batch: Count = 512
    """Transitions in one commit, at most."""
    commit_lanes: Count = 2
    """Commits at work at once."""
    waiting_limit: Count = 20_000
    """Saves, and transitions, that may wait for the store; beyond that agents hear `busy`."""
    api_workers: Count = 8
    """Requests of clients and consoles that are served at once."""
    image_grace: Seconds = 30.0
    """Seconds in which an image may still come to an agent (they look every 10 s); then runs that
    need it wait for a person."""
    prune_every: Seconds = 30.0
    """Seconds between looks for rows past their retention."""
    watch_every: Seconds = 15.0
    """Seconds between looks at the settings of NATS and Postgres: what was changed by hand is put
    right, or said."""
    drain: Seconds = 10.0
    """Seconds that requests in flight get to end when the engine is stopped."""
    metrics_listen: str = ""
    """HOST:PORT, or PORT on loopback, where Prometheus scrapes `/metrics`; empty = nowhere. It asks
    for no password: keep it inside your network."""
    otlp_endpoint: str = ""
    """URL of an OpenTelemetry collector (`http://host:4317`) that gets the spans of tasks; empty =
    none. Each engine with it takes a share of them."""
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    """`grpc` (port 4317 by custom) or `http` (4318; `/v1/traces` is added to the URL)."""
    sites: tuple[str, ...] = ()
    """At a hub: the sites that it follows, by name (`headway edge join` at the site)."""
    site: str = ""
    """At a site: its name; its engines then carry out what the hub asks for. Empty = alone."""
    hub: str = "hub"
    """At a site: the JetStream domain of its hub."""
    ship: bool = True
    """At a site: retention waits for each run until the hub has confirmed that it has all of it,
    unless RUNS is nearly full; false = retention waits for nobody."""
    retention: Seconds = 30 * 86400.0
    """Seconds that runs stay after their end; a hub keeps those of its sites as long as its own."""
    otlp_headers: str = ""
    """`name=value,name=value` for the collector; best given as HEADWAY_ENGINE_OTLP_HEADERS."""

    def __post_init__(self) -> None:
        """Checks between fields, and of names."""
        check_roles(self.roles)
        if self.metrics_listen:
            parse_listen(self.metrics_listen)
        parse_headers(self.otlp_headers)
        for site in (*self.sites, *filter(None, (self.site, self.hub))):
            if not subjects.is_name(site):
                raise ValueError(f"sites: {site!r}: expected a-z, 0-9, _ and -, at most 64")
        if self.otlp_endpoint and not self.otlp_endpoint.startswith(("http://", "https://")):
            raise ValueError(f"otlp_endpoint: expected http(s)://..., got {self.otlp_endpoint!r}")
        if self.beat_every * 3 > self.lease:
            raise ValueError(
                f"beat_every: expected at most a third of the lease ({self.lease / 3:g}),"
                f" got {self.beat_every:g}"
            )


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """All sections."""

    nats: NatsConfig = field(default_factory=NatsConfig)
    postgres: PostgresConfig = field(default_factory=PostgresConfig)
    blobs: BlobsConfig = field(default_factory=BlobsConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    agent: AgentConfig | None = None
    """Only where an agent runs."""
    edge: EdgeConfig = field(default_factory=EdgeConfig)


_SECTIONS: dict[str, type[Struct]] = {
    "nats": NatsConfig,
    "postgres": PostgresConfig,
    "edge": EdgeConfig,
    "blobs": BlobsConfig,
    "engine": EngineConfig,
    "agent": AgentConfig,
}


def load_config(path: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Defaults, then the file, then the variables; raises BadConfig.

    Where both Postgres and the folder of an edge are given, nobody could say which is the truth.
    """
    env = os.environ if env is None else env
    given: dict[str, Any] = {}
    if path is not None:
        given = _read(path)
    unknown = sorted(given.keys() - _SECTIONS.keys())
    if unknown:
        raise BadConfig(
            f"{path}: [{unknown[0]}]: no such section (expected {', '.join(_SECTIONS)})"
        )
    sections: dict[str, Any] = {}
    origins: dict[str, dict[str, str]] = {}
    for section, kind in _SECTIONS.items():
        table = given.get(section, {})
        if not isinstance(table, dict):
            raise BadConfig(f"{path}: {section}: expected a table [{section}]")
        values = dict(cast("dict[str, Any]", table))
        known = {f.name: f for f in msgspec.structs.fields(kind)}
        for key in values:
            if key not in known:
                raise BadConfig(
                    f"{path}: [{section}] {key}: no such setting (known: {', '.join(known)})"
                )
        sources = dict.fromkeys(values, f"{path}: [{section}]")
        for name, f in known.items():
            variable = f"HEADWAY_{section}_{name}".upper()
            if variable in env:
                values[name] = _from_text(env[variable], f.type, variable)
                sources[name] = variable
        if values or section != "agent":
            sections[section] = _convert(values, kind, sources, path, section)
        origins[section] = sources
    if sections["edge"].folder and (other := origins["postgres"].get("dsn")):
        raise BadConfig(
            f"{origins['edge']['folder']} folder, and {other} dsn: the first means an edge, where"
            " there is no Postgres; leave one of the two out"
        )
    return Config(**sections)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as e:
        raise BadConfig(f"{path}: {e.strerror or e}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as e:
        raise BadConfig(f"{path}: not TOML: {e}") from None


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(kind)


def _from_text(text: str, kind: Any, variable: str) -> Any:
    """A variable's value: as the field's type, lists separated by commas."""
    if "tuple" in str(kind):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return msgspec.convert(text, kind, strict=False, dec_hook=_path)
    except msgspec.ValidationError as e:
        raise BadConfig(f"{variable}: {e}") from None
    except UnicodeEncodeError:
        raise BadConfig(f"{variable}: not UTF-8") from None


def _convert(
    values: dict[str, Any],
    kind: type[Struct],
    sources: dict[str, str],
    path: Path | None,
    section: str,
) -> Any:
    try:
        return msgspec.convert(values, kind, strict=True, dec_hook=_path)
    except msgspec.ValidationError as e:
        text = str(e)
        # msgspec says "... - at `$.lease`".
        key = text.rsplit("`$.", 1)[-1].rstrip("`") if "`$." in text else ""
        expected = text.rsplit(" - at ", 1)[0]
        name = key or expected.split(":", 1)[0].split(" ")[-1].strip("`")
        where = sources.get(
            name.split(".")[0].split("[")[0], f"{path or 'environment'}: [{section}]"
        )
        value = values.get(key)
        shown = "" if value is None or "key" in key or key == "dsn" else f", got {value!r}"
        raise BadConfig(f"{where} {key}: {expected}{shown}".replace("  ", " ")) from None


def field_docs(kind: type[Struct]) -> dict[str, str]:
    """The docstring under each field, by its name."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    docs: dict[str, str] = {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for node, after in itertools.pairwise(body):
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[node.target.id] = inspect.cleandoc(str(after.value.value))
    return docs


def sample_toml() -> str:
    """The sample file: every setting with its default and its documentation, commented out."""
    lines: list[str] = []
    for section, kind in _SECTIONS.items():
        doc = (kind.__doc__ or "").strip().splitlines()[0]
        lines += [f"# {doc}", f"[{section}]"]
        docs = field_docs(kind)
        hints = get_type_hints(kind)
        for f in msgspec.structs.fields(kind):
            for line in docs.get(f.name, "").splitlines():
                lines.append(f"# {line}")
            default = f.default if f.default is not msgspec.NODEFAULT else None
            if f.default_factory is not msgspec.NODEFAULT or (
                isinstance(hints[f.name], type) and issubclass(hints[f.name], Struct)
            ):
                lines.append(f"#   [{section}.{f.name}]")
            else:
                lines.append(f"# {f.name} = {_toml(default)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: Any) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"  # pyright: ignore[reportUnknownVariableType]  # a default of ours
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
