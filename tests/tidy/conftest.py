"""The repository under test, and its programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def tracked(root: Path) -> list[Path]:
    """Every file of the repository; without git (a source archive) every file but made ones."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    if done.returncode == 0:
        names = [name for name in done.stdout.decode().split("\0") if name]
        return [path for path in (root / name for name in names) if path.is_file()]
    left_out = {".venv", ".run", "__pycache__", ".git", ".mypy_cache", ".ruff_cache", ".hypothesis"}
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and not left_out & set(path.relative_to(root).parts)
    ]
