"""NKeys: who we are to a NATS server that knows public keys only.

A credentials file holds a seed (`SU...`), or a user's JWT and seed as `nsc` writes them. The server
sends a nonce and gets it back signed; the seed never leaves this process, and stands in no message.
Needs the package cryptography (`pip install "headway[auth]"`; `[engine]` and `[cli]` bring it).
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_SEED = 18 << 3
KINDS = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
"""What a key is for: the first letter of its text, O, A or U, comes from this byte."""

_JWT = re.compile(r"-----BEGIN NATS USER JWT-----\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED_TEXT = re.compile(r"(?:^|\s)(SU[A-Z2-7]{56})(?:\s|$)")


class BadCredentials(HeadwayError):
    """A credentials file that cannot be used: it holds no seed of a user."""

    code = "bad_config"


class Key:
    """A key pair: `public` may be shown to anyone, `seed` to nobody."""

    __slots__ = ("_private", "public", "seed")

    def __init__(self, seed: str) -> None:
        """From the text of a seed; raises ValueError, which does not repeat it."""
        kind, raw = _decode(seed)
        self.seed, self._private = seed, _private_key(raw)
        self.public = _encode(bytes([kind]) + self._private.public_key().public_bytes_raw())

    @classmethod
    def new(cls, kind: str) -> Key:
        """A fresh one; kind as in KINDS."""
        prefix = KINDS[kind]
        head = bytes([_SEED | prefix >> 5, (prefix & 31) << 3])
        return cls(_encode(head + secrets.token_bytes(32)))

    def sign(self, data: bytes) -> bytes:
        """The signature: 64 bytes."""
        return self._private.sign(data)


class Credentials(NamedTuple):
    """What a credentials file holds."""

    key: Key
    jwt: str
    """Empty: the server knows the public key itself."""

    def answer(self, nonce: str) -> bytes:
        """What a server wants to see for its nonce."""
        return base64.urlsafe_b64encode(self.key.sign(nonce.encode())).rstrip(b"=")


def read(path: str) -> Credentials:
    """Raises BadCredentials, which names the file and never shows what is in it."""
    try:
        text = Path(path).read_text("ascii")
    except OSError as e:
        raise BadCredentials(f"credentials {path}: {e.strerror or e}") from None
    except UnicodeDecodeError:
        text = ""
    seed = _SEED_TEXT.search(text)
    if seed is None:
        raise BadCredentials(
            f"credentials {path}: neither the seed of a user (SU...) nor a credentials file"
            " (user JWT and seed); `headway nats config` writes them"
        )
    jwt = _JWT.search(text)
    try:
        return Credentials(Key(seed[1]), jwt[1] if jwt else "")
    except ValueError as e:
        raise BadCredentials(f"credentials {path}: {e}") from None


def _encode(data: bytes) -> str:
    sum_ = binascii.crc_hqx(data, 0).to_bytes(2, "little")
    return base64.b32encode(data + sum_).rstrip(b"=").decode()


def _decode(seed: str) -> tuple[int, bytes]:
    """The kind's byte and the 32 bytes of a seed."""
    try:
        data = base64.b32decode(seed + "=" * (-len(seed) % 8))
    except binascii.Error:
        data = b""
    if len(data) != 36 or binascii.crc_hqx(data[:-2], 0) != int.from_bytes(data[-2:], "little"):
        raise ValueError("the seed is damaged")
    if data[0] & 0xF8 != _SEED:
        raise ValueError("that is no seed")
    return (data[0] & 7) << 5 | data[1] >> 3, data[2:-2]


def _private_key(raw: bytes) -> Ed25519PrivateKey:
    try:
        # Only those who have credentials pay for this import.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ModuleNotFoundError:
        raise BadCredentials(
            'credentials need the package cryptography: pip install "headway[auth]"'
        ) from None
    return Ed25519PrivateKey.from_private_bytes(raw)
