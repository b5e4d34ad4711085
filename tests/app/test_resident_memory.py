"""A worker lives for weeks: what only its first minute needs must not stay loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
from claude_mem.app.migrate import is_current
from claude_mem.app.serve import _migrate_apart
path = Path(sys.argv[1])
assert not is_current(path)
_migrate_apart(path)
assert is_current(path)
print("alembic" in sys.modules)
"""


def test_the_first_migration_leaves_nothing_loaded(tmp_path: Path) -> None:
    source = Path(__file__).parents[2] / "src"
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "claude-mem.db")],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"
