"""The runtime on Docker: one hardened container per runner.

docker-py's low-level client in a few threads: the daemon is the cost, not the client. Nothing is
ever pulled, no user text is merged into the container's settings, nothing is removed by the daemon
itself (AutoRemove would delete the state that an end is classified from).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from headway.wire import PROTOCOL
from headway_engine.runtime import (
    CannotStart,
    Caps,
    Exited,
    Handle,
    ImageMissing,
    Lost,
    Oom,
    RunnerSpec,
    RuntimeEvent,
    RuntimeUnavailable,
    State,
    Way,
)
from headway_engine.runtime.reach import (
    bind_for,
    can_bind,
    elsewhere,
    own_address,
    reach,
    reach_tcp,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from headway_engine.runtime import Grant

LABEL = "headway."
FOREVER = 10**8
"""Seconds without any event until the stream is opened anew."""
CHANNEL = "channel"
"""The policy of a network that leads to the host itself and nowhere else."""
OWN_NETWORKS = {"egress": "headway-egress", CHANNEL: "headway-channel"}
DESKTOP_HOST = "host.docker.internal"
CHANNEL_AT = "/run/hw"
SOURCE_AT = "/app"


def config_of(spec: RunnerSpec, image: str, network: str, directory: str) -> dict[str, Any]:
    """The body of `POST /containers/create`: the hardening profile, and nothing from users.

    `network` is a mode or a network's id, `directory` the channel's folder as the daemon sees it.
    The token of a TCP channel is not in it, since `docker inspect` shows this: it comes on stdin.
    """
    tcp = bool(spec.grant.address)
    binds = [] if tcp else [f"{directory}:{CHANNEL_AT}"]
    if tcp:
        channel = [
            f"HEADWAY_CHANNEL=tcp:{spec.grant.address}",
            "HEADWAY_CHANNEL_TOKEN_FD=0",
            f"HEADWAY_CHANNEL_CERT={spec.grant.certificate}",
        ]
    else:
        channel = [f"HEADWAY_CHANNEL=unix:{CHANNEL_AT}/s.sock"]
    if spec.source:
        binds.append(f"{spec.source}:{SOURCE_AT}:ro")
    labels = {
        "owner": spec.owner,
        "name": spec.name,
        "key": spec.key,
        "directory": spec.grant.directory,
        "image": image,
        "protocol": str(PROTOCOL),
        "created": str(spec.created_ms),
        "source": spec.source,
    }
    return {
        "Image": image,
        "Cmd": ["python3", *(spec.command or ("-m", "headway.runner"))],
        "Env": [
            *channel,
            "PYTHONUNBUFFERED=1",
            "PYTHONDONTWRITEBYTECODE=1",
            "PYTHONFAULTHANDLER=1",
        ],
        "User": "1000:1000",
        "OpenStdin": tcp,
        "StdinOnce": tcp,
        "Labels": {LABEL + k: v for k, v in labels.items()},
        "HostConfig": {
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Init": True,
            "IpcMode": "private",
            "Memory": spec.limits.memory,
            "MemorySwap": spec.limits.memory,
            "NanoCpus": int(spec.limits.cpus * 1e9),
            "PidsLimit": spec.limits.pids,
            "OomScoreAdj": 500,
            "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}],
            "Tmpfs": {"/tmp": "rw,noexec,nosuid,size=64m"},
            "NetworkMode": network,
            "Binds": binds,
            "LogConfig": {
                "Type": "json-file",
                "Config": {"max-size": "64k", "max-file": "1"},
            },
        },
    }


class DockerRuntime:
    """Runners as containers of a Docker engine on this host.

    `base_image`: used where a version names no image (development). `path_map`: (inside, outside),
    when the agent itself runs in a container: its channel folder as the daemon sees it. Without
    `base_url`, DOCKER_HOST says where the engine is, else it is the default socket.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        base_image: str = "",
        path_map: tuple[str, str] | None = None,
        threads: int = 6,
    ) -> None:
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self.base_image = base_image
        self._path_map = path_map
        self._pool = ThreadPoolExecutor(threads, "docker")
        self._client: Any = None
        self._connecting = threading.Lock()
        self._networks: dict[str, str] = {}
        self._dead_ends: set[str] = set()
        self._making = threading.Lock()
        self._streams: list[Any] = []
        self._closed = False
        self.caps = Caps(
            name="docker",
            isolation="container",
            adoptable=True,
            exit_code_after_adoption=True,
            oom_signal="exact",
            pids_limit=True,
            networks=True,
            source_at=SOURCE_AT,
        )

    def _api(self) -> Any:
        with self._connecting:
            if self._client is None:
                # The version is asked once; one connection per thread.
                self._client = docker.APIClient(
                    self.base_url, version="auto", timeout=30, num_pools=8
                )
            return self._client

    async def _call(self, fn: Callable[[Any], Any]) -> Any:
        # docker-py's annotations say little: what is read from its answers is named at each use.
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._with_api, fn)

    def _with_api(self, fn: Callable[[Any], Any]) -> Any:
        return fn(self._api())

    async def check(self) -> str:
        """Empty if the daemon answers."""
        try:
            await asyncio.wait_for(self._call(lambda c: c.ping()), 5)
        except (DockerException, OSError, TimeoutError) as e:
            return f"no Docker engine answers on {self.base_url}: {e}"[:300]
        return ""

    async def reach(self, folder: Path) -> str:
        """By a probe container; without any image of ours yet, by what the engine says it is."""
        image = self.base_image or await self._an_image()
        if image:
            return await reach(self, folder, image)
        try:
            info: dict[str, Any] = await self._call(lambda c: c.info())
        except (DockerException, OSError) as e:
            return str(e)[:300]
        return elsewhere(self.base_url, str(info.get("OperatingSystem", "")))

    async def ways(self, address: str) -> list[Way]:
        """The gateway of a network of ours that leads nowhere else; else an open network."""
        if address:
            here = bind_for(address)
            return [
                Way(here, address, network=CHANNEL),
                Way(here, address, network="egress", opens=True),
            ]
        found: list[Way] = []
        try:
            gateway = await self._call(self._gateway)
            info: dict[str, Any] = await self._call(lambda c: c.info())
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        if gateway and can_bind(gateway):
            found.append(Way(gateway, gateway, network=CHANNEL))
        if "Docker Desktop" in str(info.get("OperatingSystem", "")):
            # Its virtual machine hands these connections to the host's loopback.
            found.append(Way("127.0.0.1", DESKTOP_HOST, network="egress", opens=True))
        if own := own_address(self.base_url):
            found.append(Way(own, own, network="egress", opens=True))
        return found

    async def reach_tcp(self, way: Way, port: int) -> str:
        """By a probe container; without any image of ours yet, nothing is known and all is well."""
        image = self.base_image or await self._an_image()
        return await reach_tcp(self, way, port, image) if image else ""

    async def _an_image(self) -> str:
        """The newest image that was made for tasks."""
        filters = {"label": ["headway.tree"]}
        try:
            rows: list[dict[str, Any]] = await self._call(lambda c: c.images(filters=filters))
        except (DockerException, OSError):
            return ""
        newest = max(rows, key=lambda r: int(r["Created"]), default=None)
        return "" if newest is None else str(newest["Id"])

    async def ensure_image(self, image: str) -> str:
        """The image's id; see the port."""
        name = image or self.base_image
        try:
            found: dict[str, Any] = await self._call(lambda c: c.inspect_image(name))
        except (ImageNotFound, NotFound):
            raise ImageMissing(
                f"image {name[:80]!r} is not on this host; build or load it first"
            ) from None
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        return str(found["Id"])

    async def images(self) -> tuple[str, ...]:
        """Ids of all images of the host."""
        try:
            rows: list[dict[str, Any]] = await self._call(lambda c: c.images())
        except (DockerException, OSError):
            return ()
        return tuple(str(r["Id"]) for r in rows[:300])

    async def spawn(self, spec: RunnerSpec) -> Handle:
        """Create and start the container; see the port."""
        return await self._call(lambda c: self._spawn(c, spec))

    def _spawn(self, client: Any, spec: RunnerSpec) -> Handle:
        image = spec.image or self.base_image
        ident = ""
        try:
            network = self._network(client, spec.network, spec.grant.network)
            config = config_of(spec, image, network, self._outside(spec.grant.directory))
            made: dict[str, Any] = client.create_container_from_config(
                config, name=f"headway-{spec.name}"
            )
            ident = str(made["Id"])
            if spec.grant.address:
                self._start_with_token(client, ident, network, spec.grant)
            else:
                client.start(ident)
        except APIError as e:
            text = str(e.explanation or e)[:500]
            if ident:
                with contextlib.suppress(DockerException, OSError):
                    client.remove_container(ident, force=True, v=True)
                if e.status_code == 400:  # the command: 126 or 127
                    raise CannotStart(text) from e
            elif e.status_code == 404:
                raise ImageMissing(f"image {image[:80]!r} is not on this host: {text}") from e
            raise RuntimeUnavailable(text) from e
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        return Handle(
            id=ident,
            name=spec.name,
            owner=spec.owner,
            key=spec.key,
            directory=spec.grant.directory,
            image=image,
            protocol=PROTOCOL,
            created_ms=spec.created_ms,
            source=spec.source,
        )

    def _outside(self, path: str) -> str:
        if self._path_map and path.startswith(self._path_map[0]):
            return self._path_map[1] + path[len(self._path_map[0]) :]
        return path

    def _start_with_token(self, client: Any, ident: str, network: str, grant: Grant) -> None:
        """Start it with the token as its standard input, which ends with it."""
        if grant.network == CHANNEL and network in self._dead_ends:
            # A named network that leads nowhere does not lead to us either.
            client.connect_container_to_network(ident, self._own_network(client, CHANNEL))
        stream = client.attach_socket(ident, params={"stdin": 1, "stream": 1})
        try:
            client.start(ident)
            # docker-py gives a reader over unix and TCP; what writes is the socket under it.
            getattr(stream, "_sock", stream).sendall(grant.token.encode() + b"\n")
        finally:
            with contextlib.suppress(OSError):
                getattr(stream, "_sock", stream).close()
            stream.close()

    def _network(self, client: Any, policy: str, instead: str = "") -> str:
        """A network's id: names are not unique in Docker, so each is looked up once.

        `instead`: the policy that stands in for `none`.
        """
        if policy in ("", "none"):
            if not instead:
                return "none"
            policy = instead
        if policy in OWN_NETWORKS:
            return self._own_network(client, policy)
        if found := self._networks.get(policy):
            return found
        match = _named(client, policy)
        if match is None:
            raise CannotStart(f"network {policy[:80]!r} does not exist on this host")
        self._networks[policy] = str(match["Id"])
        if match.get("Internal"):
            self._dead_ends.add(self._networks[policy])
        return self._networks[policy]

    def _own_network(self, client: Any, policy: str) -> str:
        """The id of a network that agents make and share."""
        with self._making:
            if found := self._networks.get(policy):
                return found
            match = _named(client, OWN_NETWORKS[policy])
            if match is None:
                match = client.create_network(
                    OWN_NETWORKS[policy],
                    driver="bridge",
                    internal=policy == CHANNEL,
                    options={"com.docker.network.bridge.enable_icc": "false"},
                    labels={LABEL + "network": policy},
                    check_duplicate=True,
                )
            self._networks[policy] = str(match["Id"])
            return self._networks[policy]

    def _gateway(self, client: Any) -> str:
        """The host's address in the network of the channel."""
        found: dict[str, Any] = client.inspect_network(self._own_network(client, CHANNEL))
        rows: list[dict[str, str]] = found.get("IPAM", {}).get("Config") or []
        return next((row["Gateway"].partition("/")[0] for row in rows if row.get("Gateway")), "")

    async def list_all(self, owner: str) -> list[Handle]:
        """By labels; see the port."""
        try:
            rows: list[dict[str, Any]] = await self._call(
                lambda c: c.containers(all=True, filters={"label": f"{LABEL}owner={owner}"})
            )
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        return [_handle_of(str(r["Id"]), r["Labels"]) for r in rows]

    async def signal(self, handle: Handle, number: int) -> bool:
        """Through the daemon; see the port."""
        try:
            await self._call(lambda c: c.kill(handle.id, signals.Signals(number).name))
        except (DockerException, OSError):
            return False
        return True

    async def inspect(self, handle: Handle) -> State:
        """From the daemon; see the port. Raises RuntimeUnavailable without one."""
        try:
            found: dict[str, Any] = await self._call(lambda c: c.inspect_container(handle.id))
        except NotFound:
            return State(running=False, known=False)
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        state: dict[str, Any] = found["State"]
        if state["Running"]:
            return State(running=True, oom=bool(state["OOMKilled"]))
        code = int(state["ExitCode"])
        return State(
            running=False,
            exit_code=code,
            signal=code - 128 if code > 128 else None,
            oom=bool(state["OOMKilled"]),
            error=str(state.get("Error") or ""),
        )

    async def remove(self, handle: Handle) -> None:
        """Force; see the port."""
        # Gone already, or another removal is under way: both are what we want. Without a daemon
        # the sweeper comes back to it.
        with contextlib.suppress(DockerException, OSError):
            await self._call(lambda c: c.remove_container(handle.id, force=True, v=True))

    async def tail(self, handle: Handle, size: int = 4096) -> str:
        """From the capped json-file log."""
        try:
            data: bytes = await self._call(
                lambda c: c.logs(handle.id, stdout=True, stderr=True, tail=100)
            )
        except (DockerException, OSError):
            return ""
        return data[-size:].decode("utf-8", "replace")

    async def events(self, owner: str) -> AsyncIterator[RuntimeEvent]:
        """One label-filtered stream, read by one thread; after a break `Lost`, then again."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        stop = threading.Event()

        def put(event: RuntimeEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(queue.put_nowait, event)

        thread = threading.Thread(
            target=self._read_events, args=(owner, put, stop), name="docker-events", daemon=True
        )
        thread.start()
        try:
            while True:
                yield await queue.get()
        finally:
            stop.set()
            self._cut_streams()

    def _read_events(
        self, owner: str, put: Callable[[RuntimeEvent], None], stop: threading.Event
    ) -> None:
        filters = {
            "type": "container",
            "event": ["die", "oom"],
            "label": f"{LABEL}owner={owner}",
        }
        while not (stop.is_set() or self._closed):
            client: Any = None
            try:
                client = docker.APIClient(self.base_url, version="auto", timeout=FOREVER)
                stream = client.events(filters=filters, decode=True)
                self._streams.append(stream)
                put(Lost("stream opened"))  # what happened before it is looked up
                for event in stream:
                    if parsed := _parse(event):
                        put(parsed)
                why = "stream ended"
            except Exception as e:
                why = str(e)[:200]
            finally:
                if client is not None:
                    client.close()
            if not stop.is_set():
                put(Lost(why))
                stop.wait(0.5)

    def _cut_streams(self) -> None:
        for stream in self._streams:
            with contextlib.suppress(Exception):
                stream.close()
        self._streams.clear()

    async def close(self) -> None:
        """Close connections and threads; the containers go on."""
        self._closed = True
        self._cut_streams()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()


def _named(client: Any, name: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = client.networks(names=[name])
    return next((r for r in rows if r["Name"] == name), None)


def _handle_of(ident: str, labels: dict[str, str]) -> Handle:
    def get(name: str) -> str:
        return labels.get(LABEL + name, "")

    return Handle(
        id=ident,
        name=get("name"),
        owner=get("owner"),
        key=get("key"),
        directory=get("directory"),
        image=get("image"),
        protocol=int(get("protocol") or 0),
        created_ms=int(get("created") or 0),
        source=get("source"),
    )


def _parse(event: dict[str, Any]) -> RuntimeEvent | None:
    attributes: dict[str, str] = event.get("Actor", {}).get("Attributes", {})
    name = attributes.get(LABEL + "name", "")
    if event.get("Action") == "oom":
        return Oom(name)
    if event.get("Action") == "die":
        return Exited(name, int(attributes.get("exitCode", "0")))
    return None
