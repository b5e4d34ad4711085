"""The sessions written by hand, read from `sessions/*.txt`.

    @@ session ID project=NAME start=2026-01-13T09:12 branch=NAME by=NAME
    @@ user | reply            a prompt, an answer
    @@ run | fail              a command, `---`, its output or error
    @@ read | write PATH       a file's content
    @@ edit PATH               the old text, `---`, the new one

Any of them may end in a `#label`; an event's id is SESSION/label, or SESSION/number without one. Seventy seconds apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from bench.coding import rows as make
from bench.coding.rows import Json, Row

FOLDER = Path(__file__).with_name("sessions")
_APART = timedelta(seconds=70)


@dataclass(slots=True)
class _Session:
    id: str
    about: dict[str, str]
    events: int = 0
    prompts: int = 0


def rows() -> Iterator[Row]:
    """Their events. Raises ValueError for a block that is not understood."""
    for path in sorted(FOLDER.glob("*.txt")):
        session: _Session | None = None
        for block in ("\n" + path.read_text(encoding="utf-8")).split("\n@@ ")[1:]:
            head, _, body = block.partition("\n")
            words = head.split()
            if words[0] == "session":
                session = _Session(words[1], dict(word.split("=", 1) for word in words[2:]))
            elif session is not None:
                yield _row(session, words, body.strip("\n"))


def _row(session: _Session, words: list[str], body: str) -> Row:
    session.events += 1
    session.prompts += words[0] == "user"
    label = words.pop()[1:] if words[-1].startswith("#") else str(session.events)
    project = session.about["project"]
    kind, data = _event(words, body, f"/home/dev/{project}")
    data |= {
        "prompt_id": f"{session.id}-{session.prompts}",
        "cwd": f"/home/dev/{project}",
        "git_branch": session.about["branch"],
    }
    at = datetime.fromisoformat(session.about["start"]) + session.events * _APART
    return make.row(f"{session.id}/{label}", session.id, project, at.isoformat(), kind, data)


def _event(words: list[str], body: str, home: str) -> tuple[str, Json]:
    first, _, second = body.partition("\n---\n")
    match words:
        case ["user"]:
            return "prompt.submitted", {"content": body}
        case ["reply"]:
            return "assistant.replied", {"content": body}
        case ["run"]:
            return "tool.used", make.ran(first, second)
        case ["fail"]:
            return "tool.failed", make.failed(first, second)
        case ["read", path]:
            return "tool.used", make.read(f"{home}/{path}", body)
        case ["write", path]:
            return "tool.used", make.wrote(f"{home}/{path}", body)
        case ["edit", path]:
            return "tool.used", make.edited(f"{home}/{path}", first, second)
    raise ValueError(f"not understood: @@ {' '.join(words)}")
