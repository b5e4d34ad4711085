"""Both legs of a search together: through the API, with an embedder that knows which words mean the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from claude_mem.api.application import make_app
from claude_mem.app.build import System, build_local
from claude_mem.app.settings import Settings
from claude_mem.hook.home import ensure_token
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import local_scope
from claude_mem.ports.embedder import EmbedderState
from claude_mem.ports.queue import Job
from word_embedder import WordEmbedder

pytestmark = pytest.mark.slow

SCOPE = local_scope()
SAME = {"automobile": "car", "vehicle": "car", "hung": "timeout", "stuck": "timeout"}
DAY_MS = 86_400_000


class Synonyms(WordEmbedder):
    """An embedder to which some words are one."""

    languages = "any"

    def vector(self, text: str) -> bytes:
        return super().vector(" ".join(SAME.get(word, word) for word in text.lower().split()))

    def state(self) -> EmbedderState:
        told = super().state()
        return EmbedderState(told.model, told.ready, told.reason, self.languages)


@dataclass
class Store:
    """A worker's system with short ways in and out."""

    system: System
    web: httpx.AsyncClient
    embedder: Synonyms
    told: int = field(default=0)

    async def tell(self, *texts: str, session: str = "one", **data: Any) -> None:
        events = []
        for text in texts:
            self.told += 1
            events.append(
                {
                    "id": new_id(),
                    "type": data.pop("kind", "prompt.submitted"),
                    "occurred_at": to_iso(now_ms() - DAY_MS + self.told * 1000),
                    "agent": "claude-code",
                    "session": session,
                    "project": f"/{session}",
                    "data": {"content": text, **data},
                }
            )
        state = self.system.parts.state
        await state["capture"].accept(SCOPE, events)
        await state["capture"].drain_all()

    async def call(self, tool: str, given: dict[str, Any], response: Any = "") -> None:
        """A tool's call, later than all that was told."""
        await self.calls(tool, [given], response)

    async def calls(self, tool: str, given: list[dict[str, Any]], response: Any = "") -> None:
        """Several at once."""
        events = []
        for one in given:
            self.told += 1
            data = {"tool": tool, "input": one, "response": response}
            at = to_iso(now_ms() - DAY_MS + self.told * 1000)
            event = {"id": new_id(), "type": "tool.used", "occurred_at": at, "data": data}
            events.append(event | {"agent": "claude-code", "session": "one", "project": "/one"})
        state = self.system.parts.state
        await state["capture"].accept(SCOPE, events)
        await state["capture"].drain_all()

    async def embed(self) -> None:
        job = Job(SCOPE.enterprise_id, new_id(), "vectors.embed", "all", {}, 1, 5)
        await self.system.loop._work.handlers["vectors.embed"](SCOPE, job)

    async def ask(self, path: str = "", **asked: Any) -> dict[str, Any]:
        answer = await self.web.post(f"/api/v1/search{path}", json=asked)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def texts(self, q: str, **asked: Any) -> list[str]:
        return [it["content_preview"] for it in (await self.ask(q=q, **asked))["results"]]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    settings = Settings(home=tmp_path / "data")
    settings.home.mkdir(mode=0o700)
    token = ensure_token(settings.home)
    embedder = Synonyms()
    system = build_local(settings, embedder)
    async with system.parts.lifespan(None):
        transport = httpx.ASGITransport(make_app(system.parts))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as web:
            yield Store(system, web, embedder)


async def test_what_has_none_of_the_words_is_found_by_its_meaning(store: Store) -> None:
    await store.tell("the automobile is red", "a ledger of invoices", "the sky was grey today")
    await store.embed()
    found = await store.ask(q="car")
    assert found["results"][0]["content_preview"] == "the automobile is red"
    assert found["degraded"] is None
    [why] = [it for it in found["results"][0]["explain"] if it["part"] == "meaning"]
    assert why["share"] > 0
    assert found["total_is_estimate"]
    assert await store.texts("car", fusion="lexical") == []


async def test_the_parts_of_a_hit_add_up_to_its_relevance(store: Store) -> None:
    await store.tell("the car is red", "the automobile is blue", "one more car", speaker="Ada")
    await store.embed()
    for fusion in ("score", "rank", "lexical"):
        for hit in (await store.ask(q="What did Ada say of the car?", fusion=fusion))["results"]:
            total = sum(part["share"] for part in hit["explain"])
            assert total == pytest.approx(hit["relevance_score"], abs=0.002), (fusion, hit)
            assert 0 <= hit["relevance_score"] <= 1
    best = (await store.ask(q="What did Ada say of the car?"))["results"][0]
    assert "speaker" in {part["part"] for part in best["explain"]}


async def test_filters_bind_what_meaning_finds(store: Store) -> None:
    await store.tell("the automobile is red", session="here")
    await store.tell("the vehicle is blue", session="there")
    await store.embed()
    assert await store.texts("car", session="here") == ["the automobile is red"]
    assert await store.texts("car", project="/there") == ["the vehicle is blue"]
    assert await store.texts("car", type="observation") == []
    assert await store.texts("car", until="2020-01-01") == []
    assert await store.texts('car "is blue"') == ["the vehicle is blue"]
    assert "the vehicle is blue" not in await store.texts("car -blue")


async def test_where_a_filter_leaves_few_of_the_nearest_more_are_looked_at(store: Store) -> None:
    await store.tell("an automobile of many other words indeed")
    for at in range(0, 220, 55):
        events = [{"command": f"car {number}"} for number in range(at, at + 55)]
        await store.calls("Bash", events, "car")
    await store.embed()
    assert len(await store.texts("car", limit=100)) == 100
    assert await store.texts("vehicle", type="prompt") == [
        "an automobile of many other words indeed"
    ]


async def test_meaning_is_looked_for_under_every_filter(store: Store) -> None:
    await store.tell("a vehicle of long ago with many other words said beside it")
    until = to_iso(now_ms() - DAY_MS + store.told * 1000 + 500)
    given = {"file_path": "/one/engine.py", "old_string": "x", "new_string": "vehicle wheels turn"}
    await store.call("Edit", given)
    await store.tell(*[f"car number {number}" for number in range(250)])
    await store.embed()
    for filters in ({"until": until}, {"file": "engine.py"}, {"tool": "Edit"}):
        for path in ("", "/semantic"):
            found = await store.ask(path, q="automobile", **filters)
            assert len(found["results"]) == 1, (filters, path)
    assert await store.texts("automobile -wheels", file="engine.py") == []
    assert await store.texts('automobile "number 7"') == ["car number 7"]


async def test_the_words_are_looked_up_while_the_vector_is_made(store: Store) -> None:
    await store.tell("the automobile is red", "a car")
    await store.embed()
    search, vector_of = store.system.parts.state["search"], store.embedder.query
    looked_up, look_up = threading.Event(), search._lexical.candidates

    def candidates(*given: Any) -> Any:
        looked_up.set()
        return look_up(*given)

    async def query(text: str) -> bytes:
        assert await asyncio.to_thread(looked_up.wait, 1.0)
        return await vector_of(text)

    search._lexical.candidates, store.embedder.query = candidates, query  # type: ignore[method-assign]
    found = await store.ask(q="car")
    assert found["degraded"] is None
    assert {it["content_preview"] for it in found["results"]} == {"the automobile is red", "a car"}


async def test_a_vector_that_takes_too_long_is_done_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.tell("the automobile is red", "a car")
    await store.embed()
    dropped = asyncio.Event()

    async def query(_text: str) -> bytes:
        try:
            await asyncio.sleep(60)
        finally:
            dropped.set()
        raise AssertionError

    store.embedder.query = query  # type: ignore[method-assign]
    meaning = partial(store.system.parts.state["search"].meaning, seconds=0.05)
    monkeypatch.setattr(store.system.parts.state["search"], "meaning", meaning)
    found = await store.ask(q="car")
    assert [it["content_preview"] for it in found["results"]] == ["a car"]
    assert found["degraded"] == "the model took too long"
    assert dropped.is_set()
    # A search that finds nothing to do lets go of it, too.
    dropped.clear()
    assert (await store.ask(q="car", session="none"))["results"] == []
    await asyncio.wait_for(dropped.wait(), 1.0)


async def test_without_a_model_words_are_searched_and_it_is_said(store: Store) -> None:
    await store.tell("the car is red", "the automobile is blue")
    store.embedder.ready = False
    found = await store.ask(q="car")
    assert found["results"][0]["content_preview"] == "the car is red"
    assert "claude-mem model install" in found["degraded"]
    answer = await store.web.post("/api/v1/search/semantic", json={"q": "car"})
    assert answer.status_code == 503
    assert "claude-mem model install" in answer.json()["error"]


async def test_an_embedder_that_fails_costs_the_meaning_only(store: Store) -> None:
    await store.tell("the car is red")
    await store.embed()

    async def broken(_text: str) -> bytes:
        raise Unavailable("the endpoint cannot be reached")

    store.embedder.query = broken  # type: ignore[method-assign]
    found = await store.ask(q="car")
    assert [it["content_preview"] for it in found["results"]] == ["the car is red"]
    assert found["degraded"] == "the endpoint cannot be reached"


async def test_a_model_of_english_stays_out_of_chinese(store: Store) -> None:
    store.embedder.languages = "en"
    await store.tell("数据库连接池已满", "完全无关的句子", "the car is red")
    await store.embed()
    found = await store.ask(q="连接池满了怎么办")
    assert found["results"][0]["content_preview"] == "数据库连接池已满"
    assert found["degraded"] is None
    assert "meaning" not in {part["part"] for part in found["results"][0]["explain"]}


async def test_a_model_of_english_is_given_a_chinese_question_in_english(store: Store) -> None:
    asked: list[str] = []

    async def query(text: str) -> bytes:
        asked.append(text)
        return store.embedder.vector(text)

    store.embedder.query = query  # type: ignore[method-assign]
    store.embedder.languages = "en"
    await store.tell("the build failed", "the build hung", "a ledger of invoices")
    await store.embed()
    found = await store.ask(q="构建超时")
    assert asked == ["build timeout"]
    best = found["results"][0]
    assert best["content_preview"] == "the build hung"  # which says neither word for timeout
    assert {part["part"] for part in best["explain"]} >= {"lexical", "meaning"}
    assert [(it["asked"], it["found"]) for it in best["translated"]] == [("构建", "build")]
    await store.ask(q="梧桐树下的构建")
    assert len(asked) == 1, "most of it was not understood"


async def test_what_is_translated_means_nothing_where_all_is_in_chinese(store: Store) -> None:
    store.embedder.languages = "en"
    await store.tell("构建超时了", "完全无关的句子")
    await store.embed()
    hits = (await store.ask(q="构建超时"))["results"]
    assert hits[0]["content_preview"] == "构建超时了"
    assert "meaning" not in {part["part"] for hit in hits for part in hit["explain"]}


async def test_no_model_is_shown_a_secret_that_is_asked_for(store: Store) -> None:
    asked: list[str] = []

    async def query(text: str) -> bytes:
        asked.append(text)
        return store.embedder.vector(text)

    store.embedder.query = query  # type: ignore[method-assign]
    secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    await store.tell("the car is red")
    await store.ask(q=f"why is {secret} refused")
    await store.ask("/semantic", q=f"why is {secret} refused")
    assert len(asked) == 2
    assert not [text for text in asked if secret in text]


async def test_by_meaning_alone(store: Store) -> None:
    await store.tell("the automobile is red", "words of a car dealer", "nothing near it")
    await store.embed()
    found = await store.ask("/semantic", q="vehicle")
    assert {it["part"] for hit in found["results"] for it in hit["explain"]} == {"meaning"}
    assert "the automobile is red" in [it["content_preview"] for it in found["results"][:2]]


async def test_relative_times_are_counted_from_now(store: Store) -> None:
    await store.tell("we painted the shed", "the shed was sold")
    await store.embed()
    for moment in (to_iso(now_ms()), "2031-05-05"):
        found = await store.ask(q="what happened with the shed yesterday", now=moment)
        parts = {part["part"] for part in found["results"][0]["explain"]}
        assert ("date" in parts) == (moment != "2031-05-05")
    answer = await store.web.get("/api/v1/search", params={"q": "x", "now": "whenever"})
    assert answer.status_code == 400
    assert answer.json()["details"][0]["field"] == "now"


def _parts(hit: dict[str, Any]) -> set[str]:
    return {part["part"] for part in hit["explain"]}


@pytest.mark.parametrize(
    "named", ["carriers/fastlane.py", "fastlane.py", "./carriers/fastlane.py", "FastLane.py"]
)
async def test_what_is_about_a_file_the_question_names_comes_first(
    store: Store, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"type": "text", "file": {"content": "the carrier's timeout is five seconds"}}
    await store.call("Read", {"file_path": "/src/carriers/fastlane.py"}, content)
    talk = "the timeout of the timeout, carriers/fastlane.py and fastlane.py, timeout, FastLane.py"
    await store.call("Bash", {"command": "echo timeout in carriers/fastlane.py"}, {"stdout": talk})

    async def tools() -> list[tuple[str, bool]]:
        found = await store.ask(q=f"timeout in {named}", type="observation", limit=2)
        return [(hit["tool"], "file" in _parts(hit)) for hit in found["results"]]

    assert await tools() == [("Read", True), ("Bash", False)]
    monkeypatch.setattr("claude_mem.domains.retrieval.fusion.W_FILE", 0.0)
    assert await tools() == [("Bash", False), ("Read", False)]  # by the words alone it is another


async def test_the_tool_a_question_names_comes_first(store: Store) -> None:
    await store.call("Bash", {"command": "grep ledger"}, {"stdout": "the ledger is red"})
    await store.call("WebFetch", {"url": "https://x.example/ledger"}, "the ledger is red")
    for tool in ("Bash", "WebFetch"):
        for asked in (f"what did {tool} say of the ledger", f"ledger {tool.lower()} 工具"):
            found = (await store.ask(q=asked, type="observation"))["results"]
            assert [hit["tool"] for hit in found if "tool" in _parts(hit)] == [tool], asked
            assert found[0]["tool"] == tool, asked


async def test_of_equals_the_one_that_was_used_comes_first(store: Store) -> None:
    await store.tell("the ledger is red", session="older")
    await store.tell("the ledger is red", session="newer")
    before = (await store.ask(q="ledger"))["results"]
    assert not any("use" in _parts(hit) for hit in before)
    older = before[-1]["id"]
    for _ in range(3):
        answer = await store.web.post("/api/v1/memories/get", json={"ids": [older]})
        assert answer.status_code == 200
    after = (await store.ask(q="ledger red"))["results"]
    assert after[0]["id"] == older
    assert ["use" in _parts(hit) for hit in after] == [True, False]


@pytest.mark.parametrize("text", ['"" "', "--", ".*[](){}", "\u200b\u200d", "😀🔥"])
@pytest.mark.parametrize("path", ["", "/semantic"])
async def test_marks_and_pictures_find_nothing_by_their_meaning(
    store: Store, text: str, path: str
) -> None:
    store.embedder.languages = "en"
    await store.tell("the car is red", "数据库")
    await store.embed()
    assert (await store.ask(path, q=text))["results"] == []


async def test_pictures_mean_something_to_a_model_of_every_language(store: Store) -> None:
    await store.tell("the car is red")
    await store.embed()
    seen: list[str] = []

    async def query(text: str) -> bytes:
        seen.append(text)
        return store.embedder.vector("car")

    store.embedder.query = query  # type: ignore[method-assign]
    assert (await store.ask(q="🚗"))["results"]
    assert seen == ["🚗"]


@pytest.mark.parametrize(
    "text", ["😀😀", '"" "', "\x00\x01", "x" * 10_000, "\udcff", "的" * 5_000, "   "]
)
async def test_any_text_is_asked_safely(store: Store, text: str) -> None:
    await store.tell("the car is red", "数据库")
    await store.embed()
    body = {"q": text.encode("utf-8", "replace").decode()}
    answer = await store.web.post("/api/v1/search", json=body)
    assert answer.status_code == 200, answer.text


async def test_the_stream_tells_both_answers(store: Store) -> None:
    await store.tell("the car is red", "the automobile is blue")
    await store.embed()
    answer = await store.web.get("/api/v1/search/stream", params={"q": "car"})
    assert answer.status_code == 200
    steps = [line[7:] for line in answer.text.splitlines() if line.startswith("event: ")]
    assert steps == ["lexical", "fused", "done"]
    assert answer.text.count("the automobile is blue") >= 1


class Backwards:
    """Implements `ports.reranker.Reranker`: the last is the best."""

    def __init__(self) -> None:
        self.away = False
        self.asked: list[str] = []

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append(query)
        if self.away:
            raise Unavailable("the reranker cannot be reached")
        return [float(place) for place, _ in enumerate(texts)]

    async def close(self) -> None:
        return None


async def test_a_reranker_has_the_last_word_or_none(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "data")
    settings.home.mkdir(mode=0o700)
    token, reranker = ensure_token(settings.home), Backwards()
    system = build_local(settings, None, reranker)
    async with system.parts.lifespan(None):
        transport = httpx.ASGITransport(make_app(system.parts))
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=headers
        ) as web:
            store = Store(system, web, Synonyms())
            await store.tell("car car car", "a car of many other words and more", "one car, two")
            usual = await store.texts("car", fusion="lexical")
            assert len(usual) == 3
            turned = await store.texts("car")
            secret = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
            await store.ask(q=f"car {secret}")
            assert secret not in reranker.asked[-1]
            pages = [await store.texts("car", limit=2, offset=at) for at in (0, 2)]
            assert [*pages[0], *pages[1]] == turned
            reranker.away = True
            found = await store.ask(q="car")
            own = [it["content_preview"] for it in found["results"]]
            assert turned == own[::-1]
            assert found["degraded"] == "the reranker cannot be reached"
