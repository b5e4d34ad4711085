"""An OpenAI-compatible endpoint: what it may answer, and what becomes of it. The server is real, on loopback."""

from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from bench.ports import free_port

from claude_mem.adapters.endpoint import embedder as embedder_module
from claude_mem.adapters.endpoint.embedder import Endpoint, EndpointEmbedder
from claude_mem.adapters.endpoint.waiting import backoff, wanted_wait
from claude_mem.kernel.errors import Invalid, Unavailable
from claude_mem.ports.vectors import VectorModel, unit
from embedding_endpoint import DIMENSION, FakeEndpoint, answered, fake_endpoint, numbers

KEY = "sk-test-0123456789abcdef"
Make = Callable[..., EndpointEmbedder]


@pytest.fixture
def server() -> Iterator[FakeEndpoint]:
    with fake_endpoint() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    """How long it would have waited, in seconds: nobody waits in a test."""
    return []


@pytest.fixture
async def make(server: FakeEndpoint, waits: list[float]) -> AsyncIterator[Make]:
    made: list[EndpointEmbedder] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    def one(**options: Any) -> EndpointEmbedder:
        endpoint = Endpoint(**{"url": server.url, "model": "words", "key": KEY, **options})
        made.append(EndpointEmbedder(endpoint, sleep=wait, chance=lambda: 0.0))
        return made[-1]

    yield one
    for embedder in made:
        await embedder.close()


def vector_of(text: str) -> bytes:
    import array

    return unit(
        VectorModel("words", DIMENSION), array.array("f", numbers(text)).tobytes()
    ).tobytes()


async def asked(server: FakeEndpoint, times: int) -> None:
    """Wait until so many requests have come to the endpoint, or so long that the caller may say which have not."""
    for _ in range(4_000):
        if len(server.requests) >= times:
            break
        await asyncio.sleep(0.005)


async def refusal(embedder: EndpointEmbedder, texts: list[str] | None = None) -> Unavailable:
    with pytest.raises(Unavailable) as refused:
        await embedder.documents(texts or ["a text nobody may repeat"])
    for secret in (KEY, "nobody may repeat"):
        assert secret not in refused.value.message
        assert secret not in embedder.state().reason
    return refused.value


async def test_the_dimension_is_learned_from_the_first_answer(make: Make) -> None:
    embedder = make()
    assert (embedder.state().ready, embedder.state().model) == (True, None)
    assert await embedder.query("one two") == vector_of("one two")
    assert embedder.state().model == VectorModel("words", DIMENSION)
    assert embedder.state().languages == "any"


async def test_a_dimension_that_is_set_is_asked_for_and_known_at_once(
    make: Make, server: FakeEndpoint
) -> None:
    embedder = make(dimension=DIMENSION)
    assert embedder.state().model == VectorModel("words", DIMENSION)
    await embedder.query("one")
    assert server.requests[0]["dimensions"] == DIMENSION
    await make().query("one")
    assert "dimensions" not in server.requests[1]


async def test_what_is_asked(make: Make, server: FakeEndpoint) -> None:
    embedder = make(query_prefix="query: ", document_prefix="passage: ")
    await embedder.documents(["one", ""])
    await embedder.query("two")
    first, second = server.requests
    assert first == {
        "model": "words",
        "input": ["passage: one", "passage: "],
        "encoding_format": "float",
    }
    assert second["input"] == ["query: two"]
    assert server.paths == ["/v1/embeddings"] * 2
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("", "/v1/embeddings"),
        ("/", "/v1/embeddings"),
        ("/embeddings", "/v1/embeddings"),
        (
            "/openai/deployments/small/embeddings?api-version=2024-10-21",
            "/v1/openai/deployments/small/embeddings?api-version=2024-10-21",
        ),
    ],
)
async def test_the_address_may_end_before_embeddings_or_with_it(
    make: Make, server: FakeEndpoint, given: str, asked: str
) -> None:
    await make(url=server.url + given).query("x")
    assert server.paths == [asked]


async def test_azures_key_and_no_key(make: Make, server: FakeEndpoint) -> None:
    await make(key_header="api-key").query("x")
    await make(key="").query("x")
    assert server.headers[0]["api-key"] == KEY
    assert "Authorization" not in server.headers[0]
    assert "Authorization" not in server.headers[1]


async def test_batches_in_their_order_and_few_at_once(make: Make, server: FakeEndpoint) -> None:
    texts = [f"word{number} and more" for number in range(23)]
    found = await make(batch=4, concurrency=2).documents(texts)
    assert found == [vector_of(text) for text in texts]
    assert sorted(len(it["input"]) for it in server.requests) == [3, 4, 4, 4, 4, 4]
    assert server.most <= 2


async def test_a_question_does_not_wait_for_documents(make: Make, server: FakeEndpoint) -> None:
    """Both of the two that may be asked at once are held by the endpoint."""
    embedder = make(batch=1, concurrency=2)
    server.hold.clear()
    documents = asyncio.create_task(embedder.documents(["a", "b", "c", "d"]))
    question = asyncio.create_task(embedder.query("e"))
    await asked(server, 3)
    assert sorted(it["input"][0] for it in server.requests) == ["a", "b", "e"]
    server.hold.set()
    assert await question == vector_of("e")
    assert len(await documents) == 4


async def test_answers_in_another_order_are_put_right(make: Make, server: FakeEndpoint) -> None:
    def backwards(texts: list[str]) -> dict[str, Any]:
        return {"data": answered(texts)["data"][::-1]}

    server.script = [(200, {}, backwards)]
    texts = ["one", "two three", "four"]
    assert await make().documents(texts) == [vector_of(text) for text in texts]


async def test_answers_without_an_index_are_in_their_order(
    make: Make, server: FakeEndpoint
) -> None:
    def bare(texts: list[str]) -> dict[str, Any]:
        return {"data": [{"embedding": numbers(text)} for text in texts]}

    server.script = [(200, {}, bare)]
    assert await make().documents(["one", "two"]) == [vector_of("one"), vector_of("two")]


# -- what passes ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_passes_is_asked_again(
    make: Make, server: FakeEndpoint, waits: list[float], status: int
) -> None:
    server.script = [(status, {}, {"error": {"message": "busy"}})] * 3
    assert await make().documents(["one"]) == [vector_of("one")]
    assert waits == [0.25, 0.5, 1.0]


async def test_it_waits_as_long_as_it_is_asked_to(
    make: Make, server: FakeEndpoint, waits: list[float]
) -> None:
    server.script = [
        (429, {"Retry-After": "7"}, b""),
        (429, {"retry-after-ms": "2500"}, b""),
        (503, {"Retry-After": "0"}, b""),
    ]
    await make().documents(["one"])
    assert waits == [7.0, 2.5, 1.0]


async def test_a_long_wait_is_left_to_who_asked(
    make: Make, server: FakeEndpoint, waits: list[float]
) -> None:
    server.script = [(429, {"Retry-After": "120"}, {"error": {"message": "quota"}})]
    embedder = make()
    error = await refusal(embedder)
    assert error.retry_after == 120
    assert waits == []
    assert "answers 429 (quota)" in error.message
    assert not embedder.state().ready, "searches do not wait for it meanwhile"


async def test_what_does_not_pass_ends(
    make: Make, server: FakeEndpoint, waits: list[float]
) -> None:
    server.script = [(500, {}, b"<html>no</html>")] * 6
    embedder = make()
    error = await refusal(embedder)
    assert "answers 500" in error.message
    assert error.retry_after == 10
    assert (len(server.requests), len(waits)) == (4, 3)
    with pytest.raises(Unavailable):
        await embedder.query("somebody waits")
    assert len(server.requests) == 6
    assert await embedder.query("one") == vector_of("one")
    assert embedder.state().ready


async def test_too_slow_is_said_to_be_so(make: Make, server: FakeEndpoint) -> None:
    server.hold.clear()
    error = await refusal(make(timeout_s=0.05))
    assert "did not answer within 0.05 s" in error.message


async def test_nobody_there(make: Make) -> None:
    port = free_port()
    error = await refusal(make(url=f"http://127.0.0.1:{port}/v1"))
    assert f"127.0.0.1:{port} cannot be reached" in error.message


# -- what does not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "way"),
    [(401, "embedding_key"), (403, "key"), (404, "embedding_model"), (302, "embedding_url")],
)
async def test_a_refusal_names_the_setting_and_is_not_asked_again(
    make: Make, server: FakeEndpoint, waits: list[float], status: int, way: str
) -> None:
    body = {"error": {"message": f"Incorrect API key: {KEY}"}}
    server.script = [(status, {"Location": "/elsewhere"}, body)]
    embedder = make()
    assert way in (await refusal(embedder)).message
    assert (len(server.requests), waits) == (1, [])
    assert not embedder.state().ready
    # Somebody may have mended it: who asks all the same is heard.
    await embedder.query("x")
    assert embedder.state().ready


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_texts_it_refuses(make: Make, server: FakeEndpoint, status: int) -> None:
    server.script = [(status, {}, {"error": {"message": "input is too long"}})]
    embedder = make()
    with pytest.raises(Invalid, match="input is too long"):
        await embedder.documents(["x"])
    assert len(server.requests) == 1
    assert embedder.state().ready


def one_more(texts: list[str]) -> dict[str, Any]:
    return answered([*texts, "more"])


def one_less(texts: list[str]) -> dict[str, Any]:
    return answered(texts[1:])


def twice_the_same(texts: list[str]) -> dict[str, Any]:
    return {"data": [{"index": 0, "embedding": numbers(text)} for text in texts]}


def each_with(embedding: Any) -> Callable[[list[str]], dict[str, Any]]:
    return lambda texts: {"data": [{"index": n, "embedding": embedding} for n in range(len(texts))]}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"data": null}',
        b'{"data": {"a": 1}}',
        b'{"data": ["x", "y"]}',
        one_more,
        one_less,
        twice_the_same,
        each_with(None),
        each_with("AAAA"),
        each_with([]),
        each_with([0.0] * DIMENSION),
        each_with([1e300] * DIMENSION),
        each_with(["a"] * DIMENSION),
        each_with([1.0] * 4_000),
    ],
    ids=lambda it: it.decode() if isinstance(it, bytes) else getattr(it, "__name__", ""),
)
async def test_what_is_no_answer(make: Make, server: FakeEndpoint, body: Any) -> None:
    server.script = [(200, {}, body)]
    embedder = make()
    error = await refusal(embedder, ["one", "two"])
    assert "the embedding endpoint at 127.0.0.1" in error.message
    assert not embedder.state().ready, "searches do not ask for the same again at once"
    assert await embedder.documents(["one"]) == [vector_of("one")], "the next answer is taken"


async def test_another_dimension_than_before_is_refused(make: Make, server: FakeEndpoint) -> None:
    embedder = make()
    await embedder.query("one")
    server.script = [(200, {}, each_with([1.0] * 8))]
    assert f"8 numbers a vector instead of {DIMENSION}" in (await refusal(embedder)).message
    assert embedder.state().model == VectorModel("words", DIMENSION)
    wrong = make(dimension=99)
    assert f"{DIMENSION} numbers a vector instead of 99" in (await refusal(wrong)).message


async def test_an_answer_without_an_end_is_not_read_to_it(make: Make, server: FakeEndpoint) -> None:
    server.script = [(200, {}, b" " * 50_000_000)]
    tracemalloc.start()
    try:
        error = await refusal(make())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "answers with more than" in error.message
    assert most < 30_000_000
    assert len(server.requests) == 1, "it would answer the same again"


async def test_after_a_question_that_took_too_long_the_next_ones_do_not_wait(
    make: Make, server: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedder_module, "_PATIENCE_S", 0.05)
    embedder = make()
    server.hold.clear()
    question = asyncio.create_task(embedder.query("who waits gives up"))
    await asked(server, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await question
    with pytest.raises(Unavailable, match="too slow for questions"):
        await embedder.query("another")
    assert len(server.requests) == 1
    server.hold.set()
    assert await embedder.documents(["one"]) == [vector_of("one")], "documents have time"
    monkeypatch.setattr(embedder, "_tired_until", 0.0)  # some seconds later
    assert await embedder.query("one") == vector_of("one")


async def test_the_key_is_shown_nowhere(
    make: Make, server: FakeEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = [(500, {}, {"error": f"{KEY} is broken"})] * 4
    embedder = make()
    await refusal(embedder)
    await embedder.query("x")
    assert KEY not in caplog.text
    assert KEY not in repr(Endpoint(server.url, "words", KEY))


async def test_after_closing_nothing_is_asked(make: Make, server: FakeEndpoint) -> None:
    embedder = make()
    await embedder.query("x")
    await embedder.close()
    await refusal(embedder)
    assert len(server.requests) == 1


# -- waiting ----------------------------------------------------------------------------------


def test_waits_double_up_to_a_bound_and_vary() -> None:
    assert [backoff(attempt, 1.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 8, 8]
    assert backoff(3, 0.0) == 1.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, 3600.0),
        ({"retry-after-ms": "1e300"}, 3600.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 3600.0),
        ({"retry-after-ms": "1500", "retry-after": "3"}, 1.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_what_an_answer_asks_for(headers: dict[str, str], expected: float | None) -> None:
    assert wanted_wait(headers) == expected


def test_a_date_to_come_is_waited_for() -> None:
    import time

    found = wanted_wait({"retry-after": formatdate(time.time() + 3600, usegmt=True)})
    assert found is not None
    assert 3000 < found <= 3600
