"""A cross-encoder on this machine: a folder with `model.onnx` and `tokenizer.json`, as sentence models are published.

None is shipped. Loaded when it is first used, on a thread of its own: never on the event loop. What would not load is
not tried again until its files change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from claude_mem.kernel.errors import Unavailable

if TYPE_CHECKING:
    from claude_mem.adapters.rerank.session import Session

GRAPH: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
_log = structlog.get_logger("rerank")


class OnnxReranker:
    """Implements `ports.reranker.Reranker`."""

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._folder, self._threads = folder, threads
        self._session: Session | None = None
        self._failed: tuple[tuple[int, ...], str] | None = None  # of which files, and why
        self._thread = ThreadPoolExecutor(1, "rerank")
        self._closed = False

    async def rerank(self, query: str, texts: Sequence[str]) -> list[float]:
        """See the port. Work that nobody waits for any more is not begun."""
        if self._closed:
            raise Unavailable("the reranker was put away: the program is stopping")
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._scores, query, list(texts))

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)
        self._session = None

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        if self._session is None:
            self._session = self._load()
        try:
            return self._session.scores(query, texts)
        except (
            Exception
        ) as error:  # the libraries raise types of their own, which are not loaded here
            raise Unavailable(
                f"the reranker cannot read with its graph ({type(error).__name__})"
            ) from error

    def _load(self) -> Session:
        files = [self._folder / name for name in (GRAPH, TOKENIZER)]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise Unavailable(
                f"rerank_folder has no {' and no '.join(missing)}: put a cross-encoder there, or set rerank=off"
            )
        stamp = tuple(file.stat().st_mtime_ns for file in files)
        if self._failed is not None and self._failed[0] == stamp:
            raise Unavailable(self._failed[1])
        try:
            # Loaded here and not with the program, which mostly reranks nothing.
            from claude_mem.adapters.rerank.session import Session

            session = Session(files[0], files[1], self._threads)
        except Exception as error:  # the same
            fault = f"the reranker cannot be loaded from rerank_folder ({type(error).__name__}: {error})"
            self._failed = (stamp, fault)
            _log.exception("rerank.not_loaded")
            raise Unavailable(fault) from error
        _log.info("rerank.loaded", folder=str(self._folder))
        return session
