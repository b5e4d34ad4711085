"""Settings of what makes vectors, the same in both profiles. Must never be printed whole: one of them is a key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "embedding_provider": ("auto", "local", "endpoint", "off"),
    "embedding_precision": ("int8", "fp32"),
}
RANGES: Final = {
    "embedding_threads": (1, 64),
    "embedding_dimension": (0, 3_072),
    "embedding_batch": (1, 2_048),
    "embedding_concurrency": (1, 64),
    "embedding_timeout": (1, 600),
}
SECRET: Final = frozenset({"embedding_key"})
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingSettings:
    """`auto` is the endpoint where there is an address of one, else the model on this machine."""

    embedding_provider: str = "auto"
    embedding_precision: str = "int8"
    embedding_threads: int = 1
    embedding_folder: str = ""  # of models; empty: `models` in the data folder
    embedding_url: str = ""
    embedding_model: str = ""
    embedding_key: str = field(default="", repr=False)
    embedding_key_header: str = "Authorization"
    embedding_dimension: int = 0  # 0: what the model makes
    embedding_query_prefix: str = ""
    embedding_document_prefix: str = ""
    embedding_batch: int = 32  # texts a request
    embedding_concurrency: int = 2  # requests at once
    embedding_timeout: int = 30  # seconds a request

    @property
    def embedding_by(self) -> str:
        """What makes vectors: `local`, `endpoint` or `off`."""
        if self.embedding_provider != "auto":
            return self.embedding_provider
        return "endpoint" if self.embedding_url else "local"


def wrong(settings: EmbeddingSettings) -> tuple[str, str] | None:
    """A setting that does not go with the others, and what is expected of it; repeats no value."""
    if settings.embedding_by != "endpoint":
        return None
    if not is_address(settings.embedding_url):
        expected = "expected the endpoint's address, such as http://127.0.0.1:11434/v1"
        return "embedding_url", f"{expected}, without a user or password in it"
    if not settings.embedding_model:
        return "embedding_model", "is needed with an endpoint: the model's name there"
    if not _HEADER.fullmatch(settings.embedding_key_header):
        return "embedding_key_header", "expected a header's name, such as Authorization or api-key"
    if not (settings.embedding_key.isascii() and settings.embedding_key.isprintable()):
        return "embedding_key", "expected one line of ASCII characters"
    return None


def is_address(text: str) -> bool:
    """Whether it is the address of an endpoint, without a user or password in it."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
