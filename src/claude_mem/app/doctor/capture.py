"""Checks of what is on its way in: pauses, the spool, the inbox, jobs, and when something was recorded last."""

from __future__ import annotations

import time

import sqlean

from claude_mem.adapters.sqlite import check, maintenance
from claude_mem.adapters.sqlite.waiting import waiting
from claude_mem.app.doctor.model import Case, Check, bad, ok, size, span, warn
from claude_mem.hook import spool
from claude_mem.hook.optout import is_opted_out
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import MemError

_MANY = 1_000
_QUIET_S = 7 * 86_400
_AHEAD_MS = 3_600_000


def pauses(case: Case) -> list[Check]:
    """Whether recording is switched off, here or everywhere."""
    found = []
    if case.status.paused:
        until = case.status.paused_until
        left = f"for {span((until - now_ms()) / 1000)} more" if until else "until resumed"
        said = f"recording is paused {left}"
        found.append(warn("paused", "Recording", said, "claude-mem resume"))
    if is_opted_out(str(case.project)):
        said = f"{case.project} is opted out by a file .claude-mem-off"
        fix = "remove that file, here or in a folder above, to record this project"
        found.append(warn("opted_out", "Recording", said, fix))
    return found or [ok("recording", "Recording", "on")]


def last_event(case: Case) -> list[Check]:
    """When something was recorded last; a moment in the future means a clock was wrong."""
    if not case.files.database.exists():
        return []
    try:
        with check.read_only(case.files.database) as raw:
            last, recorded = maintenance.last_event(raw), maintenance.last_recorded(raw)
            session = maintenance.latest_session(raw)
    except (sqlean.Error, MemError):  # the database's own checks say so
        return []
    if last is None or recorded is None:
        said = "nothing has been recorded yet"
        fix = "start a session of the agent; claude-mem status shows what arrives"
        return [warn("last_event", "Last event", said, fix)]
    ago = (now_ms() - recorded) / 1000
    if last - now_ms() > _AHEAD_MS:
        said = f"what was recorded last is {span((last - now_ms()) / 1000)} ahead: a clock was, or is, wrong"
        fix = f"set the clock of this machine; if it is right, claude-mem forget session {session}"
        return [warn("last_event", "Last event", said, fix)]
    said = f"{span(ago)} ago"
    if ago > _QUIET_S:
        fix = "is the agent in use? then see Hooks above, or: claude-mem install"
        return [warn("last_event", "Last event", f"nothing captured since {said}", fix)]
    return [ok("last_event", "Last event", said)]


def spooled(case: Case) -> list[Check]:
    """What hooks left because no worker took it, and what was lost."""
    state = spool.status(case.files.spool)
    refused = sum(state.refused.values())
    found = []
    if state.losing:
        said = f"{refused} events refused, {state.rejected} lines set aside; the last within a day"
        fix = "see what was set aside: spool/rejected.jsonl; keep the worker running: claude-mem start"
        found.append(warn("spool.lost", "Spool", said, fix))
    said = f"{state.events} events ({size(state.bytes)}) wait"
    if not state.events:
        return found or [ok("spool", "Spool", "empty")]
    if case.answers and state.events < _MANY:
        return [*found, ok("spool", "Spool", f"{said}; the worker takes them over")]
    fix = "claude-mem start" if not case.answers else "claude-mem logs tells what keeps the worker"
    return [*found, warn("spool", "Spool", said, fix, "spool")]


def inbox(case: Case) -> list[Check]:
    """Acknowledged events that are no rows yet, and those that could not become any."""
    if not case.files.inbox.exists():
        return []
    pending = case.status.inbox_pending
    if pending is None and not case.answers:
        pending = waiting(case.files.inbox)
    found = []
    if pending is None:
        fix = "claude-mem db check"
        return [bad("inbox", "Inbox", "it cannot be read", fix)]
    said = f"{pending} events wait to be indexed"
    if pending > _MANY * 10:
        fix = "wait: they are safe on disk; claude-mem logs tells if it does not go on"
        found.append(warn("inbox", "Inbox", said, fix))
    else:
        found.append(ok("inbox", "Inbox", said if pending else "empty"))
    letters = _dead_letters(case)
    if letters:
        said = f"{letters} events could not be recorded and are kept aside"
        fix = "claude-mem dead-letters tells why, and hands them in again"
        found.append(warn("inbox.dead", "Inbox", said, fix))
    return found


def jobs(case: Case) -> list[Check]:
    """Jobs that failed as often as they may."""
    if not case.files.database.exists():
        return []
    try:
        with check.read_only(case.files.database) as raw:
            rows = raw.execute(
                "SELECT task_type, error_message, completed_at FROM task_queue WHERE status = 'dead'"
                " ORDER BY completed_at DESC"
            ).fetchall()
    except (sqlean.Error, MemError):  # the database's own checks say so
        return []
    if not rows:
        return [ok("jobs", "Jobs", "none has failed for good")]
    kind, error, _ = rows[0]
    said = f"{len(rows)} failed for good, the last: {kind}: {str(error or '')[:160]}"
    return [warn("jobs", "Jobs", said, "claude-mem doctor --fix tries them again", "jobs")]


def search(case: Case) -> list[Check]:
    """A search through the worker, for a word that is in the memory."""
    if not case.answers:
        return []
    word = _a_word(case)
    if word is None:
        return []
    started = time.perf_counter()
    answer = case.try_ask("GET", "/search", params={"q": word, "limit": 5})
    took = (time.perf_counter() - started) * 1000
    if answer is None:
        return [bad("search", "Search", "the worker does not answer a search", "claude-mem logs")]
    if not answer.get("results"):
        said = "a word of the newest session is not found"
        return [bad("search", "Search", said, "claude-mem db rebuild", "rebuild")]
    return [ok("search", "Search", f"finds what is there, in {took:.0f} ms")]


def _a_word(case: Case) -> str | None:
    """A word of the newest prompt that is in the index."""
    try:
        with check.read_only(case.files.database) as raw:
            row = raw.execute(
                "SELECT p.content FROM prompts p JOIN search_documents d ON d.enterprise_id = p.enterprise_id"
                " AND d.kind = 'prompt' AND d.entity_id = p.id ORDER BY p.id DESC LIMIT 1"
            ).fetchone()
    except (sqlean.Error, MemError):  # the database's own checks say so
        return None
    words = [word for word in str(row[0] if row else "").split() if word.isalpha()]
    return max(words, key=len)[:60] if words else None


def _dead_letters(case: Case) -> int:
    try:
        with check.read_only(case.files.inbox) as raw:
            return int(raw.execute("SELECT count(*) FROM dead_letters").fetchone()[0])
    except (sqlean.Error, MemError):  # the inbox's own check says so
        return 0
