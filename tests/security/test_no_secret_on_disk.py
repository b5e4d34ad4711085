"""No secret reaches the disk: every way in, the real hook and worker, then every byte of the data folder."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlean
from bench.durability import Site

from claude_mem.app.migrate import ensure_current
from claude_mem.kernel.clock import now_ms, to_iso
from claude_mem.kernel.ids import new_id

pytestmark = pytest.mark.slow

LETTERS = string.ascii_lowercase + string.digits


@dataclass
class Secrets:
    """Makes secrets that are nowhere else, in the forms of several providers; remembers them all."""

    rng: random.Random = field(default_factory=lambda: random.Random(20))
    made: dict[str, str] = field(default_factory=dict)  # the secret part -> where it went in

    def new(self, way: str) -> str:
        # Lower case and digits only, so that the index, which folds case, would hold it as it is.
        core = "".join(self.rng.choices(LETTERS, k=36))
        self.made[core] = way
        forms = [
            f"ghp_{core}",
            f"sk-ant-api03-{core}{core}",
            f"password={core}",
            f"postgres://shop:{core}@db.internal:5432/shop",
            f"Authorization: Bearer {core}",
            f"<private>{core}</private>",
            f"npm_{core}",
            f"-----BEGIN PRIVATE KEY-----\n{core}\n-----END PRIVATE KEY-----",
        ]
        return forms[len(self.made) % len(forms)]

    def token(self, way: str) -> str:
        """A secret in one word, for places where there is room for no more."""
        core = "".join(self.rng.choices(LETTERS, k=36))
        self.made[core] = way
        return f"ghp_{core}"

    def found_in(self, raw: bytes) -> list[str]:
        """The ways whose secret, or half of it, is in `raw`."""
        folded = raw.lower()
        return [
            way
            for core, way in self.made.items()
            if core[:18].encode() in folded or core[18:].encode() in folded
        ]


def event(kind: str, data: dict[str, Any], **changes: Any) -> dict[str, Any]:
    made = {
        "id": new_id(),
        "type": kind,
        "occurred_at": to_iso(now_ms()),
        "agent": "claude-code",
        "session": "s-events",
        "project": "/nowhere/ledger",
        "data": data,
    }
    return made | changes


def wire_events(secrets: Secrets) -> list[dict[str, Any]]:
    """A secret in every place of every type that holds a text."""
    text, word = secrets.new, secrets.token
    usual = {
        "cwd": f"/nowhere/{word('cwd')}",
        "git_branch": word("git branch"),
        "prompt_id": word("prompt id"),
    }
    deep = {"a": [{"b": [text("tool input, deep")]}], word("tool input, key"): "x"}
    usage = {"input_tokens": 1}
    return [
        event(
            "session.started",
            usual
            | {
                "title": word("session title"),
                "model": word("model"),
                "transcript_path": f"/nowhere/{word('transcript path')}.jsonl",
            },
        ),
        event("prompt.submitted", usual | {"content": text("prompt"), "speaker": word("speaker")}),
        event(
            "assistant.replied",
            {
                "content": text("reply"),
                "message_id": word("message id"),
                "usage": usage,
                "tool_use_ids": [word("tool use ids")],
            },
        ),
        event(
            "tool.used",
            {
                "tool": "Bash",
                "tool_use_id": word("tool use id"),
                "input": {"command": f"curl -H '{text('command')}' x"} | deep,
                "response": {"stdout": text("stdout"), "stderr": [text("stderr")]},
                "reason": text("reason"),
                "mcp_server": word("mcp server"),
            },
        ),
        event(
            "tool.used",
            {
                "tool": "Edit",
                "input": {
                    "file_path": f"/nowhere/{word('file path')}.py",
                    "old_string": text("old string"),
                    "new_string": text("new string"),
                },
                "response": {
                    "originalFile": text("original file"),
                    "structuredPatch": [
                        {"oldStart": 1, "newStart": 1, "lines": [f"-{word('-')}", f"+{word('+')}"]}
                    ],
                },
            },
        ),
        event(
            "tool.used",
            {
                "tool": word("tool name"),
                "input": {},
                "response": "x" * 30_000 + text("end of a long output"),
            },
        ),
        event(
            "tool.failed",
            {"tool": "Bash", "input": {"command": text("failed")}, "error": text("error")},
        ),
        event(
            "context.compacted",
            {"summary": text("summary"), "title": word("title"), "trigger": "manual"},
        ),
        event("subagent.stopped", {"agent_id": word("agent id"), "content": text("subagent")}),
        event(
            "observation.added",
            {
                "observation_type": "info",
                "content": text("observation"),
                "title": word("observation title"),
                "source_tool": word("source tool"),
                "tags": [word("tag")],
                "files": [f"src/{word('file')}.py"],
            },
        ),
        event("message.sent", {"content": text("message"), "to_role": word("to role")}),
        event("prompt.submitted", {"content": text("in a session")}, session=word("session")),
        event(
            "prompt.submitted", {"content": text("of a project")}, project=f"/x/{word('project')}"
        ),
        event("prompt.submitted", {"content": text("of a role")}, role=word("role")),
        event("prompt.submitted", {"content": text("of an agent")}, agent=word("agent")),
        event("session.ended", {"reason": word("end")}),
        event("observation.added", {"observation_type": "info", "content": text("POISON")}),
    ]


def refused_events(secrets: Secrets) -> list[Any]:
    word = secrets.token
    return [
        event("prompt.submitted", {"content": word("refused, unknown type")}, type=word("type")),
        event("prompt.submitted", {"content": "x", word("refused, unknown key"): 1}),
        event("prompt.submitted", {"content": word("refused, bad id")}, id=word("refused, id")),
        event("prompt.submitted", {"content": word("long session")}, session="s" * 300),
        word("refused, no object"),
    ]


def hook_payloads(secrets: Secrets, transcript: Path) -> list[tuple[str, dict[str, Any]]]:
    common = {
        "session_id": "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2",
        "transcript_path": str(transcript),
        "cwd": "/nowhere/ledger",
    }
    return [
        ("UserPromptSubmit", common | {"prompt": secrets.new("hook, prompt")}),
        (
            "PostToolUse",
            common
            | {
                "tool_name": "Bash",
                "tool_use_id": secrets.token("hook, tool use id"),
                "tool_input": {"command": secrets.new("hook, command")},
                "tool_response": {"stdout": secrets.new("hook, stdout")},
            },
        ),
        (
            "PostToolUseFailure",
            common
            | {
                "tool_name": "Bash",
                "tool_input": {"command": "x"},
                "error": secrets.new("hook, error"),
            },
        ),
        ("Stop", common | {"last_assistant_message": secrets.new("hook, last message")}),
        ("ANewEvent", common | {"unknown": secrets.new("hook, unknown event")}),
    ]


def transcript_of(secrets: Secrets, path: Path, session: str) -> None:
    """A short transcript in the agent's format."""
    base = {
        "sessionId": session,
        "cwd": "/nowhere/ledger",
        "version": "2.1.0",
        "isSidechain": False,
    }
    lines = [
        {"type": "summary", "summary": secrets.new(f"{path.stem}, summary line")},
        {
            "type": "user",
            "uuid": "u1",
            "parentUuid": None,
            "timestamp": "2026-05-01T10:00:00.000Z",
            "message": {"role": "user", "content": secrets.new(f"{path.stem}, prompt")},
        },
        {
            "type": "assistant",
            "uuid": "u2",
            "parentUuid": "u1",
            "timestamp": "2026-05-01T10:00:05.000Z",
            "message": {
                "id": "msg_1",
                "role": "assistant",
                "model": "m",
                "content": [
                    {"type": "text", "text": secrets.new(f"{path.stem}, reply")},
                    {
                        "type": "tool_use",
                        "id": "toolu_1",
                        "name": "Bash",
                        "input": {"command": secrets.new(f"{path.stem}, command")},
                    },
                ],
                "stop_reason": "tool_use",
                "usage": {"input_tokens": 1, "output_tokens": 1},
            },
        },
        {
            "type": "user",
            "uuid": "u3",
            "parentUuid": "u2",
            "timestamp": "2026-05-01T10:00:06.000Z",
            "message": {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": secrets.new(f"{path.stem}, result"),
                    }
                ],
            },
        },
    ]
    lines += [
        # A position, which is kept, knows what came before the last turn: the titles.
        {"type": "ai-title", "aiTitle": secrets.new(f"{path.stem}, ai-title")},
        {"type": "custom-title", "customTitle": secrets.new(f"{path.stem}, custom-title")},
        {
            "type": "user",
            "uuid": "u4",
            "timestamp": "2026-05-01T10:00:09.000Z",
            "promptId": secrets.token(f"{path.stem}, prompt id"),
            "message": {"role": "user", "content": secrets.new(f"{path.stem}, last prompt")},
        },
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(base | line) for line in lines)
    torn = '\n{"type": "user", "message": "' + secrets.token(f"{path.stem}, torn line")
    path.write_text(text + torn + "\n")
    os.utime(path, (1_777_000_000, 1_777_000_000))  # nothing comes any more


def spool_without_a_worker(site: Site, secrets: Secrets, transcript: Path) -> None:
    """What hooks leave while no worker runs, and lines that no hook of ours would write so."""
    for name, payload in hook_payloads(secrets, transcript):
        process = site.hook(name, payload)
        process.communicate(timeout=60)
        assert process.returncode == 0
    raw = secrets.new("hook, no JSON").encode()
    for piece in (raw, b'{"session_id": "' + secrets.token("hook, cut JSON").encode()):
        done = subprocess.run(
            site.hook_command("UserPromptSubmit"),
            input=piece,
            env=site.environment,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0
    active = site.files.spool / "active.jsonl"
    assert active.stat().st_size > 0, "the hooks spooled"
    assert secrets.found_in(active.read_bytes()) == []
    unmasked = {"session_id": "s", "prompt": secrets.new("spool, unmasked line")}
    line = {"v": 1, "id": new_id(), "ms": now_ms(), "agent": "nobody-knows", "event": "x"}
    with active.open("a") as file:
        file.write('{"v": 1, "torn": "' + secrets.token("spool, torn line") + "\n")
        file.write(json.dumps(line | {"project_dir": "/", "payload": unmasked}) + "\n")


def poison(site: Site) -> None:
    """Make the database refuse one observation: the event passes the door and cannot be recorded."""
    ensure_current(site.files.database)
    raw = sqlean.connect(str(site.files.database))
    raw.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON observations WHEN NEW.title LIKE '%message%'"
        " BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
    )
    raw.commit()
    raw.close()


def knock(site: Site, secrets: Secrets) -> None:
    """Every way in over HTTP, and every way to be refused."""
    found = json.loads(site.files.worker_json.read_text())
    word = secrets.token
    with httpx.Client(
        base_url=f"http://127.0.0.1:{found['port']}/api/v1",
        headers={"authorization": f"Bearer {site.token}"},
        trust_env=False,
        timeout=30,
    ) as api:
        for one in wire_events(secrets):
            answer = api.post("/events", json={"events": [one]})
            assert answer.status_code == 202, answer.text
        for bad in refused_events(secrets):
            assert api.post("/events", json={"events": [bad]}).status_code == 400
        assert api.post("/events", content=word("no JSON")).status_code == 400
        assert api.get(f"/sessions/{word('path')}").status_code == 404
        assert api.get(f"/{word('no such path')}").status_code == 404
        assert api.get("/search", params={"q": word("query")}).status_code == 200
        assert api.get("/search", params={"q": "x", "since": word("since")}).status_code == 400
        assert api.get("/sessions", params={"cursor": word("cursor")}).status_code == 400
        assert api.get("/sessions", params={"project": word("no project")}).status_code == 404
        wrong = {"authorization": f"Bearer {word('wrong token')}"}
        assert api.get("/sessions", headers=wrong).status_code == 401
        assert api.get("/sessions", headers={"host": word("host")}).status_code == 403
        assert api.get("/sessions", headers={"origin": word("origin")}).status_code == 403
        assert api.post(f"/hooks/{word('agent')}", content=b"{}").status_code == 400
        times = {"x-event-id": new_id(), "x-event-time": "1"}
        assert api.post(f"/hooks/{word('agent')}", content=b"{}", headers=times).status_code == 404
        late = times | {"x-event-id": word("event id header")}
        assert api.post("/hooks/claude-code", content=b"{}", headers=late).status_code == 400
        forget = {"what": "session", "id": word("forget")}
        assert api.post("/forget", json=forget).status_code == 404
        one = {"content": secrets.new("added prompt")}
        assert api.post("/sessions/s-events/prompts", json=one).status_code in {202, 404}
        two = {"session_id": "s-events", "content": secrets.new("added observation")}
        assert api.post("/observations", json=two).status_code in {202, 404}


def imported(site: Site, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "claude_mem", "import", str(folder), "--yes", "--json"],
        env=site.environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield path


def survivors(home: Path, secrets: Secrets) -> dict[str, list[str]]:
    hits = {
        str(path.relative_to(home)): secrets.found_in(path.read_bytes()) for path in files_of(home)
    }
    return {name: ways for name, ways in hits.items() if ways}


def check_modes(home: Path) -> None:
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.rglob("*"):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        mode = path.lstat().st_mode & 0o777
        assert mode & 0o077 == 0, f"{path.relative_to(home)} has mode {mode:o}"


def test_no_secret_survives_on_disk(tmp_path: Path) -> None:
    secrets = Secrets()
    with Site(log_level="debug") as site:
        projects = site.root / "home" / ".claude" / "projects" / "-nowhere-ledger"
        session = "0d9b5f0e-5a3e-4a77-9a55-b0b0a6c3e1f2"
        live = projects / f"{session}.jsonl"
        transcript_of(secrets, live, session)
        poison(site)
        spool_without_a_worker(site, secrets, live)
        site.start()
        knock(site, secrets)
        for name, payload in hook_payloads(secrets, live):
            process = site.hook(name, payload)
            process.communicate(timeout=60)
            assert process.returncode == 0
        other = tmp_path / "old" / "11111111-5a3e-4a77-9a55-b0b0a6c3e1f2.jsonl"
        transcript_of(secrets, other, other.stem)
        imported(site, other.parent)
        site.settle()
        report = site.health()
        assert report is not None
        assert report["checks"]["inbox"]["dead_letters"] >= 1, "something was poisoned"
        assert report["checks"]["spool"]["rejected"] >= 2
        assert site.files.home.joinpath("worker.sock").stat().st_mode & 0o777 == 0o600
        check_modes(site.home)
        running = survivors(site.home, secrets)
        site.stop()
        check_modes(site.home)
        assert running == {}, "while it ran"
        assert survivors(site.home, secrets) == {}
        assert_something_was_kept(site.home)


def assert_something_was_kept(home: Path) -> None:
    """The test would be worth nothing if nothing had been stored."""
    whole = b"".join(path.read_bytes() for path in files_of(home))
    for trace in (b"[masked:", b"[private]"):
        assert trace in whole
    raw = sqlean.connect(str(home / "claude-mem.db"))
    prompts = raw.execute("SELECT count(*) FROM prompts").fetchone()[0]
    observations = raw.execute("SELECT count(*) FROM observations").fetchone()[0]
    raw.close()
    assert prompts >= 10
    assert observations >= 8
    rejected = (home / "spool" / "rejected.jsonl").read_text()
    assert "nobody-knows" in rejected
    log = (home / "logs" / "worker.jsonl").read_text()
    assert '"path":"/api/v1/sessions/[masked:' in log.replace(" ", "")


def test_the_scan_would_find_a_secret(tmp_path: Path) -> None:
    secrets = Secrets()
    secret = secrets.token("told")
    (tmp_path / "a.db").write_bytes(b"\x00" * 4000 + secret.upper().encode() + b"\x00")
    assert survivors(tmp_path, secrets) == {"a.db": ["told"]}
