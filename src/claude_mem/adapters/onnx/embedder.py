"""The local model as an embedder: loaded when it is first used, on threads of its own, and let go of when it rests.

Documents and questions have a thread each, so a question waits for no document; ONNX Runtime lets both work at once.
Must never work on the event loop: a text of 256 tokens takes tens of milliseconds.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import DIMENSION, Precision, model_name
from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.embedder import EmbedderState
from claude_mem.ports.vectors import VectorModel

if TYPE_CHECKING:
    from claude_mem.adapters.onnx.session import Session

REST_S: Final = 300.0
_BATCH_TEXTS: Final = 8  # more cost memory and gain nothing
# Of a batch, padding too: long texts gain nothing from company.
_BATCH_TOKENS: Final = 256
_Given = TypeVar("_Given")
_Made = TypeVar("_Made")
_log = structlog.get_logger("embedding")


class OnnxEmbedder:
    """all-MiniLM-L6-v2 from a folder.

    `released` gives memory back to the system: called after the model was loaded, and after it was let go of.
    """

    def __init__(
        self,
        folder: ModelFolder,
        precision: Precision,
        *,
        threads: int = 1,
        rest_s: float = REST_S,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._precision, self._threads = folder, precision, threads
        self._rest_s, self._released = rest_s, released
        self._model = VectorModel(model_name(precision), DIMENSION)
        self._loading = threading.Lock()
        self._session: Session | None = None
        self._failed: tuple[tuple[int, ...], str] | None = None  # of which files, and why
        self._documents = ThreadPoolExecutor(1, "embed-documents")
        self._questions = ThreadPoolExecutor(1, "embed-questions")
        self._working = 0
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._session is not None

    def state(self) -> EmbedderState:
        """Ready when its files look sound; what would not load is not ready until they change."""
        reason = self._reason()
        return EmbedderState(self._model, ready=not reason, reason=reason)

    async def documents(self, texts: Sequence[str]) -> list[bytes]:
        """Vectors in the order of the texts; made in batches of like lengths."""
        found: list[bytes] = [b""] * len(texts)
        with self._in_use():
            tokens = await self._on(self._documents, self._tokens, list(texts))
            for batch in batches([len(it) for it in tokens]):
                some = [tokens[place] for place in batch]
                vectors = await self._on(self._documents, self._vectors, some)
                for place, vector in zip(batch, vectors, strict=True):
                    found[place] = vector
        return found

    async def query(self, text: str) -> bytes:
        """On a thread of its own: documents that wait, wait on."""
        with self._in_use():
            return await self._on(self._questions, self._one, text)

    async def close(self) -> None:
        """What is being worked on ends; what waits is not begun."""
        self._closed = True
        if self._resting is not None:
            self._resting.cancel()
        for threads in (self._documents, self._questions):
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)
        self._session = None

    # -- on threads -------------------------------------------------------------------------------

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        session = self._loaded()
        return [session.tokens(text) for text in texts]

    def _vectors(self, batch: list[list[int]]) -> list[bytes]:
        return self._loaded().vectors(batch)

    def _one(self, text: str) -> bytes:
        session = self._loaded()
        return session.vectors([session.tokens(text)])[0]

    def _loaded(self) -> Session:
        with self._loading:
            if self._session is None:
                self._session = self._load()
            return self._session

    def _load(self) -> Session:
        stamp = self._folder.stamp(self._precision)
        fault = self._reason() or self._folder.thorough_fault(self._precision)
        if fault:
            self._failed = (stamp, fault)
            raise Unavailable(fault)
        began = time.perf_counter()
        try:
            # Loaded here and not with the program, which mostly needs none of it.
            from claude_mem.adapters.onnx.session import Session

            graph = self._folder.graph(self._precision)
            session = Session(graph, self._folder.tokenizer, self._threads)
        except (
            Exception
        ) as error:  # the libraries raise types of their own, which are not loaded here
            fault = f"the model cannot be loaded ({type(error).__name__}: {error}): claude-mem model install --force"
            self._failed = (stamp, fault)
            _log.exception("embedding.not_loaded", precision=self._precision)
            raise Unavailable(fault) from error
        self._released()  # a copy of the file is left of reading it
        took = round((time.perf_counter() - began) * 1000)
        _log.info("embedding.loaded", model=self._model.name, took_ms=took)
        return session

    def _let_go(self) -> None:
        with self._loading:
            if self._session is None or self._working:
                return
            self._session = None
        self._released()
        _log.info("embedding.let_go", model=self._model.name)

    # -- on the event loop ------------------------------------------------------------------------

    async def _on(
        self, threads: ThreadPoolExecutor, work: Callable[[_Given], _Made], given: _Given
    ) -> _Made:
        if self._closed:
            raise Unavailable("the embedding model was put away: the program is stopping")
        return await asyncio.get_running_loop().run_in_executor(threads, work, given)

    def _reason(self) -> str:
        fault = self._folder.fault(self._precision)
        if not fault and self._failed is not None:
            stamp, why = self._failed
            fault = why if stamp == self._folder.stamp(self._precision) else ""
        return fault

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """The model is not let go of meanwhile; its rest begins after the last that uses it."""
        if self._resting is not None:
            self._resting.cancel()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1
            if not self._working and not self._closed:
                loop = asyncio.get_running_loop()
                # Giving memory back to the system takes longer than an event loop should wait.
                self._resting = loop.call_later(self._rest_s, self._documents.submit, self._let_go)


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts that are worked on together, the shortest first: like lengths need the least padding."""
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        tokens = (len(batch) + 1) * lengths[place]
        if batch and (len(batch) == _BATCH_TEXTS or tokens > _BATCH_TOKENS):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
