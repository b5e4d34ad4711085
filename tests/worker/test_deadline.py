"""A connection that does not say what it wants is closed; one that is merely slow with a body is not."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from claude_mem.worker.deadline import DeadlineProtocol


class Impatient(DeadlineProtocol):
    """With a deadline that a test can wait for."""

    head_seconds = 0.15


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the body it was sent."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """The port of a server with that protocol."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            echo, http=Impatient, ws="none", lifespan="off", log_config=None, timeout_keep_alive=30
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - an attribute of another's sets no event
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n"


CASES = [
    (said, before)
    for said in (b"G", b"POST / HT", HEAD[:-2], b"\r\n\r\n")
    for before in (False, True)
]


@pytest.mark.parametrize(("said", "before"), [(b"", False), *CASES])
async def test_half_a_head_is_not_waited_for(said: bytes, before: bool) -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if before:
            writer.write(HEAD + b"whole!")
            assert (await reader.readuntil(b"whole!")).startswith(b"HTTP/1.1 200")
        writer.write(said)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_a_head_that_comes_byte_by_byte_has_no_more_time() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def dribble() -> None:
            writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
            while not reader.at_eof():
                writer.write(b"a")
                await asyncio.sleep(0.02)

        task = asyncio.create_task(dribble())
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        task.cancel()
        writer.close()


async def test_a_slow_body_and_a_quiet_connection_are_kept() -> None:
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(HEAD + b"who")
            await asyncio.sleep(3 * Impatient.head_seconds)
            writer.write(b"le!")
            assert (await reader.readuntil(b"whole!")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(3 * Impatient.head_seconds)
        writer.close()
