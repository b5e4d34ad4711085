"""Clients and hooks at work: threads that write events the way real ones do, and keep the books.

Owns what is sent and when it counts as promised. A client repeats a batch with the same ids until it is answered; a
hook is a process, its event is promised when it ends with 0 by itself and without complaint.
"""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from bench.durability import Ledger, Site, eventually, marker
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id
from claude_mem.sdk.client import ApiError, Client, NotReachable

_PROSE = """
    the worker takes a batch from the inbox and writes rows before it answers the next request because a commit costs
    an fsync while search reads the index schema migration session prompt observation deploy retry timeout 预约 订单
    为什么 失败 测试 config.toml src/app/build.py ECONNREFUSED parse_moment BookingForm utils/money.ts cache budget
"""
_WORDS = _PROSE.split()
_TOOLS = ("Bash", "Read", "Grep", "mcp__tickets__get")


def text(rng: random.Random, word: str) -> str:
    """Some prose around a marker: median 400 characters, 95th percentile 4,000.

    The marker is near the start: the middle of a very long text is not kept.
    """
    size = min(max(rng.lognormvariate(5.99, 1.4), 40), 30_000)
    words = rng.choices(_WORDS, k=int(size / 6.5) + 1)
    words.insert(rng.randrange(min(len(words), 500)), word)
    return " ".join(words)


def event(rng: random.Random, word: str, session: str = "") -> dict[str, Any]:
    """A wire event whose one row holds `word`."""
    content = text(rng, word)
    kind = rng.choice(
        ("prompt.submitted", "assistant.replied", "tool.used", "tool.failed", "observation.added")
    )
    data: dict[str, Any] = {"content": content}
    if kind == "tool.used":
        data = {"tool": rng.choice(_TOOLS), "tool_use_id": f"toolu_{word}", "input": {"query": "x"}}
        data["response"] = {"stdout": content}
    elif kind == "tool.failed":
        data = {"tool": "Bash", "input": {"command": "make check"}, "error": content}
    elif kind == "observation.added":
        data |= {"observation_type": "info"}
    return {
        "id": new_id(),
        "type": kind,
        "occurred_at": to_iso(now_ms()),
        "agent": "load",
        "session": session or f"session-{rng.randrange(20)}",
        "project": f"/srv/project-{rng.randrange(5)}",
        "data": data,
    }


def payload(rng: random.Random, word: str) -> tuple[str, dict[str, Any]]:
    """(hook event, payload) as the agent writes it, whose one row holds `word`."""
    content = text(rng, word)
    base: dict[str, Any] = {
        "session_id": f"live-{rng.randrange(6)}",
        "transcript_path": "/srv/none.jsonl",
        "cwd": "/srv/project-0",
        "permission_mode": "default",
        "prompt_id": f"prompt-{word}",
    }
    name = rng.choice(
        ("UserPromptSubmit", "PostToolUse", "PostToolUse", "PostToolUseFailure", "Stop")
    )
    if name == "UserPromptSubmit":
        base["prompt"] = content
    elif name == "Stop":
        base |= {"stop_hook_active": False, "last_assistant_message": content}
    else:
        base |= {"tool_name": "Bash", "tool_use_id": f"toolu_{word}", "duration_ms": 12}
        base["tool_input"] = {"command": "uv run pytest -q", "description": "Run the tests"}
        if name == "PostToolUse":
            base["tool_response"] = {"stdout": content, "stderr": "", "interrupted": False}
        else:
            base["error"] = f"Exit code 1\n{content}"
    return name, base | {"hook_event_name": name}


class Worker(threading.Thread):
    """A thread that works until `finish`; what goes wrong in it is raised there."""

    def __init__(self, site: Site, ledger: Ledger, seed: int) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.ledger = ledger
        self.rng = random.Random(seed)
        self.stopping = threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        """See threading.Thread."""
        try:
            while not self.stopping.is_set():
                self.step()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.fault = error

    def step(self) -> None:
        """One piece of work."""
        raise NotImplementedError

    def finish(self) -> None:
        """End it. Raises what ended it before."""
        self.stopping.set()
        self.join(timeout=120)
        assert not self.is_alive(), "a client does not come to an end"
        if self.fault is not None:
            raise self.fault


class Crew:
    """Workers at work together, from entering to leaving; what ends one of them ends the waiting too."""

    def __init__(self, *workers: Worker) -> None:
        self._workers = workers

    def __enter__(self) -> Crew:
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            if worker.ident is not None:
                worker.finish()

    def check(self) -> None:
        """Raise what ended one of them."""
        for worker in self._workers:
            if worker.fault is not None:
                raise worker.fault

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait, within bounds, until `condition` gives something true."""

        def holds() -> Any:
            self.check()
            return condition()

        return eventually(holds, what)


class Writer(Worker):
    """Posts batches of 1 to `most` events, a pause of up to `pause` seconds between them."""

    def __init__(
        self, site: Site, ledger: Ledger, seed: int, most: int = 20, pause: float = 0.1
    ) -> None:
        super().__init__(site, ledger, seed)
        self.most = most
        self.pause = pause
        self.refusals: list[ApiError] = []
        self.answered = 0  # batches
        self._client: Client | None = None

    def step(self) -> None:
        """One batch, again and again with the same ids until it is answered."""
        words = [marker(self.rng) for _ in range(self.rng.randint(1, self.most))]
        events = [event(self.rng, word) for word in words]
        while not self.stopping.is_set():
            if self._post(events):
                pairs = zip(events, words, strict=True)
                self.ledger.acknowledge((one["id"], word) for one, word in pairs)
                self.answered += 1
                self.stopping.wait(self.rng.random() * self.pause)
                return
            self.stopping.wait(0.05)
        self.ledger.leave_open(words)

    def _post(self, events: list[dict[str, Any]]) -> bool:
        try:
            self._client = self._client or self.site.client(timeout=20)
            self._client.post_events(events)
        except NotReachable:
            if self._client is not None:
                self._client.close()
            self._client = None
            return False
        except ApiError as error:
            if error.status not in (429, 503):
                raise
            self.refusals.append(error)
            return False
        return True

    def finish(self) -> None:
        """See Worker."""
        super().finish()
        if self._client is not None:
            self._client.close()


class Hooks(Worker):
    """Runs one hook after the other; `running` is the one to kill."""

    def __init__(self, site: Site, ledger: Ledger, seed: int, pause: float = 0.2) -> None:
        super().__init__(site, ledger, seed)
        self.pause = pause
        self.running: subprocess.Popen[bytes] | None = None
        self.ended = 0
        self.killed = 0

    def step(self) -> None:
        """One hook."""
        self.one()
        self.stopping.wait(self.rng.random() * self.pause)

    def one(self) -> None:
        """Run one hook to its end and enter what came of it."""
        word = marker(self.rng)
        # A hook complains once a minute; each must here, or an event refused would look like one kept.
        (self.site.files.spool / ".noted").unlink(missing_ok=True)
        self.running = process = self.site.hook(*payload(self.rng, word))
        out, complaint = process.communicate(timeout=60)
        self.ended += 1
        if process.returncode < 0:
            self.killed += 1
            self.ledger.leave_open([word])
            return
        assert process.returncode == 0, f"a hook ended with {process.returncode}: {complaint!r}"
        assert out == b"" or complaint or is_context(out), f"a hook printed {out!r}"
        if complaint:
            self.ledger.leave_open([word], complaint.decode("utf-8", "replace").strip())
        else:
            self.ledger.keep(word)


def is_context(out: bytes) -> bool:
    """Whether a hook's output is whole, and nothing but context for the model."""
    answer = json.loads(out)
    added = answer.pop("hookSpecificOutput")
    return not answer and added.keys() == {"hookEventName", "additionalContext"}
