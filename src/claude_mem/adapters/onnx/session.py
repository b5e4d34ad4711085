"""The loaded model: texts in, vectors out. Importing this loads numpy, the tokenizer and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from claude_mem.adapters.onnx.pinned import MAX_TOKENS
from claude_mem.adapters.onnx.processor import adds_up_exactly

_MAX_CHARS: Final = 16_384  # no 256 tokens of any text reach that far, but for spaces
_ERROR: Final = 3


class Session:
    """One graph and its tokenizer. `vectors` may be called by several threads at once."""

    def __init__(self, graph: Path, tokenizer: Path, threads: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()
        onnxruntime.disable_telemetry_events()
        self._session = onnxruntime.InferenceSession(
            str(graph), _options(threads), providers=["CPUExecutionProvider"]
        )

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, at most MAX_TOKENS."""
        # Half a character of UTF-16 is no text for the tokenizer.
        sound = text[:_MAX_CHARS].encode("utf-8", "replace").decode()
        # One at a time: a batch would start a thread a core.
        found: list[int] = self._tokenizer.encode(sound).ids
        return found

    def vectors(self, batch: Sequence[Sequence[int]]) -> list[bytes]:
        """A vector of length 1 for each list of tokens, as little-endian 32-bit floats."""
        shape = (len(batch), max(map(len, batch)))
        ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        (found,) = self._session.run(["vectors"], {"input_ids": ids, "attention_mask": mask})
        return [row.astype("<f4").tobytes() for row in found]


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    # A number that is given is not bound to cores, which fails in containers.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    # Threads that wait for the next text would burn a core meanwhile.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not adds_up_exactly():
        # Others would add up past 16 bits: slower there, and right.
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options
