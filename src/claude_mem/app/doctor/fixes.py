"""What `--fix` does: only what is safe, said when it is done.

None of it deletes what is remembered, ends a process, or touches a settings file.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from claude_mem.app import offline, recover, store
from claude_mem.app.doctor.machine import loose
from claude_mem.app.doctor.model import Case
from claude_mem.app.embedders import install_model
from claude_mem.app.rebuild import rebuild_index
from claude_mem.hook import mcp_registration
from claude_mem.hook.home import ensure_token
from claude_mem.hook.installation import prepare_home
from claude_mem.kernel.errors import MemError, Unavailable
from claude_mem.sdk.client import ApiError, NotReachable
from claude_mem.worker import control
from claude_mem.worker.launch import supervisor_argv
from claude_mem.worker.locks import holder

ALONE = "claude-mem stop, then claude-mem db rebuild, then claude-mem start"
_SETTLE_S = 20.0
_POLL_S = 0.2
Mend = Callable[[Case], str]


class NotMended(Exception):  # noqa: N818 - named for what happened
    """The fix did not work; the text says why."""


def mend(name: str, case: Case) -> str:
    """Do one fix; what was done. Raises NotMended."""
    try:
        return FIXES[name](case)
    except (OSError, MemError, ApiError, NotReachable) as error:
        raise NotMended(str(error)) from error


def _modes(case: Case) -> str:
    open_ones = loose(case.home)
    for path in open_ones:
        path.chmod(path.stat().st_mode & 0o700)
    case.home.chmod(0o700)
    return f"closed {len(open_ones)} files and folders to others"


def _token(case: Case) -> str:
    ensure_token(case.home)
    return "made a token"


def _door(case: Case) -> str:
    files = case.files
    if holder(files.worker_lock) is not None:
        raise NotMended("a worker has come up meanwhile")
    left = [files.door, files.worker_json]
    for path in left:
        path.unlink(missing_ok=True)
    return "removed what a dead worker left"


def _start(case: Case) -> str:
    gone = recover.lost(case.settings)
    if gone is not None:  # a start would make an empty one, and nothing would tell any more
        raise NotMended(f"{gone}: {recover.way_back(case.home)}")
    started = control.start(case.home, port=case.settings.port)
    if started.problem is not None:
        raise NotMended(f"{started.problem.message}: {started.problem.advice}")
    return f"the worker {started.state.replace('_', ' ')} (process {started.pid})"


def _hook(case: Case) -> str:
    prepare_home(case.home, supervisor_argv(case.home))
    server = mcp_registration.server_path(case.home)
    if server.parent.is_dir():
        mcp_registration.write_server(case.home)
    return "wrote the hook anew"


def _spool(case: Case) -> str:
    if not offline.is_running(case.home):
        return _start(case) + ", which takes the spool over"
    case.ask("POST", "/admin/spool/take")
    return "took the spool over"


def _jobs(case: Case) -> str:
    if not offline.is_running(case.home):
        _start(case)
    retried = case.ask("POST", "/admin/jobs/retry")["retried"]
    return f"{retried} jobs are tried again"


def _checkpoint(case: Case) -> str:
    if offline.is_running(case.home):
        case.ask("POST", "/admin/db/checkpoint")
    else:
        with offline.alone(case.home, stop=False):
            store.tidy(case.settings)
    return "emptied the write-ahead logs and gave the planner figures"


def _rebuild(case: Case) -> str:
    if not offline.is_running(case.home):
        with offline.alone(case.home, stop=False):
            count = rebuild_index(case.files.database, lambda _done, _of: None, case.settings.place)
        return f"made the search index anew ({count} documents)"
    case.ask("POST", "/admin/db/rebuild")
    if not _is_done(case, "index.rebuild"):
        return "the worker makes the search index anew"
    left = store.checked(case.settings)["index_faults"]
    if left:
        # Beside a worker it is emptied row by row, which needs an index that is sound in itself.
        raise NotMended(f"{left[0]}. It has to begin empty, alone: {ALONE}")
    return "the worker made the search index anew"


def _is_done(case: Case, kind: str) -> bool:
    """Whether the worker is done with a kind of jobs; what takes long is not waited for."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        answer = case.try_ask("GET", "/admin/jobs")
        if answer is None or not answer["waiting"].get(kind):
            return True
        time.sleep(_POLL_S)
    return False


def _model(case: Case) -> str:
    try:
        done = install_model(case.settings, lambda _what, _done, _of: None)
    except Unavailable as error:
        raise NotMended(error.message) from error
    return f"installed the model from {done.source}"


def _graphs(case: Case) -> str:
    if not offline.is_running(case.home):
        _start(case)
    case.ask("POST", "/admin/vectors/embed")
    if not _is_done(case, "vectors.embed"):
        return "the worker makes vectors and their index anew"
    return "the worker made vectors and their index anew"


FIXES: dict[str, Mend] = {
    "modes": _modes,
    "token": _token,
    "door": _door,
    "start": _start,
    "hook": _hook,
    "spool": _spool,
    "jobs": _jobs,
    "checkpoint": _checkpoint,
    "rebuild": _rebuild,
    "model": _model,
    "graphs": _graphs,
}
