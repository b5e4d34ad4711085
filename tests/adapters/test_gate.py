"""The gate on a data folder: a wish not to be recorded holds at once, and what was kept of the project goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_mem.adapters.local import gate as gates
from claude_mem.adapters.local.gate import FolderGate
from claude_mem.adapters.local.rendered import RenderedFiles
from claude_mem.kernel.scope import local_scope


def test_an_opt_out_counts_within_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(gates.time, "monotonic", lambda: now)
    gate = FolderGate(tmp_path / "data", 1000, [])
    project = tmp_path / "project"
    (project / ".git").mkdir(parents=True)
    assert not gate.opted_out(str(project))
    (project / ".claude-mem-off").touch()
    now += 0.5
    assert gate.opted_out(str(project))
    (project / ".claude-mem-off").unlink()
    now += 0.5
    assert not gate.opted_out(str(project))


def test_what_was_rendered_for_a_project_that_opts_out_is_deleted(tmp_path: Path) -> None:
    data, out, stays = tmp_path / "data", tmp_path / "out", tmp_path / "stays"
    rendered = RenderedFiles(data)
    for folder in (out, stays):
        (folder / ".git").mkdir(parents=True)
        rendered.save(
            local_scope(), {"place": str(folder), "project_id": "p", "text": "t", "units": []}, 0
        )
    (out / ".claude-mem-off").touch()
    gate = FolderGate(data, 1000, [])
    assert not gate.opted_out(str(stays))
    assert rendered.load(local_scope(), str(out)) is not None, "not noticed yet"
    assert gate.opted_out(str(out / "below"))
    assert rendered.load(local_scope(), str(out)) is None
    assert rendered.load(local_scope(), str(stays)) is not None
