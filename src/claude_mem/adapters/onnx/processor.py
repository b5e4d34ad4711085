"""What the processor can do, as far as it decides how the model is run.

Products of eight bits are added up in 32 where there are instructions for it; where not, pairs of them meet in 16, and
overflow with some weights. ONNX Runtime has a way around that, which it also takes where it need not: on processors
with matrix tiles (AMX) a text takes up to three times as long by it, for the very same vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_EXACT: Final = frozenset({"avx512_vnni", "avx_vnni"})
_CPUINFO: Final = Path("/proc/cpuinfo")


def adds_up_exactly(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether every processor is known to add up products of eight bits in 32; False where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    told = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return bool(told) and all(_EXACT.intersection(flags) for flags in told)
