"""The console in a browser: `headway tui --serve`, spoken to as a browser does."""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import psutil
import pytest
from PIL import Image

from support.chromium import chromium, opened
from support.wait import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


class Served:
    """A running `headway tui --serve`."""

    def __init__(self, process: Process, address: str, log: Path) -> None:
        self.process, self.address, self._log = process, address, log
        self.origin = "/".join(address.split("/")[:3])
        self.token = address.split("/")[3]
        self.killed = False

    def consoles(self) -> list[psutil.Process]:
        """Its console processes."""
        return psutil.Process(self.process.pid).children()

    def said(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text()


@asynccontextmanager
async def serving(folder: Path, *options: str) -> AsyncGenerator[Served]:
    """Served to browsers; nothing of it is left behind."""
    log = folder / "serve.log"
    with log.open("w") as err:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headway_ops", "tui", "--serve", *options,
            stdout=asyncio.subprocess.PIPE, stderr=err, cwd=folder,
        )  # fmt: skip
        assert process.stdout is not None
        served = Served(process, (await process.stdout.readline()).decode().strip(), log)
        try:
            assert served.address.startswith("http://127.0.0.1:"), served.said()
            yield served
            if not served.killed:
                consoles = served.consoles()
                process.terminate()
                assert await process.wait() == 0, served.said()
                assert not any(c.is_running() for c in consoles)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Browser:
    """A websocket as the page opens it; what the console painted so far."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket, self.painted = socket, ""

    async def sees(self, text: str) -> None:
        """Read on until the console has painted it; then forget what was painted."""
        while text not in self.painted:
            message = await self.socket.receive(timeout=60)
            assert message.type is aiohttp.WSMsgType.BINARY, (message, self.painted[-2000:])
            self.painted += message.data.decode("utf-8", "replace")
        self.painted = ""

    async def ends(self) -> None:
        """Read on until the server closes the socket."""
        while not self.socket.closed:
            await self.socket.receive(timeout=60)

    async def types(self, keys: str) -> None:
        """As a terminal would send them."""
        await self.socket.send_json(["stdin", keys])


@asynccontextmanager
async def browser(served: Served, size: str = "width=100&height=30") -> AsyncGenerator[Browser]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{served.address}ws?{size}", origin=served.origin) as socket,
    ):
        yield Browser(socket)


async def test_each_browser_has_a_console_of_its_own_that_ends_when_it_leaves(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, "--readonly") as served:
        async with browser(served) as one, browser(served, "width=80&height=24") as other:
            await one.sees("headway")
            await other.sees("headway")
            assert len(served.consoles()) == 2
            assert all("--readonly" in c.cmdline() for c in served.consoles())
            await one.types("?")
            await one.sees("esc closes")
            await one.socket.send_json(["resize", {"width": 60, "height": 10**9}])
            await one.types("\x11")  # ctrl+q
            await one.ends()
            await until(lambda: len(served.consoles()) == 1, what="the end of one")
            await other.types("?")
            await other.sees("esc closes")
        await until(lambda: not served.consoles(), what="the end of both")
        # One that is killed is no reason to leave the browser waiting.
        async with browser(served) as third:
            await third.sees("headway")
            served.consoles()[0].kill()
            await third.ends()
        async with browser(served) as fourth:
            await fourth.sees("headway")
            await fourth.socket.send_str('{"no": "message"}')
            await fourth.ends()
            await until(lambda: not served.consoles(), what="the end of the fourth")
        assert served.token not in served.said()


async def test_a_server_that_is_killed_leaves_no_console_behind(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, browser(served) as one:
        await one.sees("headway")
        consoles = served.consoles()
        assert len(consoles) == 1
        served.process.kill()
        await until(lambda: not any(c.is_running() for c in consoles), what="its end")
        served.killed = True


async def test_nobody_else_comes_in(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, aiohttp.ClientSession() as session:
        async with session.get(served.address) as page:
            assert page.status == 200
            assert "textual-terminal" in await page.text()
            assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
            assert page.headers["referrer-policy"] == "no-referrer"
        async with session.get(served.address.rstrip("/")) as page:
            assert page.status == 200
        async with session.get(f"{served.address}static/js/textual.js") as script:
            assert script.status == 200
        for path, status in (
            ("/", 404),
            ("/static/js/textual.js", 404),
            ("/ws", 403),
            ("/x/", 404),
        ):
            async with session.get(f"{served.origin}{path}") as refused:
                assert refused.status in {status, 404}, path
        async with session.get(served.address, headers={"host": "evil.example"}) as refused:
            assert refused.status == 421
        for origin in (None, "http://evil.example"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{served.address}ws", origin=origin)
            assert caught.value.status == 403
        assert not served.consoles()
        assert served.token not in served.said()


@pytest.mark.nightly
@pytest.mark.skipif(chromium() is None, reason="there is no Chromium: apt-get install chromium")
async def test_a_real_browser_shows_it_takes_keys_and_resizes(tmp_path: Path) -> None:
    async with serving(tmp_path) as served, opened(served.address, 1200, 800) as tab:

        async def has(name: str) -> bool:
            return bool(await tab.js(f"document.body?.classList.contains('{name}')"))

        async def width() -> int:
            return int(await tab.js("document.querySelector('.xterm-screen').clientWidth"))

        async def seen() -> Seen:
            return Seen.of(await tab.picture())

        async def listed() -> bool:
            return (await seen()).colours > 5

        await until(lambda: has("-first-byte"), 60, what="the first paint")
        await until(listed, 60, what="the list in its colours")
        assert len(served.consoles()) == 1
        before = await seen()
        assert max(before.background) < 40  # dark, as its theme is

        async def helped() -> bool:
            return (await seen()).ink > before.ink + 10_000

        await tab.types("?")  # without a click
        await until(helped, what="the help")
        await tab.types("\x1b")
        wide = await width()
        await tab.size(700, 400)

        async def narrower() -> bool:
            return await width() < wide

        await until(narrower, what="a smaller terminal")
        await tab.types("q")  # Escape has closed the help, so this is the list's
        await until(lambda: has("-closed"), what="the end of the console")
        assert tab.errors == []
        await until(lambda: not served.consoles(), what="the end of its process")


class Seen(NamedTuple):
    """What a picture has."""

    background: tuple[int, int, int]
    ink: int
    """Pixels of other colours."""
    colours: int
    """With more than a hundred pixels each."""

    @classmethod
    def of(cls, png: bytes) -> Seen:
        """Of a PNG."""
        image = Image.open(io.BytesIO(png)).convert("RGB")
        counts = sorted(image.getcolors(image.width * image.height) or [], reverse=True)
        background: Any = counts[0][1]
        return cls(background, sum(n for n, _ in counts[1:]), sum(n > 100 for n, _ in counts))


async def test_where_it_may_not_listen_it_says_so(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "headway_ops", "tui", "--serve-at", "0.0.0.0:0",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 2
    assert out == b""
    assert b"seen from other machines" in err
    assert b"TLS in front" in err
