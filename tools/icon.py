"""`python -m tools.icon`: draws the plugin's icon, a PNG of 512 by 512 pixels, with the standard library.

Three lines of a page, the last one shorter, and the mark of the one that is being recalled.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

SIZE = 512
TARGET = Path("src/claude_mem/assets/plugin/.claude-plugin/icon.png")
GROUND, PAPER, MARK = (31, 41, 55), (243, 244, 246), (245, 158, 11)
# x, y, width, height, colour; every bar has round ends
BARS = (
    (112, 136, 288, 48, PAPER),
    (112, 232, 48, 48, MARK),
    (184, 232, 216, 48, MARK),
    (112, 328, 192, 48, PAPER),
)


def pixel(x: int, y: int) -> tuple[int, int, int]:
    """The colour at a place."""
    for left, top, width, height, colour in BARS:
        radius = height / 2
        middle = min(max(x + 0.5, left + radius), left + width - radius)
        if (x + 0.5 - middle) ** 2 + (y + 0.5 - top - radius) ** 2 <= radius**2:
            return colour
    return GROUND


def pixels() -> bytes:
    """The rows from the top, each led by the filter type 0 (PNG, section 9)."""
    rows = (b"\0" + bytes(part for x in range(SIZE) for part in pixel(x, y)) for y in range(SIZE))
    return b"".join(rows)


def render() -> bytes:
    """The file: signature, header, one data chunk, end (PNG, section 5)."""
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels(), 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_bytes(render())
