"""The agent's own certificate for the TCP channel: made once, kept beside the journal.

Runners trust exactly this one and no authority, so it is signed by itself and its names mean
nothing. It must outlive an agent's restart: a runner that lives pins the certificate it was given.
"""

from __future__ import annotations

import datetime
import os
import ssl
from typing import TYPE_CHECKING

from headway.errors import HeadwayError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "channel.pem"
YEARS = 20


class NoCertificate(HeadwayError):
    """The certificate of the TCP channel cannot be made or read."""

    code = "no_certificate"


class Certificate:
    """Key and certificate in one file of the state folder."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises NoCertificate if it is damaged."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self.context.load_cert_chain(path)
            text = path.read_text("ascii")
        except (OSError, ValueError) as e:
            raise NoCertificate(
                f"{path}: {e}; remove the file, a new one is made at the next start"
            ) from e
        self.pem = text[text.index("-----BEGIN CERTIFICATE-----") :]
        """The certificate alone, for runners to pin."""


def own_certificate(state: Path) -> Certificate:
    """That of this agent, made at its first use; raises NoCertificate.

    A crash in the middle leaves at most a file of another name.
    """
    path = state / FILE
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as f:
            f.write(_make())
        new.replace(path)
    return Certificate(path)


def _make() -> bytes:
    try:
        # Only agents without unix sockets pay for this import.
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as e:
        raise NoCertificate(
            'TLS on the TCP channel needs the package cryptography: install "headway[engine]" again'
        ) from e
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "headway agent")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of virtual machines go wrong after a sleep: a day of grace.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + made.public_bytes(serialization.Encoding.PEM)
