"""How commands reach the worker: started if it is not there, explained if it cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mem.cli.output import fail

if TYPE_CHECKING:
    from claude_mem.sdk.client import ApiError, Client

# What to do about a refusal of the API, by its code.
_STEPS = {
    "RESOURCE_NOT_FOUND": "take an id from `claude-mem search`; what was forgotten is gone for good",
    "VALIDATION_ERROR": "correct it; `claude-mem COMMAND --help` says what is expected",
    "AUTH_MISSING": "claude-mem restart",
    "AUTH_INVALID": "claude-mem restart",
    "STORE_FULL": "free some space, raise max_store_mb, or `claude-mem forget` what is not needed",
}


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
        fail(error.message, _next_step(error), code=error.code, as_json=as_json)
    except NotReachable as error:
        fail(str(error), "claude-mem status", code="NOT_REACHABLE", as_json=as_json)


def _next_step(error: ApiError) -> str:
    if error.code == "RESOURCE_NOT_FOUND" and _is_about_project(error):
        return "name one of those with --project, by its name, path or id"
    if error.retry_after is not None and error.code not in _STEPS:
        return f"try again in {error.retry_after:g} s"
    return _STEPS.get(error.code, f"`claude-mem logs` tells more about request {error.request_id}")


def _is_about_project(error: ApiError) -> bool:
    return any(it.get("field") == "project" for it in error.details)
