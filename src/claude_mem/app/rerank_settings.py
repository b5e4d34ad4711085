"""Settings of what reranks, the same in both profiles; off unless it is asked for. One of them is a key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from claude_mem.app.embedding_settings import EmbeddingSettings, is_address

CHOICES: Final[dict[str, tuple[str, ...]]] = {"rerank": ("off", "local", "endpoint")}
RANGES: Final = {"rerank_deadline_ms": (50, 30_000)}
SECRET: Final = frozenset({"rerank_key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings(EmbeddingSettings):
    """What makes vectors, and what reranks: `local` a cross-encoder in a folder, `endpoint` one elsewhere."""

    rerank: str = "off"
    rerank_folder: str = ""  # with model.onnx and tokenizer.json
    rerank_url: str = ""
    rerank_model: str = ""  # empty: the endpoint has but one
    rerank_key: str = field(default="", repr=False)
    rerank_deadline_ms: int = 1_500  # a search waits no longer


def wrong(settings: ModelSettings) -> tuple[str, str] | None:
    """A setting that does not go with the others, and what is expected of it; repeats no value."""
    if settings.rerank == "local" and not settings.rerank_folder:
        return "rerank_folder", "is needed: a folder with model.onnx and tokenizer.json"
    if settings.rerank == "endpoint" and not is_address(settings.rerank_url):
        return "rerank_url", "expected the endpoint's address, without a user or password in it"
    if not (settings.rerank_key.isascii() and settings.rerank_key.isprintable()):
        return "rerank_key", "expected one line of ASCII characters"
    return None
