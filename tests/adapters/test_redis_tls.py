"""Redis over TLS: the server is who the certificate says, or it is not spoken to."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from claude_mem.adapters.redis.cache import RedisCache
from claude_mem.adapters.redis.connection import Connection
from claude_mem.kernel.scope import local_scope
from redis_servers import RedisServer, redis_server

SCOPE = local_scope()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, private


@asynccontextmanager
async def behind_tls(server: RedisServer, cert: Path, key: Path) -> AsyncIterator[int]:
    """The port of a TLS end in front of the server: its own binary may be built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(copy(reader, outer), copy(inner, writer), return_exceptions=True)

    front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield front.sockets[0].getsockname()[1]
    finally:
        front.close()


async def test_a_server_of_a_known_authority_is_used_and_another_is_not(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "ours")
    other, _ = certificate(tmp_path, "others")
    with redis_server() as server:
        async with behind_tls(server, cert, key) as port:
            url = f"rediss://:{server.password}@127.0.0.1:{port}/0"
            known = Connection(url, ca_file=str(cert), patience_s=10)
            cache = RedisCache(known)
            await cache.put(SCOPE, "name", b"value", 1000)
            assert await cache.get(SCOPE, "name") == b"value"
            assert known.degraded is None
            await known.close()

            for ca_file in (str(other), None):
                unknown = Connection(url, ca_file=ca_file, patience_s=10)
                assert await RedisCache(unknown).get(SCOPE, "name") is None
                assert "certificate" in str(unknown.degraded).lower()
                await unknown.close()
