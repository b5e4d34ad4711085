"""A reranking endpoint, asked over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from claude_mem.adapters.rerank.endpoint import EndpointReranker, RerankEndpoint
from claude_mem.domains.retrieval.reranking import rerank_top
from claude_mem.kernel.errors import Unavailable

pytestmark = pytest.mark.anyio
TEXTS = ["about rivers", "about tokens", "about refresh tokens"]
Answer = tuple[int, Any]


@dataclass
class Service:
    """A loopback server that answers as `respond` says; what it was asked is kept."""

    respond: Callable[[dict[str, Any]], Answer]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                self.heads.append(head)
                length = next(
                    int(line.split(":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length")
                )
                body = json.loads(await reader.readexactly(length))
                self.asked.append(body)
                status, told = self.respond(body)
                content = told if isinstance(told, bytes) else json.dumps(told).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode()
                    + content
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(respond: Callable[[dict[str, Any]], Answer]) -> AsyncIterator[Service]:
    service = Service(respond)
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield service
    finally:
        server.close()


@asynccontextmanager
async def asking(url: str, **more: Any) -> AsyncIterator[EndpointReranker]:
    made = EndpointReranker(RerankEndpoint(url, **more))
    try:
        yield made
    finally:
        await made.close()


def scored(name: str, texts: list[str]) -> list[dict[str, Any]]:
    """Longer texts score higher; the best comes first, as such services answer."""
    found = [{"index": place, name: len(text) / 100} for place, text in enumerate(texts)]
    return sorted(found, key=lambda it: -it[name])


def as_cohere(body: dict[str, Any]) -> Answer:
    if "documents" not in body:
        return 422, {"detail": "documents: field required"}
    return 200, {"id": "x", "results": scored("relevance_score", body["documents"])}


def as_tei(body: dict[str, Any]) -> Answer:
    if "texts" not in body:
        return 422, {"error": "missing field `texts`"}
    return 200, scored("score", body["texts"])


@pytest.mark.parametrize("respond", [as_cohere, as_tei])
async def test_scores_come_in_the_order_of_the_texts(respond: Any) -> None:
    async with serving(respond) as service, asking(service.url) as reranker:
        assert await reranker.rerank("tokens", TEXTS) == [0.12, 0.12, 0.20]
        before = len(service.asked)
        await reranker.rerank("tokens", TEXTS)
        assert len(service.asked) == before + 1  # which convention it is, is known by now
        assert await reranker.rerank("tokens", []) == []
    assert service.heads[0].startswith("POST /v1/rerank ")


async def test_model_and_key_are_sent_and_half_characters_mended() -> None:
    async with (
        serving(as_cohere) as service,
        asking(f"{service.url}/rerank/", model="m", key="k-secret") as reranker,
    ):
        await reranker.rerank("a\ud800", ["", "b\udfff"])
    assert service.asked[0] == {"query": "a?", "documents": [" ", "b?"], "model": "m"}
    assert "authorization: bearer k-secret" in service.heads[0].lower()
    assert "k-secret" not in repr(RerankEndpoint("u", key="k-secret"))


@pytest.mark.parametrize(
    "told",
    [
        b"<html>",
        {},
        {"results": 7},
        {"results": [{"index": 0, "relevance_score": 1}]},
        {"results": [{"index": at, "relevance_score": "x"} for at in range(3)]},
        {"results": [{"index": at + 1, "relevance_score": 1} for at in range(3)]},
        b'{"results": [{"index": 0, "score": NaN}]}',
        [],
        None,
    ],
)
async def test_an_answer_that_is_none_is_unavailable(told: Any) -> None:
    async with serving(lambda _: (200, told)) as service, asking(service.url) as reranker:
        with pytest.raises(Unavailable, match="did not answer with"):
            await reranker.rerank("tokens", TEXTS)


@pytest.mark.parametrize(
    ("status", "says"), [(401, "rerank_key"), (404, "rerank_url"), (429, "429"), (500, "500")]
)
async def test_a_refusal_says_what_to_look_at_and_is_not_asked_again_at_once(
    status: int, says: str
) -> None:
    async with (
        serving(lambda _: (status, {"error": "k-secret and the text"})) as service,
        asking(service.url, key="k-secret") as reranker,
    ):
        for _ in range(2):
            with pytest.raises(Unavailable, match=says) as caught:
                await reranker.rerank("tokens", TEXTS)
            assert "k-secret" not in caught.value.message
        assert len(service.asked) == 1


async def test_no_more_is_read_than_an_answer_can_have() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 1000000000\r\n\r\n")
        try:
            while sent < 200_000_000:
                writer.write(b" " * 1_000_000)
                await writer.drain()
                sent += 1_000_000
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with asking(url, timeout_s=20.0) as reranker:
        with pytest.raises(Unavailable, match="answers with more than 4,000,000 bytes"):
            await reranker.rerank("rivers", TEXTS)
    server.close()
    assert sent < 50_000_000  # what lies in buffers on the way is sent, too


async def test_nobody_there_is_unavailable() -> None:
    async with serving(as_cohere) as service:
        url = service.url
    async with asking(url) as reranker:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await reranker.rerank("tokens", TEXTS)


async def test_one_that_never_answers_is_given_up() -> None:
    async def hang(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 X\r\n")
        await writer.drain()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with asking(url, timeout_s=0.2) as reranker:
        with pytest.raises(Unavailable, match="did not answer within"):
            await reranker.rerank("tokens", TEXTS)
    server.close()


async def test_one_that_searches_gave_up_is_not_waited_for_by_each_of_them() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with asking(url, timeout_s=0.3) as reranker:
        first = await rerank_top(reranker, "rivers", TEXTS, str, deadline_s=0.3)
        assert first.degraded.startswith("the reranker took more than")
        second = await rerank_top(reranker, "rivers", TEXTS, str, deadline_s=0.3)
        assert second.degraded.endswith("is too slow")
    server.close()


async def test_after_closing_it_is_put_away() -> None:
    async with serving(as_cohere) as service:
        reranker = EndpointReranker(RerankEndpoint(service.url))
        await reranker.rerank("tokens", TEXTS)
        await reranker.close()
        with pytest.raises(Unavailable, match="stopping"):
            await reranker.rerank("tokens", TEXTS)
