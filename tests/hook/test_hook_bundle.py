"""The installed file: self-contained, small in what it loads, replaced whole."""

import ast
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hook_support import Door, Installed, answering, payload, reply

from claude_mem import __version__
from claude_mem.hook import bundle

ALLOWED = {"posix", "time", "_socket", "socket", "sys", "_frozen_importlib_external", "types"}
OpenDoor = Callable[..., Door]
STANDARD = {"re", "json", "os", "fcntl", "time", "functools", "collections.abc", "typing", "sys"}
STANDARD |= {"stat", "hashlib"}


def imports(text: str) -> set[str]:
    """The modules a text imports, wherever it does."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def test_it_needs_the_standard_library_only_and_little_of_it() -> None:
    assert imports(bundle.render_hook()) - {"claude_mem.hook.fallback"} <= ALLOWED
    assert imports(bundle.render_slow_path()) <= STANDARD


def test_the_fast_path_loads_nothing_but_a_socket(hook: Installed, open_door: OpenDoor) -> None:
    open_door(answering(reply()))
    command = hook.command("Stop")
    command[1:1] = ["-X", "importtime"]
    done = subprocess.run(command, input=b"{}", capture_output=True, env={})
    loaded = {line.split("|")[-1].strip() for line in done.stderr.decode().splitlines()}
    command[-3] = "import time, posix"
    bare = subprocess.run(command, capture_output=True, env={})
    known = {line.split("|")[-1].strip() for line in bare.stderr.decode().splitlines()}
    assert loaded - known <= {"_socket"}


def test_it_runs_where_the_package_is_not(hook: Installed) -> None:
    code = "import claude_mem"
    gone = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, env={})
    assert gone.returncode == 1, "the test proves nothing: the bare interpreter finds the package"
    hook.run("Stop", payload("Stop"))
    assert len(hook.lines()) == 1


def test_files_and_version(folder: Path) -> None:
    assert bundle.installed_version(folder) is None
    path = bundle.write_hook(folder)
    assert path == folder / "hook" / "hook.py"
    assert bundle.installed_version(folder) == __version__
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {entry.suffix for entry in path.parent.iterdir()} == {".py", ""}


def test_rendering_is_repeatable_and_an_upgrade_leaves_nothing_old(folder: Path) -> None:
    assert bundle.render_hook() == bundle.render_hook()
    bundle.write_hook(folder)
    kept = sorted((folder / "hook").rglob("*"))
    (folder / "hook" / "slow_0123456789ab.py").write_text("pass")
    bundle.write_hook(folder, "9.9.9")
    assert sorted((folder / "hook").rglob("*")) == kept
    assert "VERSION = '9.9.9'" in (folder / "hook" / "hook.py").read_text()


def test_two_modules_with_one_name_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.render_slow_path()
    monkeypatch.setattr(
        bundle, "SLOW_MODULES", (*bundle.SLOW_MODULES, "claude_mem.hook.agents.claude")
    )
    with pytest.raises(ValueError, match=r"AGENT is defined in .*fallback and in .*claude"):
        bundle.render_slow_path()


def test_an_upgrade_within_a_second_is_not_hidden_by_the_compiled_old_one(
    hook: Installed, open_door: OpenDoor
) -> None:
    door = open_door()
    for version in ("1.0.1", "1.0.2", "1.0.3"):
        bundle.write_hook(hook.home, version)
        hook.run("Stop", payload("Stop"))
    assert [fields["X-Hook-Version"] for fields, _ in door.requests] == ["1.0.1", "1.0.2", "1.0.3"]
