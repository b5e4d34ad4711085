"""Owns what each tool of a sample session is given and answers, in the shapes Claude Code writes.

File tools work on a `World`, the files as the sessions have left them, so that every diff and every
original agrees with what was shown before. Never touches a real file system.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tools.sample.source import Step

_FRESH = " (file state is current in your context — no need to Read it back)"
_TODO_DONE = (
    "Todos have been modified successfully. Ensure that you continue to use the todo list to "
    "track your progress. Please proceed with the current tasks if applicable"
)
_TODO_STATES = {"[x]": "completed", "[>]": "in_progress", "[ ]": "pending"}


@dataclass
class World:
    """Files by absolute path, over all sessions, and the to-do list of the running one."""

    files: dict[str, str] = field(default_factory=dict)
    todos: list[dict[str, str]] = field(default_factory=list)

    def text(self, path: str, line: int) -> str:
        """Content of `path`; ValueError naming the source line when no session has it."""
        if path not in self.files:
            raise ValueError(f"line {line}: {path} does not exist yet")
        return self.files[path]


@dataclass(frozen=True)
class Ask:
    """What a tool gets: its step, the session's folder, and the files."""

    step: Step
    cwd: str
    world: World


@dataclass(frozen=True)
class Call:
    """A tool call with its answer: `content` goes to the model, `result` is `toolUseResult`."""

    name: str
    tool_input: dict[str, Any]
    content: str | list[dict[str, str]]
    result: Any
    is_error: bool | None = None


def absolute(path: str, cwd: str) -> str:
    """`path` as the tools name it."""
    return path if path.startswith("/") else f"{cwd}/{path}"


def bash(ask: Ask) -> Call:
    """Body: optional `# description`, the command, `---`, its output; `exit=N` for a failure."""
    command, output = (*ask.step.parts(), "")[:2]
    tool_input = {"command": command}
    if command.startswith("# "):
        description, _, command = command[2:].partition("\n")
        tool_input = {"command": command, "description": description}
    code = ask.step.args.get("exit", "0")
    if code == "0":
        result = {
            "stdout": output,
            "stderr": "",
            "interrupted": False,
            "isImage": False,
            "noOutputExpected": not output,
        }
        return Call("Bash", tool_input, output or "(Bash completed with no output)", result, False)
    text = f"Exit code {code}" + (f"\n{output}" if output else "")
    return Call("Bash", tool_input, text, f"Error: {text}", True)


def read(ask: Ask) -> Call:
    """`@@ read path offset= limit=`: the file as the sessions left it."""
    path = absolute(ask.step.words[0], ask.cwd)
    lines = ask.world.text(path, ask.step.line).split("\n")
    start = int(ask.step.args.get("offset", "1"))
    shown = lines[start - 1 : start - 1 + int(ask.step.args.get("limit", "2000"))]
    tool_input: dict[str, Any] = {"file_path": path}
    tool_input |= {
        key: int(ask.step.args[key]) for key in ("offset", "limit") if key in ask.step.args
    }
    numbered = "\n".join(f"{start + index}\t{text}" for index, text in enumerate(shown))
    file = {
        "filePath": path,
        "content": "\n".join(shown),
        "numLines": len(shown),
        "startLine": start,
        "totalLines": len(lines),
    }
    return Call("Read", tool_input, numbered, {"type": "text", "file": file})


def edit(ask: Ask) -> Call:
    """Body: old text, `====`, new text. The old text must occur exactly once (or `all=1`)."""
    path = absolute(ask.step.words[0], ask.cwd)
    old, _, new = (
        ask.step.body.partition("\n====\n") if "\n====\n" in ask.step.body else _ends(ask.step)
    )
    replace_all = "all" in ask.step.args
    tool_input = {
        "replace_all": replace_all,
        "file_path": path,
        "old_string": old,
        "new_string": new,
    }
    before = ask.world.text(path, ask.step.line)
    if "missing" in ask.step.args:
        if old in before:
            raise ValueError(f"line {ask.step.line}: marked missing, but the text is in {path}")
        reason = f"String to replace not found in file.\nString: {old}"
        return Call(
            "Edit",
            tool_input,
            f"<tool_use_error>{reason}</tool_use_error>",
            f"Error: {reason}",
            True,
        )
    if before.count(old) != 1 and not (replace_all and old in before):
        raise ValueError(f"line {ask.step.line}: found {before.count(old)} times in {path}")
    after = before.replace(old, new)
    ask.world.files[path] = after
    result = {
        "filePath": path,
        "oldString": old,
        "newString": new,
        "originalFile": before,
        "structuredPatch": structured_patch(before, after),
        "userModified": False,
        "replaceAll": replace_all,
    }
    return Call(
        "Edit", tool_input, f"The file {path} has been updated successfully.{_FRESH}", result
    )


def _ends(step: Step) -> tuple[str, str, str]:
    # A removal has nothing after the separator, and the parser strips the line break before it.
    if not step.body.endswith("\n===="):
        raise ValueError(f"line {step.line}: @@ edit needs a ==== line")
    return step.body.removesuffix("\n===="), "", ""


def write(ask: Ask) -> Call:
    """Body: the whole content; an existing file is replaced."""
    path = absolute(ask.step.words[0], ask.cwd)
    before, after = ask.world.files.get(path), ask.step.body + "\n"
    ask.world.files[path] = after
    result = {
        "type": "create" if before is None else "update",
        "filePath": path,
        "content": after,
        "structuredPatch": [] if before is None else structured_patch(before, after),
        "originalFile": before,
        "userModified": False,
    }
    said = f"File created successfully at: {path}{_FRESH}"
    if before is not None:
        said = f"The file {path} has been updated successfully.{_FRESH}"
    return Call("Write", {"file_path": path, "content": after}, said, result)


def structured_patch(before: str, after: str) -> list[dict[str, Any]]:
    """Hunks with three lines of context, as `toolUseResult.structuredPatch` carries them."""
    old, new = before.removesuffix("\n").split("\n"), after.removesuffix("\n").split("\n")
    hunks = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(3):
        lines: list[str] = []
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                lines += [f" {text}" for text in old[i1:i2]]
                continue
            lines += [f"-{text}" for text in old[i1:i2]] + [f"+{text}" for text in new[j1:j2]]
        first, last = group[0], group[-1]
        hunks.append(
            {
                "oldStart": first[1] + 1,
                "oldLines": last[2] - first[1],
                "newStart": first[3] + 1,
                "newLines": last[4] - first[3],
                "lines": lines,
            }
        )
    return hunks


def grep(ask: Ask) -> Call:
    """Body: the input as JSON, `---`, the output (file names, or lines in content mode)."""
    head, output = ask.step.parts(2)[:2]
    tool_input = json.loads(head)
    lines = output.split("\n") if output else []
    if tool_input.get("output_mode") == "content":
        result: dict[str, Any] = {
            "mode": "content",
            "numFiles": 0,
            "filenames": [],
            "content": output,
            "numLines": len(lines),
        }
        return Call("Grep", tool_input, output or "No matches found", result)
    result = {"mode": "files_with_matches", "filenames": lines, "numFiles": len(lines)}
    said = f"Found {len(lines)} file{'s' * (len(lines) != 1)}\n{output}"
    return Call("Grep", tool_input, said if lines else "No files found", result)


def glob(ask: Ask) -> Call:
    """`@@ glob pattern`, body: the files found."""
    names = [absolute(line, ask.cwd) for line in ask.step.body.split("\n") if line]
    result = {"filenames": names, "durationMs": 14, "numFiles": len(names), "truncated": False}
    return Call(
        "Glob", {"pattern": ask.step.words[0]}, "\n".join(names) or "No files found", result
    )


def todo(ask: Ask) -> Call:
    """Body: one `[x]`, `[>]` or `[ ]` line per entry."""
    new = [
        {"content": line[4:], "status": _TODO_STATES[line[:3]], "activeForm": line[4:]}
        for line in ask.step.body.split("\n")
    ]
    result = {"oldTodos": ask.world.todos, "newTodos": new}
    ask.world.todos = new
    return Call("TodoWrite", {"todos": new}, _TODO_DONE, result)


def webfetch(ask: Ask) -> Call:
    """Body: URL, `---`, the question put to the page, `---`, the answer."""
    url, prompt, answer = ask.step.parts(3)
    size = len(answer.encode()) * 23
    result = {
        "bytes": size,
        "code": 200,
        "codeText": "OK",
        "result": answer,
        "durationMs": 2100 + size % 900,
        "url": url,
    }
    return Call("WebFetch", {"url": url, "prompt": prompt}, answer, result)


def mcp(ask: Ask) -> Call:
    """`@@ mcp mcp__server__tool`, body: the input as JSON, `---`, the text it answers."""
    head, output = ask.step.parts(2)[:2]
    content = [{"type": "text", "text": output}]
    return Call(ask.step.words[0], json.loads(head), content, content)


TOOLS: dict[str, Callable[[Ask], Call]] = {
    "bash": bash,
    "read": read,
    "edit": edit,
    "write": write,
    "grep": grep,
    "glob": glob,
    "todo": todo,
    "webfetch": webfetch,
    "mcp": mcp,
}
