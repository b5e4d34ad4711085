"""An installation to look at: a store, its hooks and its settings in a private home."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.ports import free_port

from claude_mem.hook import mcp_registration
from claude_mem.hook.agents.claude import EVENTS
from claude_mem.hook.installation import install, prepare_home
from claude_mem.worker import control
from claude_mem.worker.launch import supervisor_argv
from store_support import copy_store, make_store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("whole") / "data"
    make_store(home, sessions=2, turns=10)
    return home


@pytest.fixture
def settings(private_home: Path) -> Path:
    """The person's settings of the client."""
    return private_home / ".claude" / "settings.json"


@pytest.fixture
def home(
    whole: Path, settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A sound installation whose worker is down. Short: a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="cm-"))
    home = copy_store(whole, folder / "d")
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home))
    monkeypatch.setenv("CLAUDE_MEM_EMBEDDING_PROVIDER", "off")  # the model has its own tests
    monkeypatch.setenv("CLAUDE_MEM_PORT", str(free_port()))
    prepare_home(home, supervisor_argv(home))
    install(home, settings, sys.executable, EVENTS)
    mcp_registration.install(home, mcp_registration.config_path(), sys.executable, None)
    (tmp_path / "project" / ".git").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    yield home
    for path in (folder, home):
        path.chmod(0o700)
    assert control.stop(home).ok
    shutil.rmtree(folder)
