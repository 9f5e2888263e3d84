"""Certificates of one's own, for a lab that has no authority to ask."""

import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any

from dither._errors import RequestError


def make_certificates(hosts: list[str], folder: Path, days: int = 825) -> None:
    """Write an authority `ca`, a `server` for these hosts and a `client`, each NAME.pem, NAME.key.

    The authority's own key is used once and not kept, so that nobody can add to it.

    Arguments: the names or addresses under which trainers reach the server; a folder without
    them; how long they are good. Errors: `RequestError` where the folder holds some already, or
    the package `cryptography` is missing.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError:
        raise RequestError(
            "Making certificates needs the package cryptography; install dither[remote]."
        ) from None
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    if not hosts or any((folder / name).exists() for name in names):
        raise RequestError(
            f"Give the server's names, and a folder without certificates in place of {folder}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def draft(subject: str, key: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("dither lab"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(subject == "dither lab", None), critical=True)
        )

    authority = ec.generate_private_key(ec.SECP256R1())
    from cryptography.hazmat.primitives import hashes

    signed = draft("dither lab", authority).sign(authority, hashes.SHA256())
    _write(folder / "ca.pem", _pem(signed))
    for name, use in (
        ("server", ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = draft(hosts[0] if name == "server" else "trainer", key).add_extension(
            x509.ExtendedKeyUsage([use]), critical=False
        )
        if name == "server":
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False
            )
        _write(folder / f"{name}.pem", _pem(builder.sign(authority, hashes.SHA256())))
        _write(folder / f"{name}.key", _key(key))


def _alternative(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return bytes(certificate.public_bytes(Encoding.PEM))


def _key(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _write(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
