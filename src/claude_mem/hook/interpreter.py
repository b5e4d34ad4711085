"""Which Python runs the hook, and whether it does.

The hook outlives the environment that installed it, so an interpreter outside of that environment
is chosen, by its own account of where it is (a version manager's shim would cost 50 ms a call), and
tried on a real event in a private folder before anything points to it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from claude_mem.hook.bundle import write_hook
from claude_mem.hook.settings_file import handler
from claude_mem.hook.spool import SpoolLine, read, take

OLDEST = (3, 11)
_PATIENCE = 30.0  # seconds for an interpreter to start; a cold disk is slow
_PROBE = "import sys; print(sys.executable); print(*sys.version_info[:2])"
# Masking must have eaten it, or the interpreter cannot run our patterns.
_CANARY = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


class NoInterpreterError(Exception):
    """No Python on this machine can run the hook; the text lists what was tried and why not."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that ran the hook. `lasting` is False when it goes away with this environment."""

    path: str
    version: tuple[int, int]
    lasting: bool


def choose(candidates: Iterable[str] | None = None) -> Interpreter:
    """The first candidate new enough that records an event masked. Raises NoInterpreterError."""
    tried: list[str] = []
    for candidate in dict.fromkeys(default_candidates() if candidates is None else candidates):
        try:
            found = _look_at(candidate)
            _try_hook(found.path)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            tried.append(f"{candidate}: {error}")
        else:
            return found
    raise NoInterpreterError("no Python can run the hook; tried " + "; ".join(tried))


def default_candidates() -> Iterator[str]:
    """Interpreters outside this virtual environment first, this one last."""
    base = getattr(sys, "_base_executable", None)
    if base:
        yield str(base)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for name in (version, "python3"):
        yield os.path.join(sys.base_prefix, "bin", name)
    outside = [part for part in os.get_exec_path() if not _is_inside(part, sys.prefix)]
    search = os.pathsep.join([*outside, "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"])
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name, path=search)
        if found:
            yield found
    yield sys.executable


def _look_at(candidate: str) -> Interpreter:
    """Ask an interpreter who it is. Raises OSError, ValueError or SubprocessError."""
    if not os.path.isfile(candidate):
        raise ValueError("not there")
    done = subprocess.run(
        [candidate, "-I", "-S", "-c", _PROBE],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    path, version_text = done.stdout.splitlines()
    major, minor = map(int, version_text.split())
    if (major, minor) < OLDEST:
        raise ValueError(f"is {major}.{minor}, {OLDEST[0]}.{OLDEST[1]} is needed")
    in_environment = sys.prefix != sys.base_prefix and _is_inside(path, sys.prefix)
    return Interpreter(path, (major, minor), lasting=not in_environment)


def _try_hook(python: str) -> None:
    """Let `python` spool one event with a secret in it. Raises ValueError when that goes wrong."""
    with tempfile.TemporaryDirectory(prefix="claude-mem-") as name:
        folder = Path(name)
        one = handler(python, str(write_hook(folder)), "PostToolUse")
        done = subprocess.run(
            [one["command"], *one["args"]],
            input=json.dumps({"session_id": "self-test", "text": f"token={_CANARY}"}).encode(),
            capture_output=True,
            timeout=_PATIENCE,
            env={},
            cwd=name,
            check=True,
        )
        lines = [line for path in take(folder / "spool") for line in read(path)]
        if len(lines) != 1 or not isinstance(lines[0], SpoolLine) or done.stderr:
            raise ValueError(
                f"does not run the hook: {done.stderr.decode(errors='replace')[-200:]}"
            )
        if lines[0].payload is None or _CANARY in str(lines[0].payload):
            raise ValueError("does not mask")


def _is_inside(path: str, folder: str) -> bool:
    return os.path.abspath(path).startswith(os.path.abspath(folder) + os.sep)
