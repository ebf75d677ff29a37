"""An S3 in memory that fails as it is told: refuses, is slow, lies, cuts bodies short."""

from __future__ import annotations

import asyncio
from collections import Counter
from hashlib import md5
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

from aiohttp import web

if TYPE_CHECKING:
    from types import TracebackType

    Answer = web.StreamResponse


class FakeS3:
    """`async with FakeS3() as s3`: `s3.endpoint`; `s3.faults["GET"] = "corrupt"`.

    Faults by method: `500`, `slow` (`pause` seconds), `corrupt` (another byte), `truncate` (the
    connection breaks in the middle of the body), `short` (a whole answer with half of the body).
    Parts of an upload that is not complete yet are spared.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.faults: dict[str, str] = {}
        self.times: dict[str, int] = {}
        """How often a method's fault still happens; without an entry always."""
        self.pause = 0.5
        self.failed: Counter[str] = Counter()
        """Requests that met a fault, by method."""
        self.endpoint = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{bucket}", self._bucket)
        app.router.add_route("*", "/{bucket}/{key:.*}", self._object)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.endpoint = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def heal(self) -> None:
        """No faults."""
        self.faults.clear()
        self.times.clear()

    def _fault(self, method: str) -> str:
        fault = self.faults.get(method, "")
        if fault and method in self.times:
            if self.times[method] <= 0:
                return ""
            self.times[method] -= 1
        if fault:
            self.failed[method] += 1
        return fault

    async def _bucket(self, request: web.Request) -> Answer:
        if request.method == "GET":
            rows = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in self.objects)
            text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
            return web.Response(text=text, content_type="application/xml")
        return web.Response()

    async def _object(self, request: web.Request) -> Answer:
        key = unquote(request.match_info["key"])
        fault = self._fault(request.method) if "/parts/" not in key else ""
        if fault == "500":
            return web.Response(status=500, text="<Error><Code>InternalError</Code></Error>")
        if fault == "slow":
            await asyncio.sleep(self.pause)
        if request.method == "PUT":
            self.objects[key] = await request.read()
            return web.Response(headers={"ETag": f'"{md5(self.objects[key]).hexdigest()}"'})
        if request.method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if key not in self.objects:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        body, status = self.objects[key], 200
        if wanted := request.headers.get("Range", ""):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if int(first) >= len(body):
                return web.Response(status=416, text="<Error><Code>InvalidRange</Code></Error>")
            body, status = body[int(first) : int(last) + 1 if last else None], 206
        if request.method == "HEAD":
            return web.Response(headers={"Content-Length": str(len(body))})
        if fault == "corrupt":
            body = bytes([body[0] ^ 1]) + body[1:]
        elif fault == "short":
            body = body[: len(body) // 2]
        elif fault == "truncate":
            answer = web.StreamResponse(status=status, headers={"Content-Length": str(len(body))})
            await answer.prepare(request)
            await answer.write(body[: len(body) // 2])
            assert request.transport is not None
            request.transport.abort()
            return answer
        return web.Response(body=body, status=status)
