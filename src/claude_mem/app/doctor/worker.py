"""Checks of the worker: does it run, does it answer, is it this program's, who is in its way, how often did it fall."""

from __future__ import annotations

import time

from claude_mem import __version__
from claude_mem.app.doctor.model import Case, Check, bad, ok, size, warn
from claude_mem.kernel.clock import from_iso
from claude_mem.worker.diagnosis import diagnose
from claude_mem.worker.listeners import port_holder
from claude_mem.worker.locks import holder
from claude_mem.worker.logview import LogLine, recent
from claude_mem.worker.probe import health
from claude_mem.worker.versions import is_older

_DAY_S = 86_400
_SLOW_S, _VERY_SLOW_S = 1.0, 5.0
_LINES = 500
_RAM_WARN = 0.85


def running(case: Case) -> list[Check]:
    """Whether it runs and answers; why not, where it does not."""
    state = case.status.state
    if state == "stopped":
        said = "it does not run; hooks spool, and the next session starts it"
        return [warn("worker", "Worker", said, "claude-mem start", "start")]
    if state in ("failed", "restarting"):
        problem = diagnose(case.files, case.settings.port)
        return [bad("worker", "Worker", problem.message, problem.advice, "start")]
    if not case.answers:
        said = "it runs and does not answer within two seconds"
        fix = "wait a moment and look again; then: claude-mem restart, and claude-mem logs"
        return [bad("worker", "Worker", said, fix)]
    worker = case.status.worker
    pid = worker.pid if worker else None
    return [ok("worker", "Worker", f"answers (process {pid})"), *_latency(case)]


def version(case: Case) -> list[Check]:
    """Whether the worker is this program's."""
    worker = case.status.worker
    if worker is None:
        return []
    if is_older(worker.version, __version__):
        said = f"the worker is of version {worker.version}, this is {__version__}"
        return [warn("worker.version", "Version", said, "claude-mem start replaces it", "start")]
    if is_older(__version__, worker.version):
        said = f"the worker is of version {worker.version}, this is {__version__}"
        fix = "upgrade this program, or run the one that is newer"
        return [warn("worker.version", "Version", said, fix)]
    return [ok("worker.version", "Version", f"{__version__}, program and worker")]


def port(case: Case) -> list[Check]:
    """Whether the configured port is the worker's, free, or somebody else's."""
    wanted = case.settings.port
    worker = case.status.worker
    if worker is not None and worker.port == wanted:
        return [ok("port", "Port", f"{wanted} is the worker's")]
    by = port_holder(wanted)
    if by is None:
        has = f"; the worker has {worker.port}" if worker and worker.port else ""
        return [ok("port", "Port", f"{wanted} is free{has}")]
    fix = f"end that program, or set another port in {case.home / 'config.toml'}: port = {wanted + 100}"
    if worker is not None:
        said = f"{wanted} is taken by {by}; the worker took {worker.port}, which is just as good"
        return [ok("port", "Port", said)]
    if case.settings.strict_port:
        return [bad("port", "Port", f"{wanted} is taken by {by}", fix)]
    return [warn("port", "Port", f"{wanted} is taken by {by}; the next free one will be used", fix)]


def leftovers(case: Case) -> list[Check]:
    """A door or an address that a dead worker left, and locks whose holder has no name."""
    files = case.files
    held = holder(files.worker_lock)
    left = [path.name for path in (files.door, files.worker_json) if path.exists()]
    if held is None and left:
        said = f"a worker that died left {' and '.join(left)}: hooks knock where nobody is"
        return [warn("locks", "Locks", said, "claude-mem start", "door")]
    if held is not None and held.pid is None:
        said = "the worker's lock is held by a process that cannot be named"
        fix = f"see who has it open: fuser -v {files.worker_lock}"
        return [warn("locks", "Locks", said, fix)]
    return [ok("locks", "Locks", "held by whom they name" if held else "free")]


def restarts(case: Case) -> list[Check]:
    """How often the supervisor had to start it again within a day."""
    fallen = [
        line
        for line in _within_a_day(recent([case.files.supervisor_log], _LINES, "error"))
        if line.fields.get("event") in ("worker.restarting", "worker.failed")
    ]
    if not fallen:
        return [ok("restarts", "Restarts", "none within a day")]
    last = fallen[-1].fields
    said = f"{len(fallen)} within a day, the last: {last.get('message', '')}"
    fix = "claude-mem logs --level error tells why; report it with those lines if it goes on"
    if case.status.failure is not None:
        return [bad("restarts", "Restarts", said, fix)]
    return [warn("restarts", "Restarts", said, fix)]


def memory(case: Case) -> list[Check]:
    """How near the worker is to the memory at which it is restarted."""
    worker = case.status.worker
    if worker is None or worker.rss_bytes is None:
        return []
    limit = case.settings.max_rss_mb << 20
    said = f"{size(worker.rss_bytes)} of {size(limit)}"
    if worker.rss_bytes > limit * _RAM_WARN:
        fix = "it is restarted at the limit, which loses nothing; raise max_rss_mb if that happens often"
        return [warn("memory", "Memory", said, fix)]
    return [ok("memory", "Memory", said)]


def errors(case: Case) -> list[Check]:
    """What went wrong within a day, by the logs."""
    lines = _within_a_day(
        recent([case.files.worker_log, case.files.supervisor_log], _LINES, "error")
    )
    if not lines:
        return [ok("log", "Log", "no error within a day")]
    last = lines[-1].fields
    what = str(last.get("message") or last.get("event") or "")[:160]
    count = f"{len(lines)} errors" if len(lines) > 1 else "1 error"
    said = f"{count} within a day, the last: {what}"
    return [warn("log", "Log", said, "claude-mem logs --level error")]


def _latency(case: Case) -> list[Check]:
    started = time.perf_counter()
    if health(case.files, timeout=10.0) is None:
        return []
    took = time.perf_counter() - started
    said = f"health answers in {took * 1000:.0f} ms"
    if took < _SLOW_S:
        return [ok("latency", "Latency", said)]
    fix = "see what it is at: claude-mem status (waiting), claude-mem logs; is the disk or the machine busy?"
    make = bad if took >= _VERY_SLOW_S else warn
    return [make("latency", "Latency", said, fix)]


def _within_a_day(lines: list[LogLine]) -> list[LogLine]:
    since = (time.time() - _DAY_S) * 1000
    return [line for line in lines if _moment(line) >= since]


def _moment(line: LogLine) -> float:
    try:
        return from_iso(f"{str(line.fields.get('timestamp', ''))[:19]}Z")
    except ValueError:
        return 0.0
