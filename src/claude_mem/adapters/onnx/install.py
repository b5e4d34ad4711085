"""Brings the model: fetches its files, compares them with their pins, builds the graphs, tries them, keeps them.

Nothing that was not compared is read by any library, and nothing replaces a folder's files before it was tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_mem.adapters.onnx.folder import ModelFolder, sha256_of
from claude_mem.adapters.onnx.pinned import NAME, PINS, REVISION, TOKENIZER, WEIGHTS, Precision
from claude_mem.adapters.onnx.sources import FolderSource, NotThere, Say, Source
from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.vectors import unpack

_WORK: Final = ".bringing-"
# Two sentences and their cosine by the reference implementation; whole numbers come within a few hundredths.
TRIED: Final = ("A man is eating food.", "A man is eating a piece of bread.")
TRIED_COSINE: Final = 0.755
_TOLERANCE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Installed:
    """What `install` did: `source` is None where everything was sound already."""

    source: str | None
    precisions: tuple[Precision, ...]
    passed_over: tuple[str, ...] = ()  # sources that could not give the files, and why


def install(
    folder: ModelFolder,
    precisions: Sequence[Precision],
    sources: Iterable[Source],
    say: Say,
    *,
    force: bool = False,
    keep: bool = False,
) -> Installed:
    """Have the model in these precisions, from the first source that can give it; what is sound stays as it is.

    With `keep` the weights stay beside the graphs, and are the first source of another precision.
    Raises Unavailable naming every source and why it could not.
    """
    missing = [it for it in precisions if force or folder.thorough_fault(it)]
    if (folder.path / WEIGHTS.name).exists():
        sources = [FolderSource(folder.path), *sources]
    if not missing:
        return Installed(None, tuple(precisions))
    with _work_folder(folder.path.parent) as work:
        source, failed = _fetched(sources, work, say)
        names = PINS if keep else (TOKENIZER,)
        files = {it.name: (work / it.name).read_bytes() for it in names}
        for done, precision in enumerate(missing):
            say("Building", done, len(missing))
            graph = _built(work / WEIGHTS.name, precision)
            (work / "tried.onnx").write_bytes(graph)
            _try(work / "tried.onnx", work / TOKENIZER.name)
            files[folder.graph(precision).name] = graph
        folder.keep(files, _about())
        say("Building", len(missing), len(missing))
    return Installed(source, tuple(missing), tuple(failed))


def _fetched(sources: Iterable[Source], work: Path, say: Say) -> tuple[str, list[str]]:
    failed: list[str] = []
    for source in sources:
        try:
            source.fetch(work, say)
        except (NotThere, OSError) as error:
            failed.append(f"{source.name}: {error}")
            continue
        wrong = [pin.name for pin in PINS if sha256_of(work / pin.name) != pin.sha256]
        if not wrong:
            return source.name, failed
        failed.append(
            f"{source.name}: {' and '.join(wrong)} is not the file that was published (its SHA-256 is another)"
        )
    raise Unavailable(f"the model {NAME} could not be brought. " + "; ".join(failed))


def _built(weights: Path, precision: Precision) -> bytes:
    # These load numpy and onnx, which nothing but an installation needs.
    from safetensors.numpy import load_file

    from claude_mem.adapters.onnx.graph import build

    return build(load_file(weights), int8=precision == "int8")


def _try(graph: Path, tokenizer: Path) -> None:
    """Raises Unavailable where this machine does not get from it what the reference does."""
    from claude_mem.adapters.onnx.session import Session

    session = Session(graph, tokenizer, 1)
    one, other = (unpack(it) for it in session.vectors([session.tokens(text) for text in TRIED]))
    cosine = sum(a * b for a, b in zip(one, other, strict=True))
    if not abs(cosine - TRIED_COSINE) <= _TOLERANCE:
        raise Unavailable(
            f"the model computes wrongly on this machine (a cosine of {cosine:.3f} instead of {TRIED_COSINE}):"
            " report this, with the processor's name"
        )


def _about() -> dict[str, Any]:
    return {"model": NAME, "revision": REVISION, "made_from": {it.name: it.sha256 for it in PINS}}


@contextmanager
def _work_folder(models: Path) -> Iterator[Path]:
    """A folder beside the models, which goes again; so does what an installation left that was killed."""
    models.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in models.glob(f"{_WORK}*"):
        if _is_over(left):
            shutil.rmtree(left, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f"{_WORK}{os.getpid()}-", dir=models))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_over(folder: Path) -> bool:
    """Whether the process that made a work folder has ended."""
    try:
        os.kill(int(folder.name.removeprefix(_WORK).partition("-")[0]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, PermissionError):
        return False
    return False
