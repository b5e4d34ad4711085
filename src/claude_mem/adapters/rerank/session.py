"""The loaded cross-encoder. Importing this loads numpy, the tokenizer and ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MAX_TOKENS: Final = 512
_BATCH: Final = 8
_ERROR: Final = 3
_BINARY: Final = 2  # logits of a text that does not fit, and of one that does


class Session:
    """A graph that reads question and text together, and its tokenizer. For one thread at a time."""

    def __init__(self, graph: Path, tokenizer: Path, threads: int) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(MAX_TOKENS, strategy="longest_first")
        self._tokenizer.no_padding()
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERROR
        options.enable_cpu_mem_arena = False  # memory of the longest batch would be kept for ever
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._wanted = {it.name for it in self._session.get_inputs()}
        unknown = self._wanted - {"input_ids", "attention_mask", "token_type_ids"}
        if unknown or "input_ids" not in self._wanted:
            raise ValueError(f"no cross-encoder: its inputs are {', '.join(sorted(self._wanted))}")

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """A score a text, in their order. Raises ValueError for a graph that gives none."""
        pairs = [self._tokenizer.encode(_sound(query), _sound(text)) for text in texts]
        # Like lengths together need the least padding.
        order = sorted(range(len(pairs)), key=lambda place: len(pairs[place].ids))
        found = [0.0] * len(pairs)
        for start in range(0, len(order), _BATCH):
            places = order[start : start + _BATCH]
            for place, score in zip(places, self._batch([pairs[it] for it in places]), strict=True):
                found[place] = score
        return found

    def _batch(self, pairs: Sequence[Any]) -> list[float]:
        shape = (len(pairs), max(1, *(len(it.ids) for it in pairs)))
        names = {
            "input_ids": "ids",
            "attention_mask": "attention_mask",
            "token_type_ids": "type_ids",
        }
        given = {}
        for name in self._wanted:
            values = np.zeros(shape, np.int64)
            for row, pair in enumerate(pairs):
                values[row, : len(pair.ids)] = getattr(pair, names[name])
            given[name] = values
        logits = np.asarray(self._session.run(None, given)[0], np.float32)
        logits = logits.reshape(len(pairs), -1)
        if logits.shape[1] == _BINARY:
            return [float(it) for it in logits[:, 1] - logits[:, 0]]
        if logits.shape[1] != 1:
            raise ValueError(f"no cross-encoder: it gives {logits.shape[1]} numbers a text")
        return [float(it) for it in logits[:, 0]]


def _sound(text: str) -> str:
    """Half a character of UTF-16 is no text for the tokenizer."""
    return text.encode("utf-8", "replace").decode()
