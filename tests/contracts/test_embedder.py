"""What every embedder keeps to: the model on this machine, an endpoint, and either behind remembered questions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from claude_mem.adapters.endpoint.embedder import Endpoint, EndpointEmbedder
from claude_mem.adapters.local.query_vectors import QueryVectors
from claude_mem.adapters.onnx.embedder import OnnxEmbedder
from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.vectors import unit, unpack
from embedding_endpoint import fake_endpoint

TEXTS = [
    "the deployment failed because the database password had expired",
    "a cat sleeps on the warm windowsill all afternoon",
    "the parser returns an error for an empty line",
    "retries wait twice as long after each failure",
]


@pytest.fixture(params=["local", "endpoint", "remembered"])
async def embedder(request: pytest.FixtureRequest) -> AsyncIterator[Embedder]:
    if request.param == "endpoint":
        with fake_endpoint() as server:
            made = EndpointEmbedder(Endpoint(server.url, "words", batch=3))
            yield made
            await made.close()
        return
    local = OnnxEmbedder(request.getfixturevalue("model_folder"), "int8")
    made_here: Embedder = QueryVectors(local) if request.param == "remembered" else local
    yield made_here
    await made_here.close()


def cosine(one: bytes, other: bytes) -> float:
    return sum(a * b for a, b in zip(unpack(one), unpack(other), strict=True))


async def test_a_vector_a_text_in_their_order_at_length_one(embedder: Embedder) -> None:
    found = await embedder.documents(TEXTS)
    state = embedder.state()
    assert state.ready
    assert state.reason == ""
    assert state.languages in {"en", "any"}
    assert state.model is not None
    assert len(found) == len(TEXTS)
    for vector in found:
        assert len(unit(state.model, vector)) == state.model.dimension
        assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-5)
    for place, text in enumerate(TEXTS):
        (alone,) = await embedder.documents([text])
        nearest = max(range(len(TEXTS)), key=lambda it: cosine(found[it], alone))
        assert nearest == place
        assert cosine(found[place], alone) > 0.98


async def test_a_question_lies_nearest_to_the_text_that_answers_it(embedder: Embedder) -> None:
    found = await embedder.documents(TEXTS)
    asked = await embedder.query("why the deployment failed: the database password")
    assert max(range(len(TEXTS)), key=lambda it: cosine(found[it], asked)) == 0


async def test_no_texts_have_no_vectors(embedder: Embedder) -> None:
    assert await embedder.documents([]) == []


@pytest.mark.parametrize(
    "text",
    ["", " ", "\0", "\ud800 half a character", "提醒重复发送", "word " * 20_000, "x" * 50_000],
    ids=["empty", "space", "nul", "surrogate", "chinese", "long", "one-long-word"],
)
async def test_every_text_has_a_vector(embedder: Embedder, text: str) -> None:
    vector, question = (await embedder.documents([text]))[0], await embedder.query(text)
    assert cosine(vector, vector) == pytest.approx(1.0, abs=1e-5)
    assert cosine(vector, question) > 0.98


async def test_many_callers_at_once_get_their_own(embedder: Embedder) -> None:
    alone = [(await embedder.documents([text]))[0] for text in TEXTS]
    calls = [embedder.documents([text] * 3) for text in TEXTS for _ in range(3)]
    questions = [embedder.query(text) for text in TEXTS]
    answers = await asyncio.gather(*calls)
    for number, answer in enumerate(answers):
        assert all(cosine(vector, alone[number // 3]) > 0.98 for vector in answer)
    for vector, own in zip(await asyncio.gather(*questions), alone, strict=True):
        assert cosine(vector, own) > 0.98


async def test_who_gives_up_leaves_it_usable(embedder: Embedder) -> None:
    task = asyncio.create_task(embedder.documents(TEXTS * 20))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await embedder.documents(TEXTS)) == len(TEXTS)


async def test_closed_is_closed(embedder: Embedder) -> None:
    await embedder.documents(TEXTS[:1])
    await embedder.close()
    with pytest.raises(Unavailable):
        await embedder.documents(TEXTS)
    with pytest.raises(Unavailable):
        await embedder.query("a new question")
