"""The product under measurement: a worker of its own, filled and asked over HTTP with its default settings.

Of sets of things said, prompts are asked for. Of sets with events, everything is; hits that are no row of the corpus
(what the product makes of it: summaries, learnings) are left out of the ranking, as no label says whether they answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from bench.durability import Site, eventually
from bench.retrieval.data import Said
from claude_mem.kernel.clock import to_iso
from claude_mem.kernel.ids import new_id

_BATCH = 100
_PATIENCE_S = 3_600.0


class Product:
    """Use as a context manager. `more` are settings, for a comparison; by default there are none."""

    def __init__(self, models: Path | None, **more: str) -> None:
        self._site = Site(None, **more)
        if models is not None:
            self._site.home.mkdir(parents=True, exist_ok=True)
            (self._site.home / "models").symlink_to(models.absolute())
        self._ids: dict[str, str] = {}  # event id -> the corpus's id
        self._only: dict[str, str] = {}  # the filter that every question is asked with
        self._web: httpx.Client | None = None
        self.took: list[float] = []  # of searches, in seconds, from asking to the answer

    def __enter__(self) -> Product:
        self._site.start()
        port = self._site.environment["CLAUDE_MEM_PORT"]
        self._web = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {self._site.token}"},
            timeout=60,
            trust_env=False,
        )
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        if self._web is not None:
            self._web.close()
        self._site.close()

    @property
    def web(self) -> httpx.Client:
        """The API."""
        assert self._web is not None
        return self._web

    @property
    def folder(self) -> Path:
        """Its data folder."""
        return self._site.home

    def remember(self, said: Sequence[Said]) -> dict[str, float]:
        """Hand everything in and wait until it is recorded and embedded; seconds of both."""
        began = time.perf_counter()
        self._only = {} if any(one.kind for one in said) else {"type": "prompt"}
        events = list(self._events(said))
        for at in range(0, len(events), _BATCH):
            self._hand_in(events[at : at + _BATCH])
        self._site.settle(_PATIENCE_S)
        recorded = time.perf_counter()
        eventually(self._is_embedded, "everything is embedded", _PATIENCE_S)
        return {
            "record_s": round(recorded - began, 1),
            "embed_s": round(time.perf_counter() - recorded, 1),
        }

    @property
    def kind(self) -> str | None:
        """The kind that every question is asked with; None for all."""
        return self._only.get("type")

    def corpus_id(self, event: str) -> str | None:
        """The corpus's id of an event; None for what the product made of others."""
        return self._ids.get(event)

    def ask(self, text: str, limit: int, project: str | None = None) -> list[str]:
        """The ids of what is found, the best first."""
        return list(self.hits(text, limit, project).values())

    def hits(self, text: str, limit: int, project: str | None = None) -> dict[str, str]:
        """What is found, the best first: the product's id of it -> the corpus's."""
        asked: dict[str, Any] = {"q": text, "limit": limit, **self._only}
        if project is not None:
            asked["project"] = project
        began = time.perf_counter()
        answer = self.web.post("/api/v1/search", json=asked)
        self.took.append(time.perf_counter() - began)
        answer.raise_for_status()
        found = {hit["id"]: self._ids.get(hit["event_id"]) for hit in answer.json()["results"]}
        return {own: each for own, each in found.items() if each is not None}

    def context(self, text: str, budget: int, project: str) -> dict[str, Any]:
        """The context for a prompt: its text, tokens and items."""
        asked: dict[str, Any] = {"q": text, "budget": budget, "project": project}
        answer = self.web.get("/api/v1/context", params=asked)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def health(self) -> dict[str, Any]:
        """What the worker says of itself."""
        return self._site.health() or {}

    def _is_embedded(self) -> bool:
        vectors = self.health().get("vectors")
        if not vectors or vectors.get("model") is None or vectors.get("reason"):
            return True  # lexical search is all there is
        return int(vectors["embedded"]) >= int(vectors["total"])

    def _hand_in(self, events: list[dict[str, Any]]) -> None:
        while True:
            answer = self.web.post("/api/v1/events", json={"events": events})
            if answer.status_code not in (429, 503):
                answer.raise_for_status()
                return
            time.sleep(float(answer.headers.get("Retry-After", 1)))

    def _events(self, said: Sequence[Said]) -> Iterator[dict[str, Any]]:
        begun: set[str] = set()
        for one in said:
            if one.title and one.session not in begun:
                yield _event(one, "session.started", {"title": one.title}, one.at - 1)
            begun.add(one.session)
            event = _event(one, *_what(one), one.at)
            self._ids[event["id"]] = one.id
            yield event


def _what(one: Said) -> tuple[str, dict[str, Any]]:
    """The type and the data of its event."""
    if one.kind:
        return one.kind, one.data
    data = {"content": one.text}
    if one.speaker not in ("", "user", "assistant"):
        data["speaker"] = one.speaker
    return "assistant.replied" if one.speaker == "assistant" else "prompt.submitted", data


def _event(one: Said, kind: str, data: dict[str, Any], at: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "type": kind,
        "occurred_at": to_iso(at),
        "agent": "claude-code",
        "session": one.session,
        "project": one.conversation,
        "data": data,
    }
