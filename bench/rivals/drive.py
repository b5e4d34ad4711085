"""Drives one rival in its own environment: `python drive.py NAME TASK.json OUT.json`. Standard library and the rival.

TASK holds `texts` ([id, text]), `questions` ([id, text]), `k`, `endpoint` (of the embedding server), `folder` (empty,
the rival's own), `warm` (questions asked before the clock runs). OUT gets seconds, rankings of ids, memory and disk.
Each rival is used through its documented Python interface, with its defaults but for where it stores and how it embeds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol

_MODEL = "all-MiniLM-L6-v2"
_BATCH = 64
_KEY = "none"


class Rival(Protocol):
    """A memory system: texts go in, a question gives ids, the best first."""

    def remember(self, texts: list[tuple[str, str]]) -> None:
        """Store all of them, embedded."""

    def ask(self, question: str, k: int) -> list[str]:
        """The ids of the best k."""


class Chromadb:
    """A persistent collection, cosine; the vectors are given, as its own model would have to be downloaded."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        chromadb = import_module("chromadb")
        config = import_module("chromadb.config")
        settings = config.Settings(anonymized_telemetry=False)
        client = chromadb.PersistentClient(path=str(folder), settings=settings)
        self._endpoint = endpoint
        self._texts = client.create_collection(
            "texts", metadata={"hnsw:space": "cosine"}, embedding_function=None
        )

    def remember(self, texts: list[tuple[str, str]]) -> None:
        """In batches."""
        for at in range(0, len(texts), _BATCH):
            some = texts[at : at + _BATCH]
            documents = [text for _, text in some]
            vectors = embedded(self._endpoint, documents)
            self._texts.add(ids=[one for one, _ in some], documents=documents, embeddings=vectors)

    def ask(self, question: str, k: int) -> list[str]:
        """By the question's vector."""
        vectors = embedded(self._endpoint, [question])
        found: list[str] = self._texts.query(query_embeddings=vectors, n_results=k)["ids"][0]
        return found


class Mem0:
    """`Memory` with infer=False, in its default store (qdrant in a folder), by its OpenAI embedder."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        os.environ |= {"MEM0_TELEMETRY": "False", "MEM0_DIR": str(folder / "home")}
        memory = import_module("mem0").Memory
        embedder = {
            "model": _MODEL,
            "api_key": _KEY,
            "openai_base_url": endpoint.removesuffix("/embeddings"),
        }
        store = {"path": str(folder / "qdrant"), "embedding_model_dims": 384, "on_disk": True}
        self._memory = memory.from_config(
            {
                "embedder": {"provider": "openai", "config": embedder},
                "llm": {"provider": "openai", "config": {"api_key": _KEY}},
                "vector_store": {"provider": "qdrant", "config": store},
            }
        )

    def remember(self, texts: list[tuple[str, str]]) -> None:
        """One at a time: without inference a call is one memory."""
        for one, text in texts:
            self._memory.add(text, user_id="all", metadata={"of": one}, infer=False)

    def ask(self, question: str, k: int) -> list[str]:
        """Its search; by meaning, as the packages of its words' leg are extras that fetch models."""
        found = self._memory.search(question, top_k=k, filters={"user_id": "all"})
        return [hit["metadata"]["of"] for hit in found["results"]]


class McpMemoryService:
    """Its SQLite-vec storage, searched by meaning: what its search tool does by default."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        os.environ |= {
            "MCP_EXTERNAL_EMBEDDING_URL": endpoint,
            "MCP_EXTERNAL_EMBEDDING_MODEL": _MODEL,
            "MCP_MEMORY_STORAGE_BACKEND": "sqlite_vec",
            "MCP_MEMORY_BASE_DIR": str(folder),
        }
        with suppress(
            ImportError
        ):  # many a Python's own SQLite loads no extensions, which it needs
            sys.modules["sqlite3"] = import_module("pysqlite3")
        sqlite_vec = import_module("mcp_memory_service.storage.sqlite_vec")
        self._memory = import_module("mcp_memory_service.models.memory").Memory
        self._hash = import_module("mcp_memory_service.utils.hashing").generate_content_hash
        self._storage = sqlite_vec.SqliteVecMemoryStorage(str(folder / "memory.db"))
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._storage.initialize())
        self._ids: dict[str, str] = {}

    def remember(self, texts: list[tuple[str, str]]) -> None:
        """In batches; a text that is there already is refused, and found by its first id."""
        for at in range(0, len(texts), _BATCH):
            some = []
            for one, text in texts[at : at + _BATCH]:
                digest = self._hash(text)
                if self._ids.setdefault(digest, one) == one:
                    some.append(self._memory(content=text, content_hash=digest))
            for is_kept, why in self._loop.run_until_complete(self._storage.store_batch(some)):
                if not is_kept:
                    raise RuntimeError(f"not stored: {why}")

    def ask(self, question: str, k: int) -> list[str]:
        """By meaning."""
        found = self._loop.run_until_complete(self._search(question, k))
        return [self._ids[hit.memory.content_hash] for hit in found]

    async def _search(self, question: str, k: int) -> Any:
        return await self._storage.retrieve(question, n_results=k)


class McpMemoryServiceHybrid(McpMemoryService):
    """The same, by its storage's hybrid of words and meaning, which its search tool does not use."""

    async def _search(self, question: str, k: int) -> Any:
        return await self._storage.retrieve_hybrid(question, n_results=k)


class MemPalace:
    """Drawers of one wing, filed and searched as its MCP tools do."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._palace = str(folder / "palace")
        os.environ |= {
            "HOME": str(folder),
            "MEMPALACE_PALACE_PATH": self._palace,
            "MEMPALACE_EMBEDDING_MODEL": "openai-compat",
            "MEMPALACE_EMBEDDING_API_URL": endpoint,
            "MEMPALACE_EMBEDDING_API_MODEL": _MODEL,
        }
        self._tools = import_module("mempalace.mcp_server")
        self._search = import_module("mempalace.searcher").search_memories
        self._ids: dict[str, str] = {}

    def remember(self, texts: list[tuple[str, str]]) -> None:
        """One at a time, as its tool takes them."""
        for one, text in texts:
            filed = self._tools.tool_add_drawer(wing="all", room="turns", content=text)
            if not filed.get("success"):
                raise RuntimeError(f"not filed: {filed}")
            for each in (filed["drawer_id"], *filed.get("chunk_ids", ())):
                self._ids.setdefault(each, one)

    def ask(self, question: str, k: int) -> list[str]:
        """Its default search: candidates by meaning, ranked again with words."""
        found = self._search(question, self._palace, n_results=k)
        if "error" in found:
            raise RuntimeError(found["error"])
        return [self._ids[hit["drawer_id"]] for hit in found["results"]]


RIVALS: dict[str, Callable[[Path, str], Rival]] = {
    "chromadb": Chromadb,
    "mem0": Mem0,
    "mcp-memory-service": McpMemoryService,
    "mcp-memory-service, hybrid": McpMemoryServiceHybrid,
    "MemPalace": MemPalace,
}


def embedded(endpoint: str, texts: list[str]) -> list[list[float]]:
    """Vectors from the embedding server."""
    body = json.dumps({"input": texts, "model": _MODEL}).encode()
    asked = urllib.request.Request(endpoint, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=300) as answer:
        return [each["embedding"] for each in json.load(answer)["data"]]


def drive(rival: Rival, task: dict[str, Any]) -> dict[str, Any]:
    """Fill it, ask it everything; the seconds of each."""
    began = time.perf_counter()
    rival.remember([(one, text) for one, text in task["texts"]])
    build = time.perf_counter() - began
    for _, text in task["questions"][: task["warm"]]:
        rival.ask(text, task["k"])
    with urllib.request.urlopen(_took(task["endpoint"]), timeout=60) as answer:
        answer.read()
    found, took = {}, []
    for one, text in task["questions"]:
        began = time.perf_counter()
        ranking = rival.ask(text, task["k"])
        took.append(time.perf_counter() - began)
        found[one] = list(dict.fromkeys(ranking))
    with urllib.request.urlopen(_took(task["endpoint"]), timeout=60) as answer:
        embedding = json.load(answer)["took"]
    return {"build_s": build, "took_s": took, "embedding_s": embedding, "found": found}


def _took(endpoint: str) -> str:
    return endpoint.removesuffix("/v1/embeddings") + "/took"


def resident_mb() -> float | None:
    """Memory of this process; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(it.split()[1]) / 1024 for it in lines if it.startswith("VmRSS")), None)


def main() -> None:
    """Drive one."""
    name, task_file, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    task = json.loads(task_file.read_text(encoding="utf-8"))
    folder = Path(task["folder"])
    result = drive(RIVALS[name](folder, task["endpoint"]), task)
    result["rss_mb"] = resident_mb()
    result["packages"] = len(list(metadata.distributions()))
    out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
