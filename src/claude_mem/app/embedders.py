"""Picks what makes vectors, by settings; and brings, looks at and removes the model on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from claude_mem.adapters.local.memory import release
from claude_mem.adapters.local.query_vectors import QueryVectors
from claude_mem.adapters.onnx.embedder import OnnxEmbedder
from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import NAME, Precision
from claude_mem.app.embedding_settings import EmbeddingSettings
from claude_mem.app.server_settings import ServerSettings
from claude_mem.app.settings import Settings
from claude_mem.hook.home import default_home
from claude_mem.ports.embedder import Embedder

if TYPE_CHECKING:
    from claude_mem.adapters.onnx.install import Installed
    from claude_mem.adapters.onnx.sources import Say


def make_embedder(settings: Settings | ServerSettings) -> Embedder | None:
    """What makes vectors; None where that is switched off. Loads and connects nothing yet."""
    by = settings.embedding_by
    if by == "off":
        return None
    return QueryVectors(_endpoint(settings) if by == "endpoint" else _local(settings))


def model_folder(settings: Settings | ServerSettings) -> ModelFolder:
    """Where this machine's model is, or would be."""
    if settings.embedding_folder:
        return ModelFolder(Path(settings.embedding_folder).expanduser().absolute())
    home = settings.home if isinstance(settings, Settings) else default_home()
    return ModelFolder(home / "models")


def precision_of(settings: EmbeddingSettings) -> Precision:
    """The precision that is used."""
    return cast("Precision", settings.embedding_precision)


def install_model(
    settings: Settings | ServerSettings,
    say: Say,
    *,
    precisions: Sequence[Precision] = (),
    folder: Path | None = None,
    force: bool = False,
    keep: bool = False,
) -> Installed:
    """Have the model here: from `folder`, or from wherever it can be had. Raises Unavailable saying why it cannot."""
    # These load an HTTP client, and what they call numpy and onnx: nothing but an installation needs them.
    from claude_mem.adapters.onnx.install import install
    from claude_mem.adapters.onnx.sources import FolderSource, everywhere

    sources = everywhere(os.environ) if folder is None else [FolderSource(folder)]
    wanted = precisions or (precision_of(settings),)
    return install(model_folder(settings), wanted, sources, say, force=force, keep=keep)


@dataclass(frozen=True, slots=True)
class ModelState:
    """The model on this machine. `fault` is empty when it is sound, by SHA-256."""

    path: Path
    precision: Precision
    precisions: tuple[Precision, ...]
    bytes: int
    fault: str
    installed: bool  # there is something, sound or not
    provider: str  # what makes vectors by the settings

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": NAME,
            "path": str(self.path),
            "provider": self.provider,
            "precision": self.precision,
            "precisions": list(self.precisions),
            "bytes": self.bytes,
            "installed": self.installed,
            "sound": not self.fault,
            "fault": self.fault or None,
        }


def model_state(settings: Settings | ServerSettings) -> ModelState:
    """Reads the files whole: some 20 ms for int8."""
    folder, precision = model_folder(settings), precision_of(settings)
    return ModelState(
        path=folder.path,
        precision=precision,
        precisions=folder.precisions(),
        bytes=folder.bytes(),
        fault=folder.thorough_fault(precision),
        installed=folder.path.exists(),
        provider=settings.embedding_by,
    )


def remove_model(settings: Settings | ServerSettings) -> bool:
    """Take the model away; False when there was none. A running worker keeps what it has loaded until it rests.

    Raises OSError where it may not be taken away.
    """
    return model_folder(settings).remove()


def _local(settings: Settings | ServerSettings) -> Embedder:
    return OnnxEmbedder(
        model_folder(settings),
        precision_of(settings),
        threads=settings.embedding_threads,
        released=release,
    )


def _endpoint(settings: EmbeddingSettings) -> Embedder:
    # Loads an HTTP client, which who has a model on this machine does not need.
    from claude_mem.adapters.endpoint.embedder import Endpoint, EndpointEmbedder

    return EndpointEmbedder(
        Endpoint(
            url=settings.embedding_url,
            model=settings.embedding_model,
            key=settings.embedding_key,
            key_header=settings.embedding_key_header,
            dimension=settings.embedding_dimension,
            query_prefix=settings.embedding_query_prefix,
            document_prefix=settings.embedding_document_prefix,
            batch=settings.embedding_batch,
            concurrency=settings.embedding_concurrency,
            timeout_s=float(settings.embedding_timeout),
        )
    )
