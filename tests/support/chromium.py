"""A real headless Chromium, driven over its own protocol: open, type, resize, take a picture."""

from __future__ import annotations

import asyncio
import base64
import shutil
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def chromium() -> str | None:
    """Where it is; None = there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Tab:
    """One open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._last = socket, 0
        self.errors: list[str] = []
        """What the page's console complained of."""

    async def ask(self, method: str, **params: Any) -> Any:
        """One command of the protocol, and its answer."""
        self._last += 1
        await self._socket.send_json({"id": self._last, "method": method, "params": params})
        while True:
            said = await self._socket.receive_json()
            if said.get("method") == "Log.entryAdded":
                self.errors.append(said["params"]["entry"]["text"])
            if said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(said["params"]["exceptionDetails"]))
            if said.get("id") == self._last:
                assert "error" not in said, said
                return said["result"]

    async def js(self, expression: str) -> Any:
        """The value of an expression in the page."""
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def types(self, text: str) -> None:
        """Keys of signs, Escape and Enter among them."""
        named = {"\x1b": ("Escape", 27), "\r": ("Enter", 13)}
        for sign in text:
            key, code = named.get(sign, (sign, ord(sign.upper())))
            down = {"text": sign} if sign not in named or sign == "\r" else {}
            both = {"key": key, "windowsVirtualKeyCode": code}
            await self.ask("Input.dispatchKeyEvent", type="keyDown", **both, **down)
            await self.ask("Input.dispatchKeyEvent", type="keyUp", **both)

    async def size(self, width: int, height: int) -> None:
        """The window's, in pixels."""
        await self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    async def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode((await self.ask("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def opened(address: str, width: int = 1200, height: int = 800) -> AsyncGenerator[Tab]:
    """A browser of its own that shows this address."""
    program = chromium()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="hw-chromium-", ignore_cleanup_errors=True) as home:
        process = await asyncio.create_subprocess_exec(
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--enable-unsafe-swiftshader", "--disable-dev-shm-usage", "--disable-extensions",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        try:
            port = ""
            async for line in process.stderr:
                if b"DevTools listening on ws://" in line:
                    port = line.split(b"://")[1].split(b"/")[0].decode()
                    break
            draining = asyncio.create_task(process.stderr.read())
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{port}/json") as answer:
                    tabs = await answer.json()
                page = next(t for t in tabs if t["type"] == "page")["webSocketDebuggerUrl"]
                async with session.ws_connect(page, max_msg_size=0) as socket:
                    tab = Tab(socket)
                    for part in ("Page", "Runtime", "Log"):
                        await tab.ask(f"{part}.enable")
                    await tab.size(width, height)
                    await tab.ask("Page.navigate", url=address)
                    yield tab
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()
        await draining
