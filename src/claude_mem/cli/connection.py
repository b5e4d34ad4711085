"""How commands reach the worker: started if it is not there, explained if it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mem.cli.output import fail

if TYPE_CHECKING:
    from claude_mem.sdk.client import Client


@contextmanager
def worker_client(home: Path, *, as_json: bool, timeout: float = 30.0) -> Iterator[Client]:
    """A client of the data folder's worker; the command ends with a clear error where there can be none."""
    from claude_mem.app.settings import load
    from claude_mem.kernel.errors import MemError
    from claude_mem.sdk.client import ApiError, NotReachable  # httpx costs start-up time
    from claude_mem.sdk.local import connect
    from claude_mem.worker import control

    try:
        port = load(home).port
    except MemError as error:
        fail(error.message, "mend the setting and try again", code=error.code, as_json=as_json)
    started = control.start(home, port=port)
    if started.problem is not None:
        problem = started.problem
        fail(problem.message, problem.advice, code=problem.code.upper(), as_json=as_json)
    try:
        with connect(home, timeout=timeout) as client:
            yield client
    except ApiError as error:
        fields = "; ".join(f"{d['field']}: {d['message']}" for d in error.details)
        fail(error.message, fields, code=error.code, as_json=as_json)
    except NotReachable as error:
        fail(str(error), "claude-mem status", code="NOT_REACHABLE", as_json=as_json)
