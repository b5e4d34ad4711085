"""Where the client plays: a private home, a git project, the model, our program, and what is seen of them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_mem.sdk.client import ApiError, Client, NotReachable
from real_client.island import Island

Json = dict[str, Any]

_MODEL_PORT = 8080  # the island is new and all ours
_MOCK = Path(__file__).with_name("mock_model.py")
_TURN_S = 90.0
_PATIENCE_S = 30.0
_ALLOWED = ("Bash", "Read", "Edit", "Agent", "ToolSearch")
_ALLOWED += ("mcp__claude-mem", "mcp__plugin_memory_claude-mem")


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the client: what it printed, how long it took, which model calls it made."""

    lines: list[Json]
    stderr: str
    status: int
    seconds: float
    calls: list[Json]

    @property
    def session(self) -> str:
        """The client's id of the session."""
        return str(next(line["session_id"] for line in self.lines if "session_id" in line))

    @property
    def result(self) -> Json:
        """The last line: how it ended."""
        return self.lines[-1]

    @property
    def played(self) -> list[str]:
        """Which steps of the script the model was asked for, side requests left out."""
        return [call["played"] for call in self.calls if call["played"] != "side"]

    def said(self) -> list[str]:
        """The assistant's texts as the client printed them, its subagents' left out."""
        return [
            block["text"]
            for line in self.lines
            if line["type"] == "assistant" and not line.get("parent_tool_use_id")
            for block in line["message"]["content"]
            if block["type"] == "text"
        ]

    def hook_answers(self) -> list[Json]:
        """What the client says of each hook that ran."""
        return [line for line in self.lines if line.get("subtype") == "hook_response"]


class Stage:
    """A home, a project and a model for the client; `config` (~/.claude) can be another one for a run without us."""

    def __init__(self, folder: Path, island: Island, program: Path) -> None:
        self.island = island
        self.program = program
        self.home = folder / "home"
        self.config = self.home / ".claude"
        self.plain_config = self.home / ".claude-plain"
        self.data = self.home / ".claude-mem"
        self.project = folder / "harbour"
        self.log = folder / "model.jsonl"
        self.settings = self.config / "settings.json"
        for made in (self.config, self.plain_config, folder / "tmp", self.project / "docs"):
            made.mkdir(parents=True)
        self._scripts = folder / "scripts.json"
        self._base = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(folder / "tmp"),
        }
        self._git()

    # -- the model ---------------------------------------------------------------------------------

    def start_model(self, scripts: Json) -> None:
        """Bring the scripted model up."""
        self._scripts.write_text(json.dumps(scripts), encoding="utf-8")
        self.log.touch()
        command = [sys.executable, "-I", str(_MOCK), str(_MODEL_PORT), str(self._scripts)]
        model = self.island.start([*command, str(self.log)], env=self._base, cwd=self.home)
        assert model.stdout is not None
        assert model.stdout.readline() == b"ready\n"

    def calls(self) -> list[Json]:
        """Every model call so far."""
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines()]

    # -- the client --------------------------------------------------------------------------------

    def turn(
        self,
        prompt: str,
        *,
        resume: str | None = None,
        folder: Path | None = None,
        hooks: bool = True,
    ) -> Turn:
        """Let the client do one headless turn in `folder` (the project)."""
        command = [*self._client(), "-p", prompt, *(["--resume", resume] if resume else [])]
        before, started = len(self.calls()), time.monotonic()
        done = self.island.run(
            command, env=self._client_env(hooks), cwd=folder or self.project, timeout=_TURN_S
        )
        seconds = time.monotonic() - started
        lines = _lines(done.stdout)
        assert lines, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return Turn(lines, done.stderr.decode(), done.returncode, seconds, self.calls()[before:])

    def client(self, *arguments: str) -> str:
        """Run another command of the client, such as `plugin install`. It must succeed."""
        command = [str(self.program), *arguments]
        done = self.island.run(command, env=self._client_env(True), cwd=self.project)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        return done.stdout.decode()

    def conversation(self, *prompts: str) -> Turn:
        """One client that is prompted several times, each time when it is done with the one before."""
        command = [*self._client(), "-p", "--input-format", "stream-json"]
        before, started = len(self.calls()), time.monotonic()
        with subprocess.Popen(
            self.island.argv(command),
            env=self._client_env(True),
            cwd=self.project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as client:
            ending = threading.Timer(_TURN_S, client.kill)
            ending.start()
            lines = [line for prompt in prompts for line in _prompted(client, prompt)]
            rest, complaint = client.communicate()
            ending.cancel()
        lines += _lines(rest)
        seconds = time.monotonic() - started
        calls = self.calls()[before:]
        return Turn(lines, complaint.decode(), client.returncode, seconds, calls)

    def _client(self) -> list[str]:
        command = [str(self.program), "--model", "claude-sonnet-4-5"]
        command += ["--allowedTools", ",".join(_ALLOWED), "--output-format", "stream-json"]
        return [*command, "--include-hook-events", "--verbose"]

    def _client_env(self, hooks: bool) -> dict[str, str]:
        return self._base | {
            "CLAUDE_CONFIG_DIR": str(self.config if hooks else self.plain_config),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{_MODEL_PORT}",
            "ANTHROPIC_API_KEY": "dummy",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "IS_SANDBOX": "1",
        }

    # -- our program -------------------------------------------------------------------------------

    def ours(self, *arguments: str) -> Json:
        """Run `claude-mem ... --json` on the island and give back what it said. It must succeed."""
        env = self._base | {
            "CLAUDE_CONFIG_DIR": str(self.config),
            "CLAUDE_MEM_HOME": str(self.data),
        }
        command = [sys.executable, "-m", "claude_mem", *arguments, "--json"]
        done = self.island.run(command, env=env, cwd=self.project)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)
        said: Json = json.loads(done.stdout)
        return said

    def let_transcripts_settle(self) -> None:
        """Make the transcripts look as if nothing came to them for a while: then they are read to their ends."""
        then = time.time() - 600
        for path in (self.config / "projects").rglob("*.jsonl"):
            os.utime(path, (then, then))

    def forget_imports(self) -> None:
        """Make the next import read everything from the beginning."""
        (self.data / "imports.json").unlink()

    @contextlib.contextmanager
    def api(self) -> Iterator[Client]:
        """The worker's API, by its Unix socket: the one way in from outside of the island."""
        door = (self.data / "door").read_text(encoding="utf-8").splitlines()
        kind, _, where = door[0].partition(":")
        assert kind == "unix", door[0]
        with Client("http://localhost", door[1], socket=where) as client:
            yield client

    def rows(self, session: str, part: str) -> list[Json]:
        """All of a part (`prompts`, `observations`, `changes`, `summaries`) of a session, in order."""
        with self.api() as client:
            rows: list[Json] = client.request(
                "GET", f"/sessions/{session}/{part}", params={"limit": 200}
            )["data"]
        return rows

    def session(self, session: str) -> Json:
        """The session's own row."""
        with self.api() as client:
            return client.request("GET", f"/sessions/{session}")

    def project_of(self, session: str) -> Json:
        """The project of a session."""
        with self.api() as client:
            projects = client.request("GET", "/projects")["data"]
        wanted = self.session(session)["project_id"]
        found: Json = next(project for project in projects if project["id"] == wanted)
        return found

    def exported(self) -> list[Json]:
        """Every row, as the export gives it."""
        with self.api() as client:
            return [json.loads(line) for line in client.export_lines()]

    def wait(self, seen: Callable[[], Any], what: str, seconds: float = _PATIENCE_S) -> Any:
        """Ask until `seen()` is true; what is not there yet, and a worker on its way up, count as not yet."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                last = seen()
            except (ApiError, NotReachable, OSError) as error:
                last = error
            else:
                if last:
                    return last
            time.sleep(0.1)
        raise AssertionError(f"{what} has not come within {seconds:g} s; last: {last!r}")

    def let_hooks_be_taken_over(self) -> Json:
        """Wait until all that hooks gave is recorded, and give back how the worker is then.

        A hook that a busy worker did not answer in time spools its event: what came after it may be recorded before.
        """

        def taken_over() -> Json | None:
            with self.api() as client:
                # Twice: what left the spool waits in the inbox, and one look may see neither of the two.
                looks = [client.health() for _ in range(2)]
            checks = [health["checks"] for health in looks]
            waiting = sum(it["spool"]["events"] + it["inbox"]["pending"] for it in checks)
            return None if waiting else looks[-1]

        health: Json = self.wait(taken_over, "what hooks gave")
        return health

    def kill_worker(self) -> list[int]:
        """kill -9 of the worker and its supervisor, as if at the same moment; returns who it was."""
        pids = [
            int(json.loads((self.data / name).read_bytes())["pid"])
            for name in ("supervisor.lock", "worker.lock")
        ]
        os.kill(pids[0], signal.SIGSTOP)  # each of the two would bring the other back
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)
        return pids

    def _git(self) -> None:
        for command in (
            ["init", "-q"],
            ["config", "user.email", "crew@harbour.test"],
            ["config", "user.name", "Crew"],
        ):
            subprocess.run(
                ["git", *command], cwd=self.project, env=self._base, check=True, capture_output=True
            )


def _lines(printed: bytes) -> list[Json]:
    return [json.loads(line) for line in printed.splitlines() if line.startswith(b"{")]


def _prompted(client: subprocess.Popen[bytes], prompt: str) -> list[Json]:
    """Say `prompt` to a client and give back what it prints until it is done with it."""
    assert client.stdin is not None
    assert client.stdout is not None
    message = {"role": "user", "content": prompt}
    said = {"type": "user", "message": message, "parent_tool_use_id": None, "session_id": ""}
    client.stdin.write(json.dumps(said).encode() + b"\n")
    client.stdin.flush()
    printed: list[Json] = []
    for line in client.stdout:
        printed += _lines(line)
        if printed and printed[-1].get("type") == "result":
            return printed
    raise AssertionError(f"the client ended in the middle of {prompt!r}: {printed[-3:]}")
