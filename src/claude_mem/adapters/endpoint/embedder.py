"""An OpenAI-compatible endpoint as an embedder.

Asks in batches, few at once, and again after what passes (429, 5xx, a lost connection), when the endpoint wants it.
Takes nothing on trust: the answer must hold a vector of the one dimension for each text. Must never show the key, nor
repeat a text: messages name what went wrong and where to look.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx
import orjson

from claude_mem.adapters.endpoint.waiting import LONGEST_WAIT_S, backoff, wanted_wait
from claude_mem.kernel.errors import Invalid, Unavailable
from claude_mem.ports.embedder import EmbedderState
from claude_mem.ports.vectors import MAX_DIMENSION, VectorModel, pack, unit

_CHANCE: Final = random.Random()  # noqa: S311 - no secret; the sequence of who uses us stays as it is
_ATTEMPTS: Final = 4
_QUERY_ATTEMPTS: Final = 2  # somebody waits
_CONNECT_S: Final = 5.0
_RESTS_S: Final = 10.0  # not ready so long after the endpoint was away,
_REFUSED_S: Final = 60.0  # and after it refused us: then it may have been mended
_REFUSED: Final = frozenset({400, 413, 422})
_PASSES: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_PATIENCE_S: Final = 1.5  # a question that was given up after so long: the next ones do not wait
# More is no answer: so many bytes, and so many for each text (a number of 3,072 is rarely longer than 32 characters).
_MOST_BYTES, _MOST_BYTES_A_TEXT = 1_000_000, MAX_DIMENSION * 32
_SAID: Final = 200  # characters of the endpoint's own words


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where, what and how. `key` is never shown."""

    url: str  # up to `/v1`, or the whole address of `/embeddings`
    model: str
    key: str = field(default="", repr=False)
    key_header: str = "Authorization"  # another one gets the key as it is: Azure's is `api-key`
    dimension: int = 0  # asked for, where the model can; 0: the model's own
    query_prefix: str = ""
    document_prefix: str = ""
    batch: int = 32  # texts a request
    concurrency: int = 2  # requests at once
    timeout_s: float = 30.0

    @property
    def address(self) -> str:
        """The whole address, with whatever parameters were given."""
        url = httpx.URL(self.url)
        path = url.path.rstrip("/")
        return str(
            url.copy_with(path=path if path.endswith("/embeddings") else f"{path}/embeddings")
        )

    def headers(self) -> dict[str, str]:
        """What is sent with each request."""
        if not self.key:
            return {}
        bearer = self.key_header.lower() == "authorization"
        return {self.key_header: f"Bearer {self.key}" if bearer else self.key}


class _Answer(NamedTuple):
    """What an endpoint answered."""

    status: int
    headers: httpx.Headers
    content: bytes


class EndpointEmbedder:
    """One model of one endpoint. Connects when it is first asked."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = _CHANCE.random,
    ) -> None:
        self._endpoint, self._sleep, self._chance = endpoint, sleep, chance
        self._model = (
            VectorModel(endpoint.model, endpoint.dimension) if endpoint.dimension else None
        )
        self._client: httpx.AsyncClient | None = None
        self._documents = asyncio.Semaphore(endpoint.concurrency)
        self._questions = asyncio.Semaphore(endpoint.concurrency)
        self._trouble, self._until = "", 0.0
        self._tired_until = 0.0  # of questions: documents have all the time they need
        self._closed = False

    def state(self) -> EmbedderState:
        """Not ready for some seconds after it failed, so that not every search waits for it."""
        trouble = self._trouble if time.monotonic() < self._until else ""
        return EmbedderState(self._model, ready=not trouble, reason=trouble, languages="any")

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """Batches, a few at once; the first that fails ends the others."""
        prefix, size = self._endpoint.document_prefix, self._endpoint.batch
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]

        async def one(part: Sequence[str]) -> list[bytes]:
            async with self._documents:
                return await self._vectors([prefix + text for text in part], _ATTEMPTS)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(part)) for part in parts]
        except* (Invalid, Unavailable) as errors:
            raise errors.exceptions[0] from None
        return [vector for task in tasks for vector in task.result()]

    async def query(self, text: str) -> bytes:
        """Waits for no documents; and not at all, for a while after one that nobody could wait for any longer."""
        async with self._questions:
            if time.monotonic() < self._tired_until:
                raise Unavailable(self._told("is too slow for questions"), retry_after=1)
            started = time.monotonic()
            try:
                texts = [self._endpoint.query_prefix + text]
                return (await self._vectors(texts, _QUERY_ATTEMPTS))[0]
            except asyncio.CancelledError:
                if time.monotonic() - started >= _PATIENCE_S:
                    self._tired_until = time.monotonic() + _RESTS_S
                raise

    async def close(self) -> None:
        """Let go of connections."""
        self._closed = True
        if self._client is not None:
            await self._client.aclose()

    async def _vectors(self, texts: list[str], attempts: int) -> list[bytes]:
        body: dict[str, Any] = {
            "model": self._endpoint.model,
            "input": [_sound(text) for text in texts],
            "encoding_format": "float",
        }
        if self._endpoint.dimension:
            body["dimensions"] = self._endpoint.dimension
        most = _MOST_BYTES + len(texts) * _MOST_BYTES_A_TEXT
        answer = await self._asked(orjson.dumps(body), attempts, most)
        # Half a million numbers take a while to read.
        vectors = await asyncio.to_thread(self._read, answer, len(texts))
        self._until = 0.0
        return vectors

    async def _asked(self, body: bytes, attempts: int, most: int) -> bytes:
        for attempt in range(1, attempts + 1):
            wait: float | None = None
            try:
                answer = await self._post(body, most)
            except httpx.TimeoutException:
                said = f"did not answer within {self._endpoint.timeout_s:g} s"
            except httpx.HTTPError as error:
                said = f"cannot be reached: {error or type(error).__name__}"
            else:
                if answer.status == httpx.codes.OK:
                    return answer.content
                said = self._refusal(answer)
                wait = wanted_wait(answer.headers)
            if attempt == attempts or (wait or 0.0) > LONGEST_WAIT_S:
                break
            await self._sleep(max(wait or 0.0, backoff(attempt, self._chance())))
        raise self._failed(said, wait or _RESTS_S)

    def _failed(self, said: str, rest_s: float) -> Unavailable:
        """To be raised; not ready meanwhile."""
        self._trouble, self._until = self._told(said), time.monotonic() + rest_s
        return Unavailable(self._trouble, retry_after=max(1, round(rest_s)))

    async def _post(self, body: bytes, most: int) -> _Answer:
        if self._closed:
            raise Unavailable("the embedding endpoint was put away: the program is stopping")
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._endpoint.timeout_s, connect=_CONNECT_S),
                headers={"Content-Type": "application/json", **self._endpoint.headers()},
            )
        try:
            # The timeout of httpx is between bytes: an endpoint that drips would never end.
            async with asyncio.timeout(self._endpoint.timeout_s):
                asked = self._client.stream("POST", self._endpoint.address, content=body)
                async with asked as answer:
                    content = bytearray()
                    async for some in answer.aiter_bytes():
                        content += some
                        if len(content) > most:
                            raise self._failed(f"answers with more than {most:,} bytes", _RESTS_S)
                    return _Answer(answer.status_code, answer.headers, bytes(content))
        except TimeoutError:
            raise httpx.ReadTimeout("too slow") from None

    def _refusal(self, answer: _Answer) -> str:
        """What to say of an answer that may be another one next time. Raises for one that will not."""
        status = answer.status
        said = f"answers {status}{self._words(answer)}"
        if status in _REFUSED:
            raise Invalid(self._told(said))
        if status not in _PASSES:
            way = {
                401: "is embedding_key right?",
                403: "may this key use the model?",
                404: "are embedding_url and embedding_model right?",
            }.get(status, "is embedding_url right?")
            raise self._failed(f"{said}; {way}", _REFUSED_S)
        return said

    def _words(self, answer: _Answer) -> str:
        """The endpoint's own words, short, without our key."""
        try:
            told = orjson.loads(answer.content)
            error = told.get("error", told.get("message", ""))
            text = str(error.get("message", "") if isinstance(error, dict) else error)
        except (orjson.JSONDecodeError, AttributeError):  # a proxy's page
            return ""
        if self._endpoint.key:
            text = text.replace(self._endpoint.key, "…")
        # Of a key it was not given whole, an endpoint still shows a part.
        if answer.status in {401, 403} or not text:
            return ""
        return f" ({' '.join(text.split())[:_SAID]})"

    def _read(self, content: bytes, count: int) -> list[bytes]:
        """The vectors in the order of the texts. Raises Unavailable for an answer that is none."""
        try:
            items = orjson.loads(content)["data"]
            found = {int(it.get("index", place)): it["embedding"] for place, it in enumerate(items)}
            given = [pack(found[place]) for place in range(count)]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            got = f"{type(error).__name__}: {error}"[:_SAID]
            said = f"did not answer with {count} vectors ({got})"
            raise self._failed(said, _RESTS_S) from error
        if len(items) != count:
            said = f"answered with {len(items)} vectors for {count} texts"
            raise self._failed(said, _RESTS_S)
        model = self._learned(len(found[0]))
        try:
            return [unit(model, vector).tobytes() for vector in given]
        except Invalid as error:
            raise self._failed(f"answered with what is no vector: {error}", _RESTS_S) from error

    def _learned(self, dimension: int) -> VectorModel:
        """The model, whose dimension the first answer says; from then on it stays."""
        if self._model is None:
            if not 1 <= dimension <= MAX_DIMENSION:
                said = f"makes vectors of {dimension} numbers, of {MAX_DIMENSION} at most: set embedding_dimension"
                raise self._failed(said, _REFUSED_S)
            self._model = VectorModel(self._endpoint.model, dimension)
        elif self._model.dimension != dimension:
            raise self._failed(
                f"answered with {dimension} numbers a vector instead of {self._model.dimension}:"
                " another model, or embedding_dimension is not what it makes",
                _RESTS_S,
            )
        return self._model

    def _told(self, said: str) -> str:
        host = httpx.URL(self._endpoint.url).netloc.decode()
        return f"the embedding endpoint at {host} {said}"


def _sound(text: str) -> str:
    """Half a character of UTF-16 is no JSON; and an empty text is refused by most."""
    return text.encode("utf-8", "replace").decode() or " "
