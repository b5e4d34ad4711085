"""Owns the turning of a session's steps into the lines of its transcript and its subagents'.

Groups text and tool calls into messages, lets time pass, and remembers which id each labelled
step got. Never writes files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tools.sample.envelope import Lines, Place
from tools.sample.source import SessionSource, Step
from tools.sample.stable import Clock, Stable
from tools.sample.tools import TOOLS, Ask, Call, World
from tools.sample.wording import CAVEAT, HAND_BACK, HOME, SUMMARY_HEAD, SUMMARY_TAIL


def slug_of(cwd: str) -> str:
    """The folder name Claude Code gives a project."""
    return "".join(char if char.isascii() and char.isalnum() else "-" for char in cwd)


@dataclass(frozen=True)
class Evidence:
    """Where a labelled step is found: kind is `prompt`, `message` or `tool_use`."""

    kind: str
    id: str


@dataclass
class Subagent:
    """A subagent's file and its `.meta.json`."""

    lines: Lines
    meta: dict[str, Any]


@dataclass
class _Pending:
    blocks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[Step, Call, str]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


class Composer:
    """Composes one session; `run` fills `lines`, `subagents` and `labels`."""

    def __init__(self, source: SessionSource, world: World) -> None:
        self.source, self.world = source, world
        world.todos = []
        head = source.head
        self.stable = Stable(source.name)
        cwd = f"/home/dev/{head['project']}"
        model = head.get("model", "claude-sonnet-4-5")
        self.place = Place(self.stable.uuid(), cwd, head["branch"], model)
        self.clock = Clock(head["start"])
        self.started = self.clock.epoch_ms
        self.lines = Lines(self.place, self.stable, self.clock)
        self.subagents: list[Subagent] = []
        self.labels: dict[str, Evidence] = {}
        self._outer: tuple[Lines, Step, str, str] | None = None
        self._pending = _Pending()
        self._turn = 0
        self._prompt = ""
        self._requests = 0
        self._pause = 0
        self._used: list[str] = []
        self._changed = [0, 0]

    def run(self) -> None:
        """Compose every step in order."""
        for step in self.source.steps:
            if step.kind in TOOLS:
                self._tool(step)
            else:
                getattr(self, f"_do_{step.kind}")(step)
        self._flush()
        self._end_turn()

    # Human and machine lines of a turn.

    def _do_file(self, step: Step) -> None:
        path = step.words[0]
        path = path if path.startswith("/") else f"{self.place.cwd}/{path}"
        self.world.files[path] = step.body + "\n"

    def _do_gap(self, step: Step) -> None:
        self._pause = int(step.words[0]) * 60_000

    def _do_user(self, step: Step) -> None:
        prompt_id = self._open_turn(step.body)
        turn = {"promptIndex": 0, "turnIndex": self._turn}
        marks = {"permissionMode": "default", "promptSource": "sdk", "turnOrigin": "sdk"}
        self.lines.user(step.body, marks | {"turnPosition": turn})
        self._label(step.label, "prompt", prompt_id)
        if self._turn == 1:
            self._opening_context()

    def _do_command(self, step: Step) -> None:
        name, *words = step.words
        args = " ".join(words)
        prompt_id = self._open_turn(f"/{name} {args}".strip())
        tags = f"<command-message>{name}</command-message>\n<command-name>/{name}</command-name>"
        turn = {"promptIndex": 0, "turnIndex": self._turn}
        tagged = f"{tags}\n<command-args>{args}</command-args>"
        self.lines.user(tagged, {"turnOrigin": "sdk", "turnPosition": turn})
        expanded = [{"type": "text", "text": step.body + "\n"}]
        self.lines.user(expanded, {"isMeta": True, "turnCompanion": True})
        self._label(step.label, "prompt", prompt_id)
        if self._turn == 1:
            self._opening_context()

    def _open_turn(self, prompt: str) -> str:
        self._flush()
        if self._turn:
            self._end_turn()
            self.clock.forward(self.stable.between(60_000, 540_000) + self._pause)
            self._pause = 0
        self._turn += 1
        self._prompt = prompt
        self.lines.prompt_id = self.stable.uuid()
        enqueue = {"operation": "enqueue", "content": prompt}
        self.lines.plain("queue-operation", enqueue, timed=True)
        self.clock.forward(self.stable.between(2, 30))
        self.lines.plain("queue-operation", {"operation": "dequeue"}, timed=True)
        self.clock.forward(self.stable.between(20, 90))
        return self.lines.prompt_id

    def _opening_context(self) -> None:
        lines, place = self.lines, self.place
        lines.attachment(
            "environment",
            f"# Environment\n - Primary working directory: {place.cwd}\n"
            f" - Is a git repository: true\n - Platform: linux\n - Shell: bash",
        )
        lines.attachment("model", f"The exact model ID is {place.model}.")
        lines.plain("atis-latch", {"atis": ""})
        instructions = self.world.files.get(f"{place.cwd}/CLAUDE.md", "")
        if instructions:
            head = f"Contents of {place.cwd}/CLAUDE.md (project instructions):\n\n"
            lines.attachment("instructions", head + instructions.rstrip())
        lines.attachment("date", f"Today's date is {self.clock.date}.")
        lines.plain("api-request-shape", {}, timed=True)

    def _do_hookcontext(self, step: Step) -> None:
        self._flush()
        extra = {"hookName": "UserPromptSubmit", "hookEvent": "UserPromptSubmit"}
        text = f"UserPromptSubmit hook additional context: {step.body}"
        content = {"toolUseID": f"hook-{self.stable.uuid()}", "content": [step.body]}
        self.lines.attachment("hook_additional_context", text, extra | content)

    def _end_turn(self) -> None:
        lines = self.lines
        if "hooks" in self.source.head:
            info = {"command": "/home/dev/bin/notify-done", "durationMs": 41 + self._turn}
            summary = {"subtype": "stop_hook_summary", "hookCount": 1, "hookInfos": [info]}
            summary |= {"hookErrors": [], "preventedContinuation": False, "stopReason": ""}
            lines.system(summary | {"hasOutput": False, "level": "suggestion"})
        leaf = {"lastPrompt": self._prompt[:200], "leafUuid": lines.parent}
        lines.plain("last-prompt", leaf)
        tokens = lines.tokens
        cost = tokens["input"] * 3.0 + tokens["output"] * 15.0
        cost += tokens["read"] * 0.3 + tokens["write"] * 3.75
        used: dict[str, Any] = {"inputTokens": tokens["input"], "outputTokens": tokens["output"]}
        used |= {"cacheReadInputTokens": tokens["read"], "costUSD": round(cost / 1e6, 6)}
        state: dict[str, Any] = {"totalCostUSD": round(cost / 1e6, 6)}
        state |= {"totalLinesAdded": self._changed[0], "totalLinesRemoved": self._changed[1]}
        state |= {"totalDuration": self.clock.epoch_ms - self.started, "startTime": self.started}
        lines.plain("cost-state", state | {"modelUsage": {self.place.model: used}})

    # Assistant messages and tool calls.

    def _do_think(self, step: Step) -> None:
        self._text({"type": "thinking", "thinking": step.body, "signature": ""}, step)

    def _do_say(self, step: Step) -> None:
        self._text({"type": "text", "text": step.body}, step)

    def _text(self, block: dict[str, Any], step: Step) -> None:
        spoken = any(known["type"] == "text" for known in self._pending.blocks)
        if spoken or self._pending.calls:
            self._flush()
        self._pending.blocks.append(block)
        self._pending.labels.append(step.label)

    def _tool(self, step: Step) -> None:
        if self._pending.calls and not step.parallel:
            self._flush()
        call = TOOLS[step.kind](Ask(step, self.place.cwd, self.world))
        self._ask(step, call)

    def _ask(self, step: Step, call: Call) -> str:
        tool_id = self.stable.base58("toolu_01", 22)
        block = {"type": "tool_use", "id": tool_id, "name": call.name, "input": call.tool_input}
        self._pending.blocks.append(block)
        self._pending.calls.append((step, call, tool_id))
        self._label(step.label, "tool_use", tool_id)
        if call.name not in self._used:
            self._used.append(call.name)
            self.lines.plain("tools-used", {"tools": list(self._used)})
        return tool_id

    def _flush(self) -> list[str]:
        pending, self._pending = self._pending, _Pending()
        if not pending.blocks:
            return []
        self._request_lines()
        self.clock.forward(self.stable.between(1800, 5200))
        stop = "tool_use" if pending.calls else "end_turn"
        message_id, uuids = self.lines.assistant(pending.blocks, stop)
        for label in pending.labels:
            self._label(label, "message", message_id)
        asked = uuids[len(uuids) - len(pending.calls) :]
        for (step, call, tool_id), source in zip(pending.calls, asked, strict=True):
            if step.kind != "agent":
                self._answer(step, call, tool_id, source)
        return asked

    def _request_lines(self) -> None:
        self._requests += 1
        if self._requests % 6 == 1:
            left = f"<total_tokens>{15_000_000 - sum(self.lines.tokens.values())} tokens left"
            self.lines.attachment("total_tokens_reminder", f"{left}</total_tokens>")
        if self._requests % 2 == 1:
            self.lines.plain("api-request-blob", {})
        self.lines.plain("api-request", {}, timed=True)

    def _answer(self, step: Step, call: Call, tool_id: str, source: str) -> None:
        slow = int(step.args.get("took", "0")) * 1000
        self.clock.forward(slow or self.stable.between(30, 2600 if call.name == "Bash" else 160))
        block: dict[str, Any] = {"tool_use_id": tool_id, "type": "tool_result"}
        block["content"] = call.content
        if call.is_error is not None:
            block["is_error"] = call.is_error
        self.lines.result(block, call.result, source, shell=call.name == "Bash")
        if "hooks" in self.source.head and call.name in ("Edit", "Write"):
            self._formatted(call.name, tool_id)
        if not isinstance(call.result, dict):
            return
        for hunk in call.result.get("structuredPatch", []):
            self._changed[0] += sum(line.startswith("+") for line in hunk["lines"])
            self._changed[1] += sum(line.startswith("-") for line in hunk["lines"])
        if call.result.get("type") == "create":
            self._changed[0] += call.result["content"].count("\n")

    def _formatted(self, tool: str, tool_id: str) -> None:
        hook = {"hookName": f"PostToolUse:{tool}", "hookEvent": "PostToolUse"}
        self.lines.attachment(
            "hook_success", extra=hook | {"toolUseID": tool_id, "exitCode": 0, "stdout": ""}
        )

    # Subagents.

    def _do_agent(self, step: Step) -> None:
        description, prompt = step.parts(2)[:2]
        if self._pending.calls:
            self._flush()
        tool_input = {"description": description, "prompt": prompt}
        tool_input |= {"subagent_type": step.args["type"]}
        call = Call("Agent", tool_input | {"run_in_background": False}, "", None)
        tool_id = self._ask(step, call)
        source = self._flush()[-1]
        agent_id = self.stable.hexes("a", 16)
        inner = Lines(self.place, self.stable, self.clock, agent_id)
        inner.prompt_id = self.lines.prompt_id
        self._outer = (self.lines, step, tool_id, source)
        meta: dict[str, Any] = {
            "agentType": step.args["type"],
            "description": description,
            "toolUseId": tool_id,
        }
        meta |= {"spawnDepth": 1, "model": self.place.model}
        self.subagents.append(Subagent(inner, meta))
        self.lines = inner
        self.clock.forward(700)
        inner.user(prompt)
        inner.attachment("environment", f"Primary working directory: {self.place.cwd}")

    def _do_endagent(self, step: Step) -> None:
        if self._outer is None:
            raise ValueError(f"line {step.line}: no subagent is open")
        self._flush()
        inner = self.lines
        self.lines, asked, tool_id, source = self._outer
        self._outer = None
        report = inner.rows[-1]["message"]["content"][0]["text"]
        tools = sum(row["type"] == "user" for row in inner.rows) - 1
        tokens, duration = sum(inner.tokens.values()), 9_000 + 7_300 * tools
        indented = "\n".join(f"  {line}".rstrip() for line in report.split("\n"))
        facts = {"agent": inner.agent_id, "tokens": tokens, "tools": tools, "duration": duration}
        content = [{"type": "text", "text": HAND_BACK.format(report=indented, **facts)}]
        outcome: dict[str, Any] = {
            "status": "completed",
            "prompt": asked.parts(2)[1],
            "agentId": inner.agent_id,
        }
        outcome |= {"agentType": asked.args["type"], "content": [{"type": "text", "text": report}]}
        outcome |= {"resolvedModel": self.place.model, "totalDurationMs": duration}
        outcome |= {"totalTokens": tokens, "totalToolUseCount": tools, "canContinueAgent": True}
        block = {"tool_use_id": tool_id, "type": "tool_result", "content": content}
        self.lines.result(block, outcome, source, shell=False)

    # Compaction.

    def _do_compact(self, step: Step) -> None:
        self._open_turn("/compact")
        lines = self.lines
        lines.plain("mode", {"mode": "normal"})
        lines.slug = step.args["slug"]
        before = lines.parent
        self.clock.forward(21_000)
        numbers: dict[str, Any] = {"trigger": "manual", "preTokens": 148_210, "durationMs": 20_877}
        numbers |= {"postTokens": 6_904, "cumulativeDroppedTokens": 0}
        head: dict[str, Any] = {"logicalParentUuid": before, "subtype": "compact_boundary"}
        head |= {"content": "Conversation compacted", "isMeta": False, "level": "info"}
        lines.system(head | {"compactMetadata": numbers}, root=True)
        path = f"{HOME}/{slug_of(self.place.cwd)}/{self.place.session_id}.jsonl"
        summary = SUMMARY_HEAD + step.body + SUMMARY_TAIL.format(path=path)
        lines.user(summary, {"isVisibleInTranscriptOnly": True, "isCompactSummary": True})
        lines.user(CAVEAT, {"isMeta": True})
        tag = "<command-name>/compact</command-name>\n            "
        tag += "<command-message>compact</command-message>\n            "
        lines.user(tag + "<command-args></command-args>")
        done = "<local-command-stdout>Compacted</local-command-stdout>"
        lines.user(done, {"repeatsCompactSummary": True})
        self._label(step.label, "prompt", lines.prompt_id)

    def _label(self, label: str, kind: str, target: str) -> None:
        if not label:
            return
        if label in self.labels and self.labels[label].id != target:
            raise ValueError(f"{self.source.name}: label #{label} is used twice")
        self.labels[label] = Evidence(kind, target)
