"""Blobs on S3 or any S3-compatible store, by aioboto3."""

from __future__ import annotations

import base64
import contextlib
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import aioboto3
from aiohttp import ClientError as AiohttpError
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from headway_engine.blobs import BlobsDown, NoBlob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Sequence
    from datetime import datetime

_GONE = frozenset({"404", "NoSuchKey", "NotFound"})
BATCH = 1000
"""Keys in one request."""
URL_SECONDS = 600
"""How long a signed URL may be used."""
_PAST_END = frozenset({"416", "InvalidRange"})


class S3Blobs:
    """One bucket; an optional prefix lets several installations share it."""

    def __init__(
        self,
        bucket: str,
        *,
        endpoint: str = "",
        region: str = "us-east-1",
        access_key: str = "",
        secret_key: str = "",
        prefix: str = "",
        direct: bool = True,
        public_endpoint: str = "",
    ) -> None:
        """Empty keys: the usual chain of boto (environment, profile, instance role).

        `direct`: sign URLs for uploads by others; `public_endpoint`: under which they reach the
        store, if not under `endpoint`.
        """
        self._direct = direct
        self._bucket, self._prefix = bucket, prefix
        self._options: dict[str, Any] = {
            "region_name": region,
            "endpoint_url": endpoint or None,
            "aws_access_key_id": access_key or None,
            "aws_secret_access_key": secret_key or None,
            "config": BotoConfig(
                connect_timeout=5,
                read_timeout=30,
                retries={"max_attempts": 3, "mode": "standard"},
                s3={"addressing_style": "path" if endpoint else "auto"},
                # Newer boto adds trailing checksums that many compatible stores refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        }
        self._public: dict[str, Any] = {
            **self._options,
            "endpoint_url": public_endpoint or endpoint or None,
        }
        self._public["config"] = self._options["config"].merge(BotoConfig(signature_version="s3v4"))
        self._stack: AsyncExitStack | None = None
        self._client: Any = None
        self._signer: Any = None

    async def open(self) -> None:
        """Connect; make the bucket if it is not there and we may."""
        if self._stack is not None:
            return
        stack = AsyncExitStack()
        with _errors(self._bucket):
            self._client = await stack.enter_async_context(
                aioboto3.Session().client("s3", **self._options)
            )
            if self._direct:
                self._signer = await stack.enter_async_context(
                    aioboto3.Session().client("s3", **self._public)
                )
            self._stack = stack
            try:
                await self._client.head_bucket(Bucket=self._bucket)
            except ClientError as e:
                if _code(e) not in _GONE | {"NoSuchBucket"}:
                    raise
                await self._client.create_bucket(Bucket=self._bucket)

    async def close(self) -> None:
        """Close the connections."""
        stack, self._stack, self._client = self._stack, None, None
        self._signer = None
        if stack is not None:
            await stack.aclose()

    async def put(self, key: str, body: bytes) -> None:
        """One PUT: S3 answers when it is durable."""
        with _errors(key):
            await self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=body)

    async def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """GET, with a Range if a part is asked for."""
        options: dict[str, Any] = {}
        if length == 0:
            return b""
        if offset or length is not None:
            end = "" if length is None else str(offset + length - 1)
            options["Range"] = f"bytes={offset}-{end}"
        with _errors(key):
            try:
                answer = await self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, **options
                )
            except ClientError as e:
                if _code(e) in _PAST_END:
                    return b""
                raise
            async with answer["Body"] as stream:
                return await stream.read()

    async def size(self, key: str) -> int | None:
        """HEAD."""
        with contextlib.suppress(NoBlob), _errors(key):
            head = await self._client.head_object(Bucket=self._bucket, Key=self._prefix + key)
            return int(head["ContentLength"])
        return None

    async def upload_url(self, key: str, size: int, digest: str) -> tuple[str, dict[str, str]]:
        """Key, length and checksum are signed: S3 itself refuses any other body."""
        if self._signer is None:
            return "", {}
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        with _errors(key):
            url = await self._signer.generate_presigned_url(
                "put_object",
                Params={
                    "Bucket": self._bucket,
                    "Key": self._prefix + key,
                    "ContentLength": size,
                    "ChecksumSHA256": checksum,
                },
                ExpiresIn=URL_SECONDS,
            )
        return str(url), {"x-amz-checksum-sha256": checksum}

    async def digest(self, key: str) -> str | None:
        """As S3 has checked it; a store that keeps no checksums is read."""
        with contextlib.suppress(NoBlob), _errors(key):
            head = await self._client.head_object(
                Bucket=self._bucket, Key=self._prefix + key, ChecksumMode="ENABLED"
            )
            kept = str(head.get("ChecksumSHA256", ""))
            if kept and "-" not in kept:
                return base64.b64decode(kept).hex()
            return sha256(await self.get(key)).hexdigest()
        return None

    async def delete(self, *prefixes: str) -> int:
        """List and delete, a thousand at a time."""
        count = 0
        for prefix in prefixes:
            batch: list[str] = []
            async for key in self.keys(prefix):
                batch.append(key)
                if len(batch) == BATCH:
                    await self.remove(batch)
                    count, batch = count + len(batch), []
            await self.remove(batch)
            count += len(batch)
        return count

    async def remove(self, keys: Sequence[str]) -> None:
        """A thousand at a time, as S3 allows."""
        for i in range(0, len(keys), BATCH):
            objects = [{"Key": self._prefix + key} for key in keys[i : i + BATCH]]
            with _errors("delete"):
                await self._client.delete_objects(
                    Bucket=self._bucket, Delete={"Objects": objects, "Quiet": True}
                )

    async def keys(self, prefix: str, before: datetime | None = None) -> AsyncIterator[str]:
        """LIST, page by page."""
        token: str | None = None
        while True:
            options: dict[str, Any] = {"ContinuationToken": token} if token else {}
            with _errors(prefix):
                page = await self._client.list_objects_v2(
                    Bucket=self._bucket, Prefix=self._prefix + prefix, **options
                )
            for entry in page.get("Contents", ()):
                if before is not None and entry["LastModified"] >= before:
                    continue
                yield entry["Key"].removeprefix(self._prefix)
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                return


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _errors(key: str) -> Generator[None]:
    """S3's errors as ours; never with a URL or a key of ours in them."""
    try:
        yield
    except ClientError as e:
        if _code(e) in _GONE:
            raise NoBlob(key) from None
        raise BlobsDown(f"S3 refused: {_code(e)}") from None
    except (BotoCoreError, AiohttpError, OSError, TimeoutError) as e:  # a body may break off
        raise BlobsDown(f"S3 is not reachable: {type(e).__name__}") from None
