"""The model's own folder: a graph a precision, the tokenizer, and a manifest that says what they must be.

The manifest is written last, so a folder without one was never finished. What it names is compared by size when
somebody asks whether the model is there (often), and by SHA-256 before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_mem.adapters.onnx.pinned import NAME, PRECISIONS, TOKENIZER, Precision

_MANIFEST: Final = "manifest.json"
_BLOCK: Final = 1 << 20
INSTALL: Final = "claude-mem model install"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the manifest has it."""

    sha256: str
    bytes: int


class ModelFolder:
    """`models/all-MiniLM-L6-v2` below a folder of models."""

    def __init__(self, models: Path) -> None:
        self.path = models / NAME
        # Of which manifest, and what it said.
        self._read: tuple[tuple[int, int, int], Mapping[str, Entry]] | None = None

    @property
    def tokenizer(self) -> Path:
        """What cuts a text into tokens."""
        return self.path / TOKENIZER.name

    def graph(self, precision: Precision) -> Path:
        """The graph of one precision."""
        return self.path / f"model-{precision}.onnx"

    def precisions(self) -> tuple[Precision, ...]:
        """Those whose graph the manifest names."""
        names = self.manifest() or {}
        return tuple(it for it in PRECISIONS if self.graph(it).name in names)

    def fault(self, precision: Precision) -> str:
        """Why it cannot be used, and the way out; empty when it looks sound. Looks at sizes only."""
        named = self.manifest()
        if named is None:
            if not self.path.exists():
                return f"the model {NAME} is not installed: {INSTALL}"
            return f"the model in {self.path} was not written to its end: {INSTALL}"
        for path in (self.graph(precision), self.tokenizer):
            entry = named.get(path.name)
            if entry is None:
                return f"the model {NAME} is not installed in {precision}: {INSTALL} --precision {precision}"
            if _size(path) != entry.bytes:
                return _damaged(path)
        return ""

    def thorough_fault(self, precision: Precision) -> str:
        """The same by SHA-256: some 20 ms for int8."""
        fault = self.fault(precision)
        named = self.manifest() or {}
        for path in () if fault else (self.graph(precision), self.tokenizer):
            if sha256_of(path) != named[path.name].sha256:
                return _damaged(path)
        return fault

    def stamp(self, precision: Precision) -> tuple[int, ...]:
        """Changes when the files do: what failed to load is tried again then."""
        return tuple(
            part
            for path in (self.path / _MANIFEST, self.graph(precision), self.tokenizer)
            for part in _stamp(path)
        )

    def manifest(self) -> Mapping[str, Entry] | None:
        """The files it must have; None where there is no manifest, or one that cannot be read."""
        path = self.path / _MANIFEST
        try:
            # A search asks several times whether the model is there: it is read again when another file lies there.
            found = path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._read is None or self._read[0] != seen:
                files = json.loads(path.read_bytes())["files"]
                named = {it: Entry(str(of["sha256"]), int(of["bytes"])) for it, of in files.items()}
                self._read = seen, named
            return self._read[1]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # gone, cut, or spoiled
            return None

    def keep(self, files: Mapping[str, bytes], about: Mapping[str, Any]) -> None:
        """Write files and then the manifest, each whole or not at all; what else it named and is sound stays."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        named = dict(self.manifest() or {})
        named = {name: it for name, it in named.items() if _size(self.path / name) == it.bytes}
        for name, content in files.items():
            write_whole(self.path / name, content)
            named[name] = Entry(hashlib.sha256(content).hexdigest(), len(content))
        told = {name: {"sha256": it.sha256, "bytes": it.bytes} for name, it in named.items()}
        text = json.dumps({**about, "files": told}, indent=2)
        write_whole(self.path / _MANIFEST, text.encode())

    def remove(self) -> bool:
        """Take it away; False when there was none. Raises OSError where it may not be."""
        if not self.path.exists():
            return False
        shutil.rmtree(self.path)
        return True

    def bytes(self) -> int:
        """What it takes on disk."""
        if not self.path.is_dir():
            return 0
        return sum(_size(path) or 0 for path in self.path.iterdir())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sha256_of(path: Path) -> str:
    """A file's hash; empty when it cannot be read."""
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError:
        return ""
    return found.hexdigest()


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)


def _damaged(path: Path) -> str:
    return f"{path} is damaged: {INSTALL} writes it anew"
