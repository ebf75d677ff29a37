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
from headway_engine.runtime.container import LABEL, SOURCE_AT, config_of
from headway_engine.runtime.networks import CHANNEL, EGRESS, Networks, is_missing
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

FOREVER = 10**8
"""Seconds without any event until the stream is opened anew."""
DESKTOP_HOST = "host.docker.internal"


class DockerRuntime:
    """Runners as containers of a Docker engine on this host.

    `base_image`: used where a version names no image (development). `path_map`: (inside, outside),
    when the agent itself runs in a container: its channel folder as the daemon sees it. `patience`:
    seconds for each answer of the daemon. Without `base_url`, DOCKER_HOST says where the engine is,
    else it is the default socket.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        base_image: str = "",
        path_map: tuple[str, str] | None = None,
        threads: int = 6,
        patience: int = 30,
    ) -> None:
        self.base_url = base_url or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self.base_image = base_image
        self._path_map, self._patience = path_map, patience
        self._pool = ThreadPoolExecutor(threads, "docker")
        self._client: Any = None
        self._connecting = threading.Lock()
        self._networks = Networks()
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
                    self.base_url, version="auto", timeout=self._patience, num_pools=8
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
            async with asyncio.timeout(5):
                await self._call(lambda c: c.ping())
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
                Way(here, address, network=EGRESS, opens=True),
            ]
        found: list[Way] = []
        try:
            gateway: str = await self._call(self._networks.gateway)
            info: dict[str, Any] = await self._call(lambda c: c.info())
        except (DockerException, OSError) as e:
            raise RuntimeUnavailable(str(e)[:300]) from e
        if gateway and can_bind(gateway):
            found.append(Way(gateway, gateway, network=CHANNEL))
        if "Docker Desktop" in str(info.get("OperatingSystem", "")):
            # Its virtual machine hands these connections to the host's loopback.
            found.append(Way("127.0.0.1", DESKTOP_HOST, network=EGRESS, opens=True))
        if own := own_address(self.base_url):
            found.append(Way(own, own, network=EGRESS, opens=True))
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
        try:
            return await self._call(lambda c: self._spawn(c, spec))
        except (DockerException, OSError) as e:
            text = str((isinstance(e, APIError) and e.explanation) or e)[:500]
            if isinstance(e, APIError) and e.status_code == 404 and not is_missing(e):
                image = spec.image or self.base_image
                raise ImageMissing(f"image {image[:80]!r} is not on this host: {text}") from e
            raise RuntimeUnavailable(text) from e

    def _spawn(self, client: Any, spec: RunnerSpec) -> Handle:
        image = spec.image or self.base_image
        try:
            ident = self._start(client, spec, image)
        except APIError as e:
            if not is_missing(e):
                raise
            self._networks.forget()
            ident = self._start(client, spec, image)
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

    def _start(self, client: Any, spec: RunnerSpec, image: str) -> str:
        """The id of a container that was started; whatever fails, nothing of it is left."""
        network = self._networks.of(client, spec.network, spec.grant.network)
        config = config_of(spec, image, network, self._outside(spec.grant.directory))
        made: dict[str, Any] = client.create_container_from_config(
            config, name=f"headway-{spec.name}"
        )
        ident = str(made["Id"])
        try:
            if spec.grant.address:
                self._start_with_token(client, ident, network, spec.grant)
            else:
                client.start(ident)
        except (DockerException, OSError) as e:
            with contextlib.suppress(DockerException, OSError):
                client.remove_container(ident, force=True, v=True)
            if isinstance(e, APIError) and e.status_code == 400:  # the command: 126 or 127
                raise CannotStart(str(e.explanation or e)[:500]) from e
            if isinstance(e, APIError) and is_missing(e):
                raise
            raise RuntimeUnavailable(str(e)[:500]) from e
        return ident

    def _outside(self, path: str) -> str:
        if self._path_map and path.startswith(self._path_map[0]):
            return self._path_map[1] + path[len(self._path_map[0]) :]
        return path

    def _start_with_token(self, client: Any, ident: str, network: str, grant: Grant) -> None:
        """Start it with the token as its standard input, which ends with it."""
        if grant.network == CHANNEL:
            self._networks.lead_to_agent(client, ident, network)
        stream = client.attach_socket(ident, params={"stdin": 1, "stream": 1})
        try:
            client.start(ident)
            # docker-py gives a reader over unix and TCP; what writes is the socket under it. One
            # that has ended already hears nothing: its end is told by an event.
            with contextlib.suppress(OSError):
                getattr(stream, "_sock", stream).sendall(grant.token.encode() + b"\n")
        finally:
            with contextlib.suppress(OSError):
                getattr(stream, "_sock", stream).close()
            stream.close()

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
        # the agent's sweep comes back to it.
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
            stream: Any = None
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
                if stream in self._streams:
                    self._streams.remove(stream)
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
