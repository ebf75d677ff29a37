"""The runtime port: how a runner's process is started, watched, stopped and removed.

A runtime starts *blank* runners: processes that dial their channel and know no run. Process life
(here) and talk (`headway_engine.agent.sockets`) are separate, so that each runtime can carry either
channel. `docker` and `process` sit beside this file; one conformance suite runs against both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[str], None]
"""Hears one line about what a slow step does."""


class RuntimeUnavailable(HeadwayError):
    """The runtime cannot start anything now: the daemon is away or the host is out of resources."""

    code = "runtime_unavailable"


class ImageMissing(HeadwayError):
    """The image is not on this host; nothing is pulled while a run waits."""

    code = "image_missing"


class CannotStart(HeadwayError):
    """The image exists but its command cannot be started (no such file, not executable)."""

    code = "cannot_start"

    def __init__(self, message: str, exit_code: int = 127) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class Limits(Struct, frozen=True):
    """What one runner may use. They belong to the container, so the pool's key contains them."""

    memory: int = 512 * 1024 * 1024
    """Bytes; swap is not on top of it."""
    cpus: float = 1.0
    pids: int = 64


class Grant(Struct, frozen=True):
    """What a runner needs to dial its channel: a directory to mount, or an address and a token."""

    directory: str = ""
    """Holds `s.sock`; mounted at /run/hw where the runner has its own file system."""
    address: str = ""
    """`host:port` of a TCP channel."""
    token: str = ""
    """Reaches the runner without showing in its settings."""
    certificate: str = ""
    """PEM that the runner pins; empty = no TLS."""
    network: str = ""
    """The policy that stands in for `none`, since a runner without any network cannot dial."""


class Way(Struct, frozen=True):
    """An address under which runners may reach an agent on this host over TCP."""

    bind: str
    """Where the agent listens."""
    dial: str
    """What runners connect to: a name or an address, without port."""
    network: str = ""
    """The policy that stands in for `none` (see Grant); empty = it needs none."""
    opens: bool = False
    """That network leads to the outside as well."""


class RunnerSpec(Struct, frozen=True):
    """One blank runner to start. It says nothing about a run and holds no secret but the token."""

    name: str
    """Unique on this host, at most 48 characters of `a-z 0-9 - _`; the channel's key too."""
    owner: str
    """The agent: `list` finds its runners by it."""
    grant: Grant
    key: str = ""
    """The pool key (a digest); given back by `list`."""
    image: str = ""
    """Image id; the process runtime ignores it."""
    limits: Limits = Limits()
    network: str = "none"
    source: str = ""
    """Development: a folder of this host that the runner may read."""
    command: tuple[str, ...] = ()
    """Instead of the runner, for tests and probes; after the interpreter's own options."""
    created_ms: int = 0


class Handle(Struct, frozen=True):
    """A runner that was started, as its runtime knows it."""

    id: str
    name: str
    owner: str
    key: str = ""
    directory: str = ""
    image: str = ""
    protocol: int = 0
    created_ms: int = 0
    source: str = ""


class State(Struct, frozen=True):
    """What the runtime knows of a runner now. `exit_code` None while it runs, or if it is lost."""

    running: bool
    exit_code: int | None = None
    """As a shell gives it: 128 + signal when it was killed."""
    signal: int | None = None
    oom: bool = False
    """Some process of it was killed for memory; alone it proves nothing."""
    known: bool = True
    """False: the runtime has never heard of it, or its record is gone."""
    error: str = ""


class Exited(Struct, frozen=True):
    """A runner's process ended. The cause is in `inspect`."""

    name: str
    exit_code: int | None


class Oom(Struct, frozen=True):
    """A process of a runner was killed for memory."""

    name: str


class Lost(Struct, frozen=True):
    """The stream of events broke: events may be missing, look at each runner again."""

    why: str


RuntimeEvent = Exited | Oom | Lost


class Caps(Struct, frozen=True):
    """What a runtime can do; the conformance suite asks for no more than this."""

    name: str
    isolation: Literal["container", "process"]
    adoptable: bool
    """Runners outlive the agent's process and can be found again."""
    exit_code_after_adoption: bool
    oom_signal: Literal["exact", "guess", "none"]
    pids_limit: bool
    networks: bool
    """Network policies are enforced."""
    source_at: str = ""
    """Where a development folder appears to the runner; empty = under its own path."""


class Runtime(Protocol):
    """How an agent starts and ends runners. All methods may be called from one event loop only."""

    caps: Caps

    async def check(self) -> str:
        """Empty if runners can be started now, else the reason in one line."""
        ...

    async def reach(self, folder: Path) -> str:
        """Empty if runners reach unix sockets in this folder of ours, else why not."""
        ...

    async def ways(self, address: str) -> list[Way]:
        """Where runners may reach a TCP port of ours, likeliest first.

        Only `address` if the user gave one. Raises RuntimeUnavailable.
        """
        ...

    async def reach_tcp(self, way: Way, port: int) -> str:
        """Empty if runners reach a port of ours in this way (0 = any port), else why not."""
        ...

    async def ensure_image(self, image: str) -> str:
        """The id of an image of this host; raises ImageMissing. Never pulls."""
        ...

    async def images(self) -> tuple[str, ...]:
        """Ids of the images that may be used here, at most a few hundred."""
        ...

    async def spawn(self, spec: RunnerSpec) -> Handle:
        """Start a blank runner; returns when its process was started.

        Raises ImageMissing, CannotStart, RuntimeUnavailable; then nothing of it is left behind.
        A crash in the middle leaves at most a labelled runner that `list` finds.
        """
        ...

    async def list_all(self, owner: str) -> list[Handle]:
        """All runners of the owner, running or ended, that were not removed."""
        ...

    async def signal(self, handle: Handle, number: int) -> bool:
        """Send a signal to the whole runner; False if it has ended already."""
        ...

    async def inspect(self, handle: Handle) -> State:
        """What is known of it now; never raises for an unknown one (`known` is False)."""
        ...

    async def remove(self, handle: Handle) -> None:
        """Kill it if it runs and forget it. Safe to repeat."""
        ...

    async def tail(self, handle: Handle, size: int = 4096) -> str:
        """The last bytes that it wrote outside the channel: faulthandler's text, mostly."""
        ...

    def events(self, owner: str) -> AsyncIterator[RuntimeEvent]:
        """What happens to the owner's runners from now on. `Lost` = look at all of them again."""
        ...

    async def close(self) -> None:
        """Let go of connections and threads; runners go on."""
        ...
