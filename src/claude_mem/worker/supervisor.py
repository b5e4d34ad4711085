"""The supervisor's process: `python -m claude_mem.worker.supervisor --home DIR`.

Owns taking `supervisor.lock` (whoever has it keeps it, unless that is an older program), leaving
the caller's session, and becoming small. Never waits on its caller, never holds its pipes open.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from claude_mem import __version__
from claude_mem.worker.child import SUPERVISOR_FD
from claude_mem.worker.journal import Journal
from claude_mem.worker.layout import Layout
from claude_mem.worker.locks import Holder, ProcessLock, holder
from claude_mem.worker.signals import Signals
from claude_mem.worker.supervision import DEFAULT_MAX_RSS_MB, DRAIN_SECONDS, Supervisor, terminate
from claude_mem.worker.versions import is_older

_TAKE_OVER = DRAIN_SECONDS + 10.0
_SETTLED_FD = 3  # closed by the resident process when it is clear who has the lock


def supervise(
    home: Path,
    max_rss_mb: int,
    argv: Sequence[str],
    *,
    version: str = __version__,
    settled: Callable[[], None] = lambda: None,
) -> int:
    """The resident part: take the lock, or leave it to whoever has it (0), then run.

    `settled` is called as soon as it is clear who has the lock.
    """
    os.umask(0o077)
    files = Layout(home)
    files.logs.mkdir(exist_ok=True, mode=0o700)
    os.environ.pop(SUPERVISOR_FD, None)
    lock = ProcessLock(files.supervisor_lock, "supervisor", version)
    found = holder(files.supervisor_lock)
    taken = found is None and lock.acquire()
    settled()
    if not taken and not (found and _replace(found, lock, files, version)):
        return 0
    # Never released: it becomes free with the end of this process, so whoever waits for it knows.
    return Supervisor(
        home, argv, lock, waiter=Signals(), max_rss_mb=max_rss_mb, version=version
    ).run()


def _replace(found: Holder, lock: ProcessLock, files: Layout, version: str) -> bool:
    """Take the lock from an older program's supervisor; False when it is someone's who stays.

    A newer or equal one is left alone, so two never fight. Nor is it waited for: one that is being
    stopped is stopped because somebody wants nothing to run.
    """
    if not is_older(found.version, version):
        return False
    Journal(files.supervisor_log).write(
        "info",
        "supervisor.replacing",
        f"Replacing version {found.version}",
        old_pid=found.pid,
        version=version,
    )
    terminate(found)
    return lock.acquire(_TAKE_OVER)


def worker_argv(home: Path) -> list[str]:
    """The command of the real worker, with this interpreter and nothing imported from the current
    folder.
    """
    return [sys.executable, "-P", "-m", "claude_mem.app.serve", "--home", str(home)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, detach (or stay in the foreground) and supervise; an exit code."""
    import argparse  # not needed by the resident process

    parser = argparse.ArgumentParser(prog="claude_mem.worker.supervisor")
    parser.add_argument("--home", type=Path, required=True, help="the data folder")
    parser.add_argument("--foreground", action="store_true", help="stay attached (containers)")
    parser.add_argument(
        "--max-rss-mb",
        type=int,
        default=int(os.environ.get("CLAUDE_MEM_MAX_RSS_MB") or DEFAULT_MAX_RSS_MB),
    )
    parser.add_argument("command", nargs="*", help="what to supervise instead of the worker")
    options = parser.parse_args(arguments)
    home = options.home.expanduser().absolute()
    if not home.is_dir():  # a removed data folder is not brought back by a late supervisor
        parser.error(f"there is no data folder {home}")
    if (problem := _obstacle(home)) is not None:
        parser.error(problem)
    command = options.command or worker_argv(home)
    if options.foreground:
        return supervise(home, options.max_rss_mb, command)
    # Its end of file says that the new process holds the lock, or has left it to another: whoever
    # launched us may then rely on it, and a stop after this start finds somebody to stop.
    reader, writer = os.pipe()
    if os.fork() == 0:
        _detach(writer)
        _become_resident(home, options.max_rss_mb, command)
    os.close(writer)
    os.read(reader, 1)
    return 0


def _obstacle(home: Path) -> str | None:
    """Why nothing may be made in the data folder."""
    from claude_mem.worker.diagnosis import obstacle  # not needed by the resident process

    found = obstacle(Layout(home))
    return found.message if found is not None else None


def _detach(keep: int) -> None:
    """Leave the caller's session, terminal, pipes and folder; `keep` becomes descriptor 3."""
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if keep != _SETTLED_FD:
        os.dup2(keep, _SETTLED_FD)
    os.set_inheritable(_SETTLED_FD, True)
    # An inherited pipe would make whoever reads it (an agent waiting for its hook) wait for us.
    os.closerange(_SETTLED_FD + 1, 1024)


def _become_resident(home: Path, max_rss_mb: int, command: Sequence[str]) -> NoReturn:
    """Go on in an interpreter without `site`: less memory for a process that lives for weeks."""
    resident = str(Path(__file__).with_name("resident.py"))
    options = ["-S", "-P", resident, str(home), str(max_rss_mb), str(_SETTLED_FD)]
    os.execv(sys.executable, [sys.executable, *options, *command])  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    sys.exit(main())
