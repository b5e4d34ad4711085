"""Which project a folder belongs to: its git root, never its bare name.

A linked worktree belongs to the repository whose common directory it shares. A folder that is in no repository, or that
is not on this machine, is its own project.
"""

from __future__ import annotations

import time
from pathlib import Path

_KEEP_S = 60.0
_BOUND = 4096


class ProjectResolver:
    """Maps folders to project keys; remembers answers for a minute."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, str]] = {}

    def __call__(self, folder: str) -> str:
        """The key of the project `folder` lies in; a name that is no absolute path stays as it is."""
        now = time.monotonic()
        known = self._known.get(folder)
        if known is not None and known[0] > now:
            return known[1]
        key = git_root(folder) if folder.startswith("/") else folder
        if len(self._known) >= _BOUND:
            self._known.clear()
        self._known[folder] = (now + _KEEP_S, key)
        return key


def git_root(folder: str) -> str:
    """The root of the git repository around `folder` (of its main worktree), or `folder` itself."""
    path = Path(folder)
    try:
        for candidate in (path, *path.parents):
            dot_git = candidate / ".git"
            if dot_git.is_dir():
                return str(candidate)
            if dot_git.is_file():
                return str(_main_worktree(dot_git) or candidate)
    except (OSError, ValueError):
        return folder  # unreadable, or no path at all (a NUL in it): its own project
    return folder


def _main_worktree(dot_git: Path) -> Path | None:
    """The main worktree behind a `.git` file of a linked worktree; None for a submodule."""
    line = dot_git.read_text(encoding="utf-8", errors="replace").strip()
    if not line.startswith("gitdir:"):
        return None
    git_dir = Path(line.removeprefix("gitdir:").strip())
    if not git_dir.is_absolute():
        git_dir = (dot_git.parent / git_dir).resolve()
    if git_dir.parent.name != "worktrees" or git_dir.parent.parent.name != ".git":
        return None
    return git_dir.parent.parent.parent


def branch_of(folder: str) -> str:
    """The branch that is checked out in the repository around a folder; "" where none is."""
    path = Path(folder)
    try:
        for candidate in (path, *path.parents):
            dot_git = candidate / ".git"
            if dot_git.is_file():
                line = dot_git.read_text(encoding="utf-8", errors="replace").strip()
                dot_git = (candidate / line.removeprefix("gitdir:").strip()).resolve()
            if dot_git.is_dir():
                head = (dot_git / "HEAD").read_text(encoding="utf-8", errors="replace")[:1000]
                _, _, name = head.strip().partition("ref: refs/heads/")
                return name
    except (OSError, ValueError):
        return ""
    return ""
