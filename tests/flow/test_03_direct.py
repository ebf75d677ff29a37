"""Large bodies straight to S3, by URLs that the engine signs: whole, checked, and never a must."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from headway.direct import UploadFailed, put_signed
from headway.errors import Refused
from headway.ids import new_run_id
from headway.wire.blobs import BlobPut, BlobUrl, SignedPut
from headway_engine.blobs import blob_key
from headway_engine.blobs.s3 import S3Blobs
from headway_engine.blobs.uploads import Uploads
from headway_engine.config import BlobsConfig
from support import body_tasks as t
from support.engines import calling, config_for, running_engine
from support.live import live
from support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from support.servers import S3Server

import pytest_asyncio

KIB = 1024


def blobs_of(s3: S3Server, **more: str | bool) -> BlobsConfig:
    """The blobs of one test in the shared S3."""
    return BlobsConfig(
        "s3",
        "test-blobs",
        endpoint=s3.endpoint,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        prefix=f"{secrets.token_hex(4)}/",
        **more,  # pyright: ignore[reportArgumentType]  # of the type that each has
    )


@pytest_asyncio.fixture
async def blobs(s3: S3Server) -> AsyncGenerator[S3Blobs]:
    """S3 as the engine uses it."""
    made = S3Blobs(
        "test-blobs",
        endpoint=s3.endpoint,
        access_key=s3.access_key,
        secret_key=s3.secret_key,
        prefix=f"{secrets.token_hex(4)}/",
    )
    await made.open()
    yield made
    await made.close()


async def test_payloads_and_states_go_straight_to_s3(
    nats: str, database: str, s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="headway")
    async with live(nats, database, blobs=blobs_of(s3)) as stack:
        assert await stack.result(t.b_size, "p" * (3000 * KIB)) == 3000 * KIB
        assert stack.client.direct.sent == 1
        assert await stack.result(t.b_grows, str(tmp_path), 5000 * KIB) == [1, 1, 1, 5000 * KIB]
        assert await stack.result(t.b_result, 3000 * KIB) == "r" * (3000 * KIB)
        assert stack.agent.carrier.direct.sent == 2  # a state and a result
        # One part is one request: nothing is gained by asking for a URL.
        assert await stack.result(t.b_size, "p" * (200 * KIB)) == 200 * KIB
        assert stack.client.direct.sent == 1
    assert "X-Amz-Signature" not in caplog.text


async def test_who_cannot_reach_the_endpoint_sends_through_the_engine(
    nats: str, database: str, s3: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Proxy(s3.port) as proxy:
        proxy.refusing = True
        public = f"http://127.0.0.1:{proxy.port}"
        config = blobs_of(s3, public_endpoint=public)
        async with live(nats, database, blobs=config) as stack:
            for size in (3000 * KIB, 2000 * KIB):
                assert await stack.result(t.b_size, "p" * size) == size
            asked = proxy.connections
            assert await stack.result(t.b_grows, str(tmp_path), 3000 * KIB) == [
                1, 1, 1, 3000 * KIB
            ]  # fmt: skip
            assert (stack.client.direct.sent, stack.agent.carrier.direct.sent) == (0, 0)
            # Found out once by each, not for each body.
            assert (asked, proxy.connections) == (1, 2)
    assert public in caplog.text
    assert "X-Amz-Signature" not in caplog.text


async def test_the_public_endpoint_is_the_one_that_is_used(
    nats: str, database: str, s3: S3Server
) -> None:
    async with Proxy(s3.port) as proxy:
        config = blobs_of(s3, public_endpoint=f"http://127.0.0.1:{proxy.port}")
        async with live(nats, database, blobs=config) as stack:
            assert await stack.result(t.b_size, "p" * (2000 * KIB)) == 2000 * KIB
            assert (stack.client.direct.sent, proxy.connections) == (1, 1)


@pytest.mark.parametrize("kind", ["objects", "off"])
async def test_without_s3_or_when_turned_off_parts_are_sent(
    nats: str, database: str, s3: S3Server, kind: str
) -> None:
    config = BlobsConfig("objects") if kind == "objects" else blobs_of(s3, direct=False)
    async with live(nats, database, blobs=config) as stack:
        assert await stack.result(t.b_size, "p" * (2000 * KIB)) == 2000 * KIB
        assert stack.client.direct.sent == 0


async def test_a_url_takes_nothing_but_its_body(blobs: S3Blobs) -> None:
    uploads, run, body = Uploads(blobs), new_run_id(), secrets.token_bytes(600_000)
    digest = sha256(body).hexdigest()
    url, headers = await uploads.url("ns", run, len(body), digest, limit=10**6)
    other = secrets.token_bytes(len(body))
    with pytest.raises(Refused, match="nothing was put there"):
        await uploads.done("ns", run, len(body), digest)
    for bad, with_headers, to in (
        (other, headers, url),  # another body
        (body[:-1], headers, url),  # a shorter one
        (body, {}, url),  # without its checksum
        (body, headers, url.replace(digest, "0" * 64)),  # another key
    ):
        with pytest.raises(UploadFailed, match=r"answered 40[03]") as caught:
            put_signed(to, with_headers, [bad])
        assert "Signature" not in str(caught.value)
        assert await blobs.size(blob_key("ns", run, digest)) is None
    put_signed(url, headers, [body[:7], body[7:]])
    ref = await uploads.done("ns", run, len(body), digest)
    assert (ref.key, ref.size, ref.sha256) == (blob_key("ns", run, digest), len(body), digest)
    assert await blobs.get(ref.key) == body


async def test_what_lies_there_is_checked_before_a_row_may_name_it(blobs: S3Blobs) -> None:
    uploads, run, body = Uploads(blobs), new_run_id(), b"the body"
    digest = sha256(body).hexdigest()
    # As a store that checks nothing would leave it.
    await blobs.put(blob_key("ns", run, digest), b"an other")
    with pytest.raises(Refused, match="another sha256"):
        await uploads.done("ns", run, len(body), digest)
    assert await blobs.size(blob_key("ns", run, digest)) is None
    with pytest.raises(Refused, match="at most 7"):
        await uploads.url("ns", run, 8, digest, limit=7)
    with pytest.raises(Refused, match="64 hex digits"):
        await uploads.url("ns", run, 8, "../x", limit=9)


async def test_a_payload_that_vanished_or_was_not_uploaded_is_sent_in_parts(
    nats: str, database: str, s3: S3Server
) -> None:
    async with live(nats, database, blobs=blobs_of(s3)) as stack:
        direct = stack.client.direct
        body = b"p" * (600 * KIB)
        ask = BlobUrl(new_run_id(), len(body), sha256(body).hexdigest())
        signed = await stack.client.api("blob-url", ask, SignedPut)
        assert signed.url.startswith(s3.endpoint)
        with pytest.raises(Refused) as caught:
            await stack.client.api("blob-done", ask, object)
        assert caught.value.code == "gap"
        assert direct.worth(len(body))
        assert not direct.worth(len(body[: 512 * KIB]))
        part = BlobPut(ask.run, "u", 0, last=True, data=b"x")
        await stack.client.api("blob-put", part, object)


async def test_only_the_agent_of_the_attempt_gets_a_url(
    nats: str, database: str, s3: S3Server
) -> None:
    from msgspec.structs import replace

    from headway.wire import rpc
    from support.stacks import agent_on

    config = replace(config_for(nats, database), blobs=blobs_of(s3))
    async with running_engine(config), calling(nats) as caller, agent_on(nats) as agent:
        await caller.deploy()
        await agent.start()
        ask = rpc.UrlAsk(new_run_id(), 1, 8, "0" * 64)
        for verb, answers in (("blob_url", rpc.URL_ANSWER), ("blob_done", rpc.PUT_ANSWER)):
            assert (await agent.ask(verb, ask, answers)).outcome == "stale_epoch"
