"""A disk that is full, under load: clear refusals, nothing corrupted, recovery without help.

    python -m bench.full_disk [--seconds 6] [--out FILE]

Runs in a small tmpfs of its own: mounted as root, or in a user namespace, or (only on a CI machine) through sudo.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.audit import close_books
from bench.durability import Ledger, Site
from bench.traffic import Crew, Hooks, Writer

_SIZE = "24m"
_INSIDE = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'


class NoTmpfs(Exception):  # noqa: N818 - named for what is missing
    """No way to mount a small file system here; the text says what was tried."""


@dataclass(slots=True)
class Outcome:
    """What a run saw; `problems` is empty when all went well."""

    seed: int
    acknowledged_events: int = 0
    acknowledged_while_full: int = 0
    refused_batches: int = 0
    refusal: str = ""
    hooks: int = 0
    hooks_refused: int = 0
    rows: int = 0
    seconds_to_recover: float = 0.0
    seconds_to_recover_after_kill: float = 0.0
    problems: list[str] = field(default_factory=list)

    def expect(self, what: str, *, true: object) -> None:
        """Note a problem unless `true`."""
        if not true:
            self.problems.append(what)


class Full:
    """One run on the file system around `folder`, which must be small and otherwise empty."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.site = Site(folder)
        self.ballast = folder / "ballast"
        self.ledger = Ledger()
        self.outcome = Outcome(seed)
        self.writers = [
            Writer(self.site, self.ledger, seed + n, most=4, pause=0.2) for n in range(3)
        ]
        self.hooks = Hooks(self.site, self.ledger, seed + 50, pause=0.05)
        self.crew = Crew(*self.writers, self.hooks)

    def run(self, seconds: float) -> Outcome:
        """Fill the disk under load for `seconds`, free it; again, with the worker killed meanwhile."""
        with self.site:
            before = self.site.start()
            with self.crew:
                self._fill_and_free(seconds)
                after = self.site.ready()
                self.outcome.expect("the worker went down", true=after.pid == before.pid)
                self._fill_kill_and_free(after.pid)
            self._judge()
        return self.outcome

    def _fill_and_free(self, seconds: float) -> None:
        self.crew.until(lambda: len(self.ledger.acknowledged) > 30 and self.hooks.ended > 5, "load")
        self.fill()
        known = len(self.ledger.acknowledged)
        self.crew.until(lambda: self._refusals() > 3, "refusals of a full disk")
        self.crew.until(lambda: self._status() == "degraded", "a health report that says so")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.fill()  # what was freed by a checkpoint goes too
            time.sleep(0.1)
        self.crew.until(
            lambda: self.ledger.notes, "a hook that says that it could not keep an event"
        )
        self.outcome.acknowledged_while_full = len(self.ledger.acknowledged) - known
        self.outcome.seconds_to_recover = self._free()

    def _fill_kill_and_free(self, worker: int | None) -> None:
        self.fill()
        refused = self._refusals()
        self.crew.until(lambda: self._refusals() > refused, "refusals of a full disk")
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        until = time.monotonic() + 3
        while time.monotonic() < until:
            time.sleep(0.1)
        self.outcome.seconds_to_recover_after_kill = self._free()

    def _free(self) -> float:
        """Free the disk; seconds until the API takes events and says that it is well."""
        answered = [writer.answered for writer in self.writers]
        started = time.monotonic()
        self.ballast.unlink()

        def well() -> bool:
            moved = all(w.answered > n for w, n in zip(self.writers, answered, strict=True))
            return moved and self._status() == "healthy"

        self.crew.until(well, "recovery by itself")
        return round(time.monotonic() - started, 2)

    def fill(self) -> None:
        """Take all the space there is."""
        handle = os.open(self.ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for size in (1 << 20, 1 << 16, 1 << 12, 1):
                with contextlib.suppress(OSError):  # full: that is what is wanted
                    while True:
                        os.write(handle, b"\0" * size)
        finally:
            os.close(handle)

    def _refusals(self) -> int:
        return sum(len(writer.refusals) for writer in self.writers)

    def _status(self) -> str:
        report = self.site.health()
        return "" if report is None else str(report.get("status", report))

    def _judge(self) -> None:
        outcome, ledger = self.outcome, self.ledger
        found = close_books(self.site, ledger, spots=30)
        outcome.problems += found.problems
        outcome.rows = found.rows
        refusals = [refusal for writer in self.writers for refusal in writer.refusals]
        outcome.refused_batches = len(refusals)
        full = [refusal for refusal in refusals if refusal.code == "STORE_FULL"]
        outcome.expect("no refusal was STORE_FULL", true=full)
        outcome.expect("a refusal without Retry-After", true=all(r.retry_after for r in refusals))
        outcome.refusal = full[0].message if full else ""
        outcome.acknowledged_events = len(ledger.acknowledged)
        outcome.hooks, outcome.hooks_refused = self.hooks.ended, len(ledger.notes)


@contextlib.contextmanager
def _mounted(command: list[str], unmount: list[str]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cmf-"))
    try:
        done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NoTmpfs(done.stderr.strip())
        try:
            yield folder
        finally:
            subprocess.run([*unmount, str(folder)], check=True)
    finally:
        folder.rmdir()


def run(seconds: float, seed: int) -> dict[str, Any]:
    """A run in a tmpfs of its own, as JSON. Raises NoTmpfs."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE},mode=0777", "tmpfs"]
    tried = []
    if os.geteuid() == 0:
        try:
            with _mounted(mount, ["umount"]) as folder:
                return asdict(Full(folder, seed).run(seconds))
        except NoTmpfs as error:
            tried.append(f"mount: {error}")
    try:
        return _in_namespace(seconds, seed)
    except NoTmpfs as error:
        tried.append(f"unshare: {error}")
    if os.environ.get("CI") == "true":
        try:
            with _mounted(["sudo", "-n", *mount], ["sudo", "-n", "umount"]) as folder:
                return asdict(Full(folder, seed).run(seconds))
        except (NoTmpfs, FileNotFoundError) as error:
            tried.append(f"sudo: {error}")
    raise NoTmpfs("; ".join(tried))


def _in_namespace(seconds: float, seed: int) -> dict[str, Any]:
    """This module again, where a user may mount; what it mounts is gone when it ends."""
    folder = Path(tempfile.mkdtemp(prefix="cmf-"))
    again = [sys.executable, "-m", "bench.full_disk", "--folder", str(folder)]
    options = ["--seconds", str(seconds), "--seed", str(seed)]
    try:
        probe = subprocess.run(
            ["unshare", "-rm", "sh", "-c", _INSIDE, "sh", _SIZE, str(folder), "true"],
            capture_output=True,
            text=True,
            check=False,
        )
        if probe.returncode != 0:
            raise NoTmpfs(probe.stderr.strip())
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", _INSIDE, "sh", _SIZE, str(folder), *again, *options],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise NoTmpfs(str(error)) from error
    finally:
        folder.rmdir()
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def main() -> int:
    """The command line; 1 when something went wrong."""
    parser = argparse.ArgumentParser(description="A full disk under load.")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, help="a small file system that is mounted already")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seed = secrets.randbelow(1 << 31) if options.seed is None else options.seed
    inside = options.folder is not None
    full = asdict(Full(options.folder, seed).run(options.seconds)) if inside else None
    outcome = full or run(options.seconds, seed)
    report = json.dumps(outcome, indent=2)
    print(report)
    if options.out:
        options.out.write_text(report + "\n", encoding="utf-8")
    return 1 if outcome["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
