"""Owns the source format of a sample session: plain text with directives, parsed to steps.

A line `@@ kind word key=value #label +` opens a step; the lines up to the next `@@ ` are its body.
`#label` names the step, so that facts and questions can point at it; `+` puts a tool call into the
same assistant message as the one before. A body line that itself starts with `@@ ` is written `\\@@ `.
Never writes files and knows nothing of the transcript format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

_MARK = "@@ "


@dataclass(frozen=True)
class Step:
    """One directive with its body (no trailing newline)."""

    kind: str
    words: tuple[str, ...]
    args: dict[str, str]
    label: str
    parallel: bool
    body: str
    line: int

    def parts(self, minimum: int = 1) -> list[str]:
        """Body split at lines that are exactly `---`; at least `minimum` parts."""
        found = [""]
        for line in self.body.split("\n"):
            if line == "---" and len(found) < 3:
                found.append("")
            else:
                found[-1] += line + "\n"
        found = [part.strip("\n") for part in found]
        if len(found) < minimum:
            raise ValueError(f"line {self.line}: @@ {self.kind} needs {minimum} parts")
        return found


@dataclass(frozen=True)
class SessionSource:
    """One parsed session file; `head` holds id-giving name, start, branch, project, title."""

    name: str
    head: dict[str, str]
    steps: tuple[Step, ...]
    facts: tuple[tuple[str, tuple[str, ...]], ...] = field(default=())


def load_session(path: Path) -> SessionSource:
    """Parse one `.session` file. Raises ValueError with the line number on a malformed step."""
    steps = _parse(path.read_text(encoding="utf-8"))
    if not steps or steps[0].kind != "session":
        raise ValueError(f"{path.name}: the first step must be @@ session")
    facts = [step for step in steps if step.kind == "facts"]
    rest = tuple(step for step in steps[1:] if step.kind != "facts")
    head = dict(steps[0].args, title=steps[0].body)
    pairs = tuple(_fact(line) for step in facts for line in step.body.split("\n") if line)
    return SessionSource(path.stem, head, rest, pairs)


def _parse(text: str) -> list[Step]:
    steps: list[Step] = []
    opening, start = "", 0
    body: list[str] = []
    for number, line in enumerate([*text.split("\n"), _MARK], start=1):
        if not line.startswith(_MARK):
            body.append(line.removeprefix("\\"))
            continue
        if opening:
            steps.append(_step(opening, "\n".join(body).strip("\n"), start))
        opening, start, body = line.removeprefix(_MARK), number, []
    return steps


def _step(opening: str, body: str, line: int) -> Step:
    kind, *rest = opening.split()
    words: list[str] = []
    args: dict[str, str] = {}
    label = ""
    for part in rest:
        key, equals, value = part.partition("=")
        if part.startswith("#"):
            label = part[1:]
        elif equals and key.isidentifier():
            args[key] = value
        elif part != "+":
            words.append(part)
    return Step(kind, tuple(words), args, label, "+" in rest, body, line)


def _fact(line: str) -> tuple[str, tuple[str, ...]]:
    text, _, must = line.removeprefix("- ").partition(" || ")
    words = tuple(word.strip() for word in must.split(" | ") if word.strip())
    if not words:
        raise ValueError(f"fact without its words: {line}")
    return text, words
