"""Addresses, tokens and certificates."""

import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
import ssl
from pathlib import Path

from dither._errors import RequestError

TOKEN_VARIABLE = "DITHER_TOKEN"

VERSION = 1
"""The protocol version, which must be the same on both sides."""


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[IPv6]:PORT`, with or without `remote://`.

    Errors: `RequestError` for anything else.
    """
    host, colon, port = address.removeprefix("remote://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or "/" in host or not port.isdigit() or int(port) > 65535:
        raise RequestError(f"The address '{address}' is not of the form HOST:PORT.")
    return host, int(port)


def joined(host: str, port: int) -> str:
    """The address of a host and a port."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def loopback(host: str) -> str | None:
    """The host's numeric address if it is a loopback address, else None."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    numbers = sorted(str(entry[4][0]) for entry in found)
    return numbers[0] if all(ipaddress.ip_address(n).is_loopback for n in numbers) else None


def read_token(file: Path | None) -> str | None:
    """The token in a file, else in the environment variable DITHER_TOKEN, else None.

    Errors: `RequestError` for a file that cannot be read, or that others may read.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        token = file.read_text(encoding="utf-8-sig").strip()
        mode = file.stat().st_mode
    except (OSError, UnicodeDecodeError):
        raise RequestError(f"The token file {file} cannot be read.") from None
    if os.name == "posix" and mode & 0o077:
        raise RequestError(f"The token file {file} can be read by others; run chmod 600 on it.")
    if len(token) < 20 or not token.isascii() or not token.isprintable() or " " in token:
        raise RequestError(
            f"The token in {file} is not valid; give one line of at least 20 letters and digits."
        )
    return token


def token_of(file: Path) -> str:
    """The token in a file, which is made, readable only by its owner, if missing."""
    if not file.exists():
        try:
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                out.write(secrets.token_urlsafe(32) + "\n")
        except OSError as error:
            raise RequestError(
                f"The token file {file} cannot be written: {error.strerror}."
            ) from None
    token = read_token(file)
    assert token is not None
    return token


def same_token(one: str, other: str) -> bool:
    """Whether two tokens are equal, compared in constant time."""
    digests = (hashlib.sha256(token.encode()).digest() for token in (one, other))
    return hmac.compare_digest(*digests)


def server_tls(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> ssl.SSLContext | None:
    """TLS for the server; client certificates are required if their CA is given.

    Returns: None without a certificate. Errors: `RequestError` for invalid files.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise RequestError("TLS needs both --certificate and --key.")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.num_tickets = 0
    _load_pair(tls, certificate, key)
    if client_ca is not None:
        _load_roots(tls, client_ca)
        tls.verify_mode = ssl.CERT_REQUIRED
    return tls


def client_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS for the trainer, with the server's CA, by default the system's.

    Errors: `RequestError` for invalid files.
    """
    if (certificate is None) != (key is None):
        raise RequestError("A client's certificate needs both certificate and key.")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca is None:
        tls.load_default_certs()
    else:
        _load_roots(tls, ca)
    if certificate is not None and key is not None:
        _load_pair(tls, certificate, key)
    return tls


def _load_pair(tls: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load a certificate and its key, which must match."""
    for file in (certificate, key):
        _check_readable(file)
    try:
        tls.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError):
        raise RequestError(
            f"The certificate {certificate} and the key {key} are not a matching PEM pair "
            "without password."
        ) from None


def _load_roots(tls: ssl.SSLContext, ca: Path) -> None:
    _check_readable(ca)
    try:
        tls.load_verify_locations(ca)
    except ssl.SSLError:
        raise RequestError(f"The file {ca} holds no PEM certificate.") from None


def _check_readable(file: Path) -> None:
    try:
        file.read_bytes()
    except OSError:
        raise RequestError(f"The file {file} cannot be read.") from None
