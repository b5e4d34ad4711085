"""The forwarder and a real worker: the SDK's own client on stdio, restarts between calls, a worker that is not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.durability import Site
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from claude_mem.hook.home import write_private
from claude_mem.mcp import stdio

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
FILE = Path(stdio.__file__)


@pytest.fixture
def site() -> Iterator[Site]:
    """A data folder with its own port; no worker yet."""
    with Site() as made:
        yield made


def command(site: Site) -> list[str]:
    return [sys.executable, "-I", "-S", str(FILE), "--home", str(site.home)]


@asynccontextmanager
async def client_of(site: Site, **environ: str) -> AsyncIterator[Client]:
    program, *arguments = command(site)
    server = StdioServerParameters(
        command=program, args=arguments, env={**site.environment, **environ}
    )
    async with Client(stdio_client(server)) as client:
        yield client


async def told(client: Client, name: str, **given: Any) -> str:
    result = await client.call_tool(name, given)
    (block,) = result.content
    assert not result.is_error, block
    return str(block.text)  # type: ignore[union-attr]


def stop(site: Site) -> None:
    """As a person does it."""
    program = [sys.executable, "-m", "claude_mem", "stop"]
    subprocess.run(
        program, env=site.environment, cwd="/", capture_output=True, timeout=60, check=True
    )


async def test_the_sdks_client_saves_and_finds_through_restarts_and_a_kill(site: Site) -> None:
    holder = site.start()
    async with client_of(site, CLAUDE_PROJECT_DIR="/srv/ledger") as client:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == stdio.NAMES
        said = await told(client, "save", content="Pangolins sleep at noon", type="fact")
        assert "Saved" in said
        assert "Pangolins" in await told(client, "search", query="pangolins")
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        assert "Pangolins" in await told(client, "search", query="pangolins")
        site.ready(but=holder.pid)
        stop(site)
        assert "Pangolins" in await told(client, "search", query="pangolins"), "started again"


async def test_many_calls_at_once_are_all_answered(site: Site) -> None:
    site.start()
    with forwarder(site) as ask:
        for number in range(30):
            ask.send(number, "tools/call", name="save", arguments={"content": f"note {number}"})
        answers = {answer["id"]: answer["result"] for answer in ask.receive(30)}
        assert set(answers) == set(range(30))
        ids = {answer["structuredContent"]["id"] for answer in answers.values()}
        assert len(ids) == 30


async def test_a_call_that_breaks_off_is_done_once(site: Site) -> None:
    """The worker did it and died before it said so: asked again, it knows the call by its id."""
    site.start()
    real = (site.home / "door").read_text()
    with breaking_proxy(site, real.splitlines()[0].removeprefix("unix:")) as proxy:
        write_private(site.home / "door", f"unix:{proxy.path}\n{site.token}\n")
        with forwarder(site) as ask:
            ask.send(1, "tools/call", name="save", arguments={"content": "Pangolins, once"})
            (answer,) = ask.receive(1)
        assert "isError" not in answer["result"]
        assert proxy.broken == 1
        assert proxy.passed == 1
    write_private(site.home / "door", real)
    assert len(searched(site)) == 1


def searched(site: Site) -> list[Any]:
    from claude_mem.sdk.local import connect

    with connect(site.home) as client:
        rows: list[Any] = client.search("pangolins", type="observation")["results"]
    return rows


class Asking:
    """A forwarder that is spoken to line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, key: int, method: str, **params: Any) -> None:
        message = {"jsonrpc": "2.0", "id": key, "method": method, "params": params}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        self._process.stdin.flush()

    def receive(self, count: int) -> list[Any]:
        assert self._process.stdout is not None
        return [json.loads(self._process.stdout.readline()) for _ in range(count)]


class forwarder:  # noqa: N801 - used like a function
    """A forwarder of a site, ended with the block."""

    def __init__(self, site: Site) -> None:
        self._process = subprocess.Popen(
            command(site), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=site.environment
        )
        self._timer = threading.Timer(60, self._process.kill)

    def __enter__(self) -> Asking:
        self._timer.start()
        return Asking(self._process)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._process.communicate()


class breaking_proxy:  # noqa: N801 - used like a function
    """Passes requests on to the worker's socket; the first answer is lost on the way back."""

    def __init__(self, site: Site, target: str) -> None:
        import socket

        self.path = str(site.root / "p")
        self.broken = self.passed = 0
        self._target = target
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()

    def __enter__(self) -> breaking_proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            answer = self._pass_on(near)
            if self.broken:
                self.passed += 1
                near.sendall(answer)
            else:
                self.broken += 1
                near.sendall(answer[: len(answer) // 2])
            near.close()

    def _pass_on(self, near: Any) -> bytes:
        import socket

        request = b""
        while not self._is_whole(request):
            request += near.recv(1 << 16)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as far:
            far.connect(self._target)
            far.sendall(request)
            chunks = []
            while chunk := far.recv(1 << 16):
                chunks.append(chunk)
        return b"".join(chunks)

    @staticmethod
    def _is_whole(request: bytes) -> bool:
        head, end, body = request.partition(b"\r\n\r\n")
        if not end:
            return False
        length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
        return len(body) == int(length)


def test_the_forwarder_of_an_installed_program_needs_nothing_beside_it(
    site: Site, tmp_path: Path
) -> None:
    """As the client starts it: the copy in the data folder, no package, no environment of ours."""
    from claude_mem.hook.mcp_registration import entry, write_server

    site.start()
    copy = write_server(site.home)
    assert copy.stat().st_mode & 0o777 == 0o600
    started = entry(sys.executable, site.home)
    calls = b"".join(
        json.dumps({"jsonrpc": "2.0", "id": key, "method": method, "params": params}).encode()
        + b"\n"
        for key, method, params in (
            (1, "initialize", {"protocolVersion": "2025-11-25"}),
            (2, "tools/call", {"name": "sessions", "arguments": {"project": "*"}}),
        )
    )
    done = subprocess.run(
        [started["command"], *started["args"]],
        input=calls,
        capture_output=True,
        env={},
        cwd=tmp_path,
        timeout=60,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert "No session is remembered" in answers[1]["result"]["content"][0]["text"]
    assert done.stderr == b""
