"""NATS in operator mode, as `nsc` sets it up: operator, account and user JWTs, made here."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from headway.nkeys import Key

if TYPE_CHECKING:
    from pathlib import Path


def token(issuer: Key, subject: str, name: str, nats: dict[str, Any], **more: int) -> str:
    """A signed claim, version 2."""
    claims: dict[str, Any] = {
        "iss": issuer.public, "sub": subject, "name": name, "iat": 1, **more,
        "nats": {**nats, "version": 2},
    }  # fmt: skip
    claims["jti"] = base64.b32encode(sha256(json.dumps(claims).encode()).digest()).decode()
    parts = [json.dumps(p).encode() for p in ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)]
    text = b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in parts)
    return (text + b"." + base64.urlsafe_b64encode(issuer.sign(text)).rstrip(b"=")).decode()


class Operator:
    """One operator with one account, which signs users by a signing key."""

    def __init__(self) -> None:
        self._key, self._account = Key.new("operator"), Key.new("account")
        self._system, self._signing = Key.new("account"), Key.new("account")

    def config(self) -> str:
        """For nats-server."""
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                  "wildcards": True, "conn": -1, "leaf": -1}  # fmt: skip
        streams = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        account = {"type": "account", "limits": limits | streams,
                   "signing_keys": [self._signing.public]}  # fmt: skip
        system = {"type": "account", "limits": limits}
        made = {
            self._account.public: token(self._key, self._account.public, "HW", account),
            self._system.public: token(self._key, self._system.public, "SYS", system),
        }
        preload = "\n".join(f"{public}: {jwt}" for public, jwt in made.items())
        own = token(self._key, self._key.public, "op", {"type": "operator"})
        return (
            f"operator: {own}\nsystem_account: {self._system.public}\nresolver: MEMORY\n"
            f"resolver_preload: {{\n{preload}\n}}"
        )

    def user(self, path: Path, publish: list[str], subscribe: list[str], **more: int) -> Path:
        """A credentials file; `exp=...`: seconds since 1970 at which the server ends it."""
        key = Key.new("user")
        rights = {"pub": {"allow": publish}, "sub": {"allow": subscribe}, "type": "user",
                  "subs": -1, "data": -1, "payload": -1,
                  "issuer_account": self._account.public}  # fmt: skip
        jwt = token(self._signing, key.public, path.stem, rights, **more)
        path.write_text(
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{key.seed}\n------END USER NKEY SEED------\n"
        )
        return path
