"""An own CA and a server certificate for nats-server: for one installation that has no other.

The CA's key lies beside them, so that a further server or a new name can be added; keep it away
from the server where that matters. Raises HeadwayError where cryptography is missing.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING

from headway_ops.access.files import keep_secret, write_public

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

YEARS = 10
CA, CA_KEY, SERVER, SERVER_KEY = "ca.pem", "ca-key.pem", "server.pem", "server-key.pem"


def self_signed(folder: Path, hosts: Sequence[str]) -> tuple[Path, Path, Path]:
    """(certificate, key, CA) for these names and addresses, below the folder.

    An existing CA is kept, so clients keep trusting; the server's certificate is made anew. A crash
    in the middle leaves whole files: call it again.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    folder.mkdir(parents=True, exist_ok=True)
    ca_path, ca_key_path = folder / CA, folder / CA_KEY
    if ca_path.exists() and ca_key_path.exists():
        ca = x509.load_pem_x509_certificate(ca_path.read_bytes())
        ca_key = serialization.load_pem_private_key(ca_key_path.read_bytes(), None)
    else:
        ca_key = _key()
        ca = _certificate("headway nats ca", ca_key, None, None, ())
        keep_secret(ca_key_path, _pem(ca_key))
        write_public(ca_path, ca.public_bytes(serialization.Encoding.PEM))
    key = _key()
    made = _certificate(hosts[0], key, ca, ca_key, hosts)
    keep_secret(folder / SERVER_KEY, _pem(key))
    write_public(folder / SERVER, made.public_bytes(serialization.Encoding.PEM))
    return folder / SERVER, folder / SERVER_KEY, ca_path


def _key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    name: str,
    key: EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: object,
    hosts: Sequence[str],
) -> x509.Certificate:
    """Signed by the issuer, or a CA that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64])])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # Clocks of virtual machines go wrong after a sleep: a day of grace.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS))
        .add_extension(
            x509.BasicConstraints(ca=issuer is None, path_length=0 if issuer is None else None),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_usage(ca=issuer is None), critical=True)
    )
    signer = issuer_key if isinstance(issuer_key, EllipticCurvePrivateKey) else key
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = builder.add_extension(authority, critical=False)
    if hosts:
        names = x509.SubjectAlternativeName([_name(host) for host in hosts])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=ca, crl_sign=ca,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(host: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
