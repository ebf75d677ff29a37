"""What an agent is told: one field, one line of documentation."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

from headway_engine.metrics.endpoint import parse_listen


class WarmConfig(Struct, frozen=True):
    """The warm pool: containers that wait for a run."""

    low: int = 1
    """Kept per kind of task that ran in the last `idle` seconds."""
    high: int = 4
    """Kept per kind of task that ran in the last `busy` seconds."""
    busy: float = 10.0
    """Seconds after a run in which the pool stays at its high mark."""
    idle: float = 300.0
    """Seconds after the last run until a kind of task keeps nothing warm."""
    max_age: float = 600.0
    """Seconds after which a waiting container is replaced."""
    memory: int = 512 * 1024 * 1024
    """Bytes that all waiting containers may take together; 24 MiB are counted for each."""
    refill: int = 2
    """Containers started at the same time by the refill."""
    rate: float = 4.0
    """Containers a second that the refill may start, after a burst of `high`."""


class Caps(Struct, frozen=True):
    """The most that a task may ask for on this host."""

    memory: int = 16 * 1024**3
    cpus: float = 64.0
    pids: int = 4096
    networks: tuple[str, ...] = ("none", "egress")
    """Network policies that tasks may choose."""


class AgentConfig(Struct, frozen=True):
    """Settings of one agent."""

    state_dir: str
    """Its journal and sockets, for it alone; a short path (a socket's address has 107 bytes), on a
    local disk."""
    name: str = "agent"
    """Unique in its namespace; `a-z 0-9 _ -`."""
    ns: str = "default"
    """The namespace that it serves."""
    queues: tuple[str, ...] = ("default",)
    """Queues that it takes runs from."""
    slots: int = 8
    """Runs of isolation `run` at once."""
    shared_slots: int = 256
    """Runs of isolation `shared` at once."""
    runtime: Literal["docker", "process"] = "docker"
    """How runners are started."""
    channel: Literal["auto", "unix", "tcp"] = "auto"
    """How runners talk to the agent; auto = unix sockets, TCP where containers reach none."""
    channel_address: str = ""
    """Docker with TCP: the name or address of this host that containers dial; empty = found out."""
    channel_port: int = 0
    """TCP: the agent's port; 0 = a free one, which is kept over restarts."""
    open_network: bool = False
    """Docker with TCP: tasks with network `none` may run in a network with access to the outside,
    where containers reach the agent in no other way (Docker Desktop, a remote Docker host)."""
    host_channel_dir: str = ""
    """Docker: where the daemon's host has `<state_dir>/ch`, if the agent itself runs in a container
    that mounts it; empty = under the same path."""
    warm: WarmConfig = field(default_factory=WarmConfig)
    caps: Caps = field(default_factory=Caps)
    provider_file: str = ""
    """TOML or dotenv file with variables and secrets for tasks; mode 0600."""
    env_prefix: str = "HEADWAY_TASK_"
    """Variables of the agent's environment with this prefix are for tasks that name them."""
    start_timeout: float = 20.0
    """Seconds from the start of a container until its code is loaded."""
    started_timeout: float = 2.0
    """Seconds from handing over a run until its container says `started`."""
    drain_timeout: float = 30.0
    """Seconds that running attempts get to end at a stop; then they are moved elsewhere."""
    orphan_after: float = 300.0
    """Seconds without engine and NATS after which everything is killed."""
    kill_after: float = 2.0
    """Seconds between SIGTERM and SIGKILL."""
    log_rate: int = 256 * 1024
    """Bytes of output a second that one attempt may send."""
    log_burst: int = 512 * 1024
    """Bytes of output at once."""
    rpc_timeout: float = 5.0
    """Seconds until a request to an engine is asked again."""
    metrics_listen: str = ""
    """HOST:PORT, or PORT on loopback, where Prometheus scrapes `/metrics`; empty = nowhere."""

    def __post_init__(self) -> None:
        """Checks what a type cannot; raises ValueError."""
        if self.metrics_listen:
            parse_listen(self.metrics_listen)

    @property
    def owner(self) -> str:
        """The label under which this agent's runners are found."""
        return f"{self.ns}.{self.name}"
