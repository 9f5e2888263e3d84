"""Self-made certificates, for a lab without a certificate authority."""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from dither._errors import RequestError

USES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
AUTHORITY = "dither lab"


def make_certificates(hosts: list[str], folder: Path, days: int = 825) -> None:
    """Write an authority `ca` and certificates `server` and `client`, each NAME.pem, NAME.key.

    The authority's private key is used once and not stored, so that no certificates can be added.

    Arguments: the names or addresses under which trainers reach the server; a folder without
    certificates; their validity. Errors: `RequestError` if the folder already holds certificates.
    """
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    if not hosts or any((folder / name).exists() for name in names):
        raise RequestError(
            f"The server has no names, or {folder} already holds certificates; give names "
            "and another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    authority = ec.generate_private_key(ec.SECP256R1())
    signed = _draft(AUTHORITY, authority, days).sign(authority, SHA256())
    _write(folder / "ca.pem", signed.public_bytes(Encoding.PEM))
    for name, use in USES.items():
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _draft(hosts[0] if name == "server" else "trainer", key, days)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        if name == "server":
            places = x509.SubjectAlternativeName([_place(host) for host in hosts])
            builder = builder.add_extension(places, critical=False)
        own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(folder / f"{name}.pem", builder.sign(authority, SHA256()).public_bytes(Encoding.PEM))
        _write(folder / f"{name}.key", own)


def _draft(subject: str, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(subject == AUTHORITY, None), critical=True)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _place(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(file: Path, content: bytes) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(content)
