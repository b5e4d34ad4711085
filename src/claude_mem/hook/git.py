"""Keeping a settings file of one person out of a shared repository."""

import os
import subprocess
from pathlib import Path


def root_of(folder: Path) -> Path | None:
    """The top of the working tree that holds `folder`, None outside of one or without git."""
    found = _git(folder, "rev-parse", "--show-toplevel")
    return Path(found) if found else None


def is_tracked(path: Path) -> bool:
    """Whether git has this file under version control."""
    return bool(_git(path.parent, "ls-files", "--", path.name))


def is_ignored(path: Path) -> bool:
    """Whether git would leave this file out of a commit."""
    return bool(_git(path.parent, "check-ignore", "--", path.name))


def exclude(root: Path, path: Path) -> Path | None:
    """Ignore `path` in this clone only (git's `info/exclude`, shared with nobody).

    Returns the file that got a line, None when it could not be written.
    """
    found = _git(root, "rev-parse", "--git-path", "info/exclude")
    if not found:
        return None
    file = Path(os.path.join(root, found))
    line = _line(root, path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        if line not in text.splitlines():
            gap = "" if not text or text.endswith("\n") else "\n"
            file.write_text(f"{text}{gap}{line}\n", encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    return file


def include_again(root: Path, path: Path, file: Path) -> None:
    """Take the line out that `exclude` put into `file`. A file that is gone is fine."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return  # gone or not text: then there is no line of ours to take out
    line = _line(root, path)
    file.write_text("".join(row for row in text.splitlines(True) if row.strip() != line))


def _line(root: Path, path: Path) -> str:
    return "/" + path.relative_to(root).as_posix()


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, None when it fails, is missing, or the folder is."""
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
