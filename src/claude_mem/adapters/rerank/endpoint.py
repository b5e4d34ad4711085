"""A reranking endpoint: `POST …/rerank` as Cohere, Jina and others answer it, and Text Embeddings Inference.

Takes nothing on trust: there must be one finite score for each text. Must never show the key, nor repeat a text. Asked
once: somebody waits, and a search stands without it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

import orjson

from claude_mem.kernel.errors import Unavailable

if TYPE_CHECKING:
    import httpx

_CONNECT_S: Final = 2.0
_RESTS_S: Final = (
    10.0  # not asked for so long after it failed, so that not every search waits for it
)
_PATIENCE: Final = 0.8  # of its time, after which one that is waited for no longer counts as slow
_MOST_BYTES: Final = 4_000_000
_OK: Final = 200
# What the texts are called: by Cohere, Jina and those like them, and by Text Embeddings Inference. The one that an
# endpoint understands is found with the first question.
_DOCUMENTS, _TEXTS = "documents", "texts"
_MISUNDERSTOOD: Final = frozenset({400, 422})


@dataclass(frozen=True, slots=True)
class RerankEndpoint:
    """Where and what: `url` is up to `/v1`, or the whole address of `/rerank`. `key` is never shown."""

    url: str
    model: str = ""
    key: str = field(default="", repr=False)
    timeout_s: float = 5.0

    @property
    def address(self) -> str:
        """The whole address."""
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/")
        return urlunsplit(
            parts._replace(path=path if path.endswith("/rerank") else f"{path}/rerank")
        )


class EndpointReranker:
    """Implements `ports.reranker.Reranker`. Connects when it is first asked."""

    def __init__(self, endpoint: RerankEndpoint) -> None:
        self._endpoint = endpoint
        self._client: httpx.AsyncClient | None = None
        self._trouble, self._until = "", 0.0
        self._named = [_DOCUMENTS, _TEXTS]
        self._closed = False

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """See the port."""
        if not texts:
            return []
        if time.monotonic() < self._until:
            raise Unavailable(self._trouble, retry_after=1)
        sound = [_sound(text) for text in texts]
        for named in list(self._named):
            status, content = await self._asked(self._body(named, _sound(query), sound))
            if status == _OK:
                self._named = [named]
                return self._scores(content, len(texts))
            if status not in _MISUNDERSTOOD:
                break
        raise self._refused(status)

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        if self._client is not None:
            await self._client.aclose()

    def _body(self, named: str, query: str, texts: list[str]) -> bytes:
        body: dict[str, Any] = {"query": query, named: texts}
        if named == _TEXTS:
            body["truncate"] = True
        elif self._endpoint.model:
            body["model"] = self._endpoint.model
        return orjson.dumps(body)

    async def _asked(self, body: bytes) -> tuple[int, bytes]:
        """(status, content): no more is read than an answer can have."""
        import httpx  # costs start-up time, and most programs rerank nothing

        if self._closed:
            raise Unavailable("the reranking endpoint was put away: the program is stopping")
        if self._client is None:
            key = self._endpoint.key
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._endpoint.timeout_s, connect=_CONNECT_S),
                headers={
                    "Content-Type": "application/json",
                    **({"Authorization": f"Bearer {key}"} if key else {}),
                },
            )
        started = time.monotonic()
        try:
            # The timeout of httpx is between bytes: an endpoint that drips would never end.
            async with asyncio.timeout(self._endpoint.timeout_s):
                asked = self._client.stream("POST", self._endpoint.address, content=body)
                async with asked as answer:
                    content = bytearray()
                    async for some in answer.aiter_bytes():
                        content += some
                        if len(content) > _MOST_BYTES:
                            raise self._failed(f"answers with more than {_MOST_BYTES:,} bytes")
                    return answer.status_code, bytes(content)
        except asyncio.CancelledError:
            # Who asked has a limit of their own: one that reached it would be waited for by the next search, too.
            if time.monotonic() - started >= _PATIENCE * self._endpoint.timeout_s:
                self._failed("is too slow")
            raise
        except (TimeoutError, httpx.TimeoutException):
            raise self._failed(f"did not answer within {self._endpoint.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise self._failed(f"cannot be reached ({type(error).__name__})") from error

    def _refused(self, status: int) -> Unavailable:
        way = {
            401: ": is rerank_key right?",
            403: ": may this key use the model?",
            404: ": is rerank_url right?",
            422: ": is rerank_model right?",
        }
        return self._failed(f"answers {status}{way.get(status, '')}")

    def _scores(self, content: bytes, count: int) -> list[float]:
        """By place, whatever order they came in. Raises Unavailable for an answer that is none."""
        try:
            told: Any = orjson.loads(content)
            items = told if isinstance(told, list) else told["results"]
            found = {int(it["index"]): _score(it) for it in items}
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._failed("did not answer with scores") from error
        if set(found) != set(range(count)) or not all(map(math.isfinite, found.values())):
            raise self._failed(f"did not answer with a score for each of {count} texts")
        return [found[place] for place in range(count)]

    def _failed(self, said: str) -> Unavailable:
        """To be raised; not asked again for a while."""
        host = urlsplit(self._endpoint.url).netloc.rpartition("@")[2]
        self._trouble = f"the reranking endpoint at {host} {said}"
        self._until = time.monotonic() + _RESTS_S
        return Unavailable(self._trouble, retry_after=round(_RESTS_S))


def _score(item: dict[str, Any]) -> float:
    return float(item["relevance_score"] if "relevance_score" in item else item["score"])


def _sound(text: str) -> str:
    """Half a character of UTF-16 is no JSON; and an empty text is refused by most."""
    return text.encode("utf-8", "replace").decode() or " "
