"""Which transcripts there are below a folder. Only looks: names, sizes, and each file's first lines
for its project.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from claude_mem.domains.capture.transcripts import lines
from claude_mem.domains.capture.transcripts.files import open_regular
from claude_mem.hook.optout import is_opted_out

_HEAD_BYTES = 4 << 20  # where a message line with its folder must have come


@dataclass(frozen=True, slots=True)
class TranscriptFile:
    """A transcript: its size in bytes, moment of the last change (Unix seconds), and its project's
    folder, "" if unknown.
    """

    path: Path
    size: int
    modified: float
    project: str
    opted_out: bool = False

    @property
    def is_subagent(self) -> bool:
        """Whether it belongs to a subagent of a session."""
        return self.path.parent.name == "subagents"


def projects_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where Claude Code keeps its transcripts: `$CLAUDE_CONFIG_DIR/projects`, or
    `~/.claude/projects`.
    """
    env = os.environ if environ is None else environ
    return Path(env.get("CLAUDE_CONFIG_DIR") or "~/.claude").expanduser() / "projects"


def find_transcripts(root: Path, exclude: tuple[Path, ...] = ()) -> list[TranscriptFile]:
    """The transcripts at or below `root`, the oldest first, a session before its subagents.

    Folders of `exclude` (the worker's own sessions) are not looked into; projects that opted out
    are marked. What cannot be looked at is left out. Raises FileNotFoundError when `root` is not
    there.
    """
    root = root.absolute()
    if not root.exists():
        raise FileNotFoundError(str(root))
    avoided = {os.path.realpath(folder) for folder in exclude}
    opted: dict[str, bool] = {}
    found = []
    for path in _jsonl_files(root, avoided):
        try:
            stat = path.stat()
            project = _project_of(path)
        except OSError:  # gone meanwhile, or not ours to read: the summary counts what was read
            continue
        if project and project not in opted:
            opted[project] = is_opted_out(project)
        out = opted.get(project, False)
        found.append(TranscriptFile(path, stat.st_size, stat.st_mtime, project, out))
    return sorted(found, key=lambda file: (file.is_subagent, file.modified, str(file.path)))


def _jsonl_files(root: Path, avoided: set[str]) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(
            name
            for name in folders
            if name not in ("tool-results", "memory")
            and os.path.realpath(Path(folder, name)) not in avoided
        )
        if os.path.realpath(folder) in avoided:
            folders.clear()
            continue
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(".jsonl") and path.is_file():
                yield path


def _project_of(path: Path) -> str:
    """The folder that the first message of a transcript was sent from."""
    with open_regular(path) as file:
        for line in lines.read_lines(file, 0):
            if line.value is not None and isinstance(line.value.get("cwd"), str):
                return str(line.value["cwd"])
            if line.end > _HEAD_BYTES:
                break
    return ""
