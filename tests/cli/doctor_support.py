"""Short ways to run `claude-mem doctor` and to hurt what it looks at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import sqlean
import typer
from typer.testing import CliRunner

from claude_mem.cli import doctor


def examine(*arguments: str, code: int | None = None) -> dict[str, Any]:
    app = typer.Typer()
    doctor.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert done.exit_code == (0 if found["ok"] else 1)
    assert code is None or done.exit_code == code, found
    return found


def trouble(found: dict[str, Any]) -> dict[str, str]:
    """What is not ok, by id."""
    return {it["id"]: it["status"] for it in found["checks"] if it["status"] != "ok"}


def one(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(it for it in found["checks"] if it["id"] == name and it["status"] != "ok")


def edit(path: Path, *statements: str) -> None:
    raw = sqlean.connect(str(path), isolation_level=None)
    for statement in statements:
        raw.execute(statement)
    raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()


def change(settings: Path, values: dict[str, Any]) -> None:
    settings.write_text(json.dumps(json.loads(settings.read_text()) | values))
