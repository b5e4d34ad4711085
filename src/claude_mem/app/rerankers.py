"""Picks what reranks, by settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from claude_mem.app.rerank_settings import ModelSettings
from claude_mem.domains.retrieval.hits import text_of
from claude_mem.domains.retrieval.model import Hit
from claude_mem.domains.retrieval.reranking import Rerank, Reranked, rerank_top
from claude_mem.ports.embedder import Embedder
from claude_mem.ports.reranker import Reranker


def make_reranker(settings: ModelSettings) -> Reranker | None:
    """What reranks; None where it is switched off. Loads and connects nothing yet."""
    if settings.rerank == "local":
        from claude_mem.adapters.rerank.onnx import OnnxReranker

        folder = Path(settings.rerank_folder).expanduser().absolute()
        return OnnxReranker(folder, threads=settings.embedding_threads)
    if settings.rerank == "endpoint":
        from claude_mem.adapters.rerank.endpoint import EndpointReranker, RerankEndpoint

        return EndpointReranker(
            RerankEndpoint(
                url=settings.rerank_url,
                model=settings.rerank_model,
                key=settings.rerank_key,
                timeout_s=settings.rerank_deadline_ms / 1000,
            )
        )
    return None


def rerank_with(reranker: Reranker | None, settings: ModelSettings) -> Rerank | None:
    """What a search takes to rerank; None where nothing does."""
    if reranker is None:
        return None
    deadline_s = settings.rerank_deadline_ms / 1000

    async def rerank(question: str, hits: Sequence[Hit]) -> Reranked[Hit]:
        return await rerank_top(
            reranker, question, hits, lambda hit: text_of(hit.row), deadline_s=deadline_s
        )

    return rerank


async def close_models(*models: Embedder | Reranker | None) -> None:
    """Let go of those that there are."""
    for model in models:
        if model is not None:
            await model.close()
