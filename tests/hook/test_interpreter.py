"""Which Python is chosen for the hook: one that is proven to run it, wherever it says it is."""

import os
import sys
from pathlib import Path

import pytest

from claude_mem.hook.interpreter import NoInterpreterError, choose, default_candidates

BASE = str(getattr(sys, "_base_executable", sys.executable))


def script(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_the_default_lies_outside_this_environment() -> None:
    found = choose()
    assert Path(found.path).is_absolute()
    assert found.version >= (3, 11)
    if sys.prefix != sys.base_prefix:
        assert found.lasting
        assert not found.path.startswith(sys.prefix + os.sep)
    assert list(default_candidates())[-1] == sys.executable


def test_a_shim_is_seen_through(tmp_path: Path) -> None:
    shim = script(tmp_path / "python3", f'exec "{BASE}" "$@"\n')
    assert choose([shim]).path == BASE


def test_what_does_not_work_is_passed_over(tmp_path: Path) -> None:
    real_look = 'case "$*" in *version_info*) echo "$0"; echo 3 11;; *) {};; esac\n'
    candidates = [
        str(tmp_path / "none"),
        script(tmp_path / "fails", "exit 3\n"),
        script(tmp_path / "silent", "exit 0\n"),
        script(tmp_path / "old", 'echo "$0"; echo 3 9\n'),
        script(tmp_path / "idle", real_look.format("exit 0")),
        script(tmp_path / "noisy", real_look.format(f'echo x >&2; exec "{BASE}" "$@"')),
        script(tmp_path / "broken", real_look.format("exit 1")),
        str(tmp_path),
    ]
    assert choose([*candidates, BASE]).path == BASE
    with pytest.raises(NoInterpreterError) as caught:
        choose(candidates)
    said = str(caught.value)
    assert all(candidate in said for candidate in candidates)
    assert "is 3.9, 3.11 is needed" in said
    assert "does not run the hook" in said


def test_an_environment_of_its_own_is_said_not_to_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(Path(BASE).parent.parent))
    monkeypatch.setattr(sys, "base_prefix", "/usr/elsewhere")
    assert not choose([BASE]).lasting
