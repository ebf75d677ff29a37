"""An upload by a signed URL: over TLS with the system's trust, its failures without secrets."""

from __future__ import annotations

import http.server
import ssl
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from headway.direct import AGAIN_AFTER, Direct, UploadFailed, put_signed
from headway.wire import BLOB_PART, BlobRef
from headway.wire.blobs import SignedPut

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SECRET = "X-Amz-Signature=5ecre7"
REF = BlobRef("ns/run/aa", 3, "aa")


class _Server(http.server.ThreadingHTTPServer):
    """Silent about refused handshakes."""

    def handle_error(self, request: object, client_address: object) -> None:
        """They are the client's."""


class _Store(http.server.BaseHTTPRequestHandler):
    """Takes every PUT."""

    def do_PUT(self) -> None:
        """Keep it."""
        taken.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


taken: list[tuple[str, bytes]] = []


@pytest.fixture
def store(tmp_path: Path) -> Generator[tuple[str, str]]:
    """(https URL, path of the certificate) of a server with a certificate of its own making."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-days", "2", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server = _Server(("127.0.0.1", 0), _Store)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    taken.clear()
    yield f"https://localhost:{server.server_port}/bucket/key?{SECRET}", str(cert)
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_body_goes_to_a_server_that_the_system_trusts(
    store: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, cert = store
    monkeypatch.setenv("SSL_CERT_FILE", cert)
    put_signed(url, {}, [b"ab", b"c"])
    assert taken == [(f"/bucket/key?{SECRET}", b"abc")]


def test_a_certificate_that_nobody_vouches_for_is_refused(store: tuple[str, str]) -> None:
    with pytest.raises(UploadFailed, match="SSLCertVerificationError") as caught:
        put_signed(store[0], {}, [b"abc"])
    assert taken == []
    assert "5ecre7" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/k?", "http://[bad/k?", "no url at all"])
def test_an_url_that_leads_nowhere_fails_without_its_secret(url: str) -> None:
    with pytest.raises(UploadFailed) as caught:
        put_signed(url + SECRET, {}, [b"abc"])
    assert "5ecre7" not in str(caught.value)


async def test_a_way_that_does_not_work_is_left_alone_for_a_while() -> None:
    now = 0.0
    direct = Direct(lambda: now)
    asked: list[str] = []

    async def sign(url: str = f"http://127.0.0.1:1/k?{SECRET}") -> SignedPut:
        asked.append(url)
        return SignedPut(url)

    async def nothing() -> SignedPut:
        return await sign("")

    async def check() -> BlobRef | None:
        return REF

    big = BLOB_PART + 1
    for way in (sign, nothing):
        assert direct.worth(big)
        assert await direct.put([b"abc"], way, check) is None
        assert not direct.worth(big)
        now += AGAIN_AFTER
    assert direct.worth(big)
    assert not direct.worth(BLOB_PART)
    assert (len(asked), direct.sent) == (2, 0)
