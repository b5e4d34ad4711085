"""A client of the tools over streamable HTTP, by the official SDK, and something to remember."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from api_support import BASE, Api
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client


@asynccontextmanager
async def client_of(api: Api, *, mode: str = "auto", **headers: str) -> AsyncIterator[Client]:
    """The SDK's client of the system, without a socket."""
    application = api.client._transport.app  # type: ignore[attr-defined]
    given = {"authorization": f"Bearer {api.token}", **headers}
    async with (
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(application), base_url=BASE, headers=given
        ) as http,
        Client(streamable_http_client(f"{BASE}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(api: Api, name: str, *, folder: str = "", running: str = "", **given: Any) -> Any:
    """A tool's result, through the SDK's client."""
    headers = {"x-project-dir": folder, "x-agent-session": running}
    async with client_of(api, **{key: text for key, text in headers.items() if text}) as client:
        return await client.call_tool(name, given)


def told(result: Any, *, failed: bool = False) -> str:
    assert result.is_error is failed, result.content
    (block,) = result.content
    return str(block.text)


async def fill(api: Api) -> None:
    """A session in /ledger: a question, a failure, what mended it, a long answer."""
    about = {"session": "s-1", "project": "/ledger"}
    await api.take(
        api.event(**about, data={"content": "Why are invoices rounded wrongly?"}),
        api.event(
            "tool.failed",
            **about,
            data={
                "tool": "Bash",
                "tool_use_id": "t-1",
                "input": {"command": "make check"},
                "error": "Exit code 1\nAssertionError: rounding of 0.125",
            },
        ),
        api.event(
            "tool.used",
            **about,
            data={
                "tool": "Edit",
                "tool_use_id": "t-2",
                "input": {
                    "file_path": "/ledger/round.py",
                    "old_string": "round(x)",
                    "new_string": "half_even(x)",
                },
                "response": {},
            },
        ),
        api.event(
            "assistant.replied",
            **about,
            data={"content": "Rounding is half even now. " + "It was tried in turn. " * 400},
        ),
        api.event(session="s-2", project="/other", data={"content": "Rounding of the corners"}),
    )
