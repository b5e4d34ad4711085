"""`claude-mem db roles | upgrade | partitions`: as the owner, from the environment, and nothing secret is printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import typer
from typer.testing import CliRunner

from claude_mem.app.migrate import READER_VERSION
from claude_mem.app.migrations import HEAD
from claude_mem.app.owner import RUNTIME_ROLE, URL
from claude_mem.cli import db
from servers import OWNER, RUNTIME, PostgresServer, Urls


@pytest.fixture
def empty(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Urls]:
    urls = postgres.database(migrated=False)
    monkeypatch.setenv(URL, urls.owner)
    monkeypatch.setenv(RUNTIME_ROLE, RUNTIME)
    yield urls
    postgres.drop(urls)


def run(*arguments: str, code: int = 0) -> str:
    app = typer.Typer()
    db.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["db", *arguments], env={"COLUMNS": "200"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def told(*arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json", code=code))
    assert found["ok"] is (code == 0)
    return found


def test_an_upgrade_is_looked_at_then_made(postgres: PostgresServer, empty: Urls) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    looked = told("upgrade", "--check")
    assert (looked["before"], looked["revision"], looked["migrated"]) == (None, None, False)
    assert looked["migrations"][0].startswith("0001")
    assert looked["migrations"][-1].startswith(HEAD)
    assert postgres.execute(tables, empty.name) == [(0,)]
    assert "Migrations would run: 0001_first_schema" in run("upgrade", "--check")
    made = told("upgrade")
    assert (made["before"], made["revision"], made["migrated"]) == (None, HEAD, True)
    again = told("upgrade")
    assert (again["before"], again["migrations"], again["migrated"]) == (HEAD, [], False)
    assert "Done" in run("upgrade")


def test_what_is_unguarded_is_told_and_mended(postgres: PostgresServer, empty: Urls) -> None:
    run("upgrade")
    postgres.execute("ALTER TABLE sessions DISABLE ROW LEVEL SECURITY", empty.name)
    assert told("upgrade", "--check")["faults_found"] == ["sessions"]
    assert "Unguarded before: sessions" in run("upgrade")
    assert told("upgrade", "--check")["faults_found"] == []


def test_a_newer_schema_is_left_or_refused(postgres: PostgresServer, empty: Urls) -> None:
    run("upgrade")
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", empty.name)
    assert "newer than this program" in run("upgrade")
    assert told("upgrade")["revision"] == "9999"
    postgres.execute(f"UPDATE schema_info SET value = '{READER_VERSION + 1}'", empty.name)
    assert told("upgrade", "--check", code=1)["code"] == "VERSION_REQUIRED"


def test_what_is_missing_is_named_and_no_password_is_told(
    empty: Urls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(URL)
    assert URL in told("upgrade", code=1)["error"]
    monkeypatch.setenv(f"{URL}_FILE", str(tmp_path / "nowhere"))
    assert f"{URL}_FILE" in told("upgrade", code=1)["error"]
    (tmp_path / "url").write_text(f"{empty.owner}\n")
    monkeypatch.setenv(f"{URL}_FILE", str(tmp_path / "url"))
    assert told("upgrade", "--check")["before"] is None
    password = str(sa.make_url(empty.owner).password)
    nowhere = sa.make_url(empty.owner).set(port=1).render_as_string(hide_password=False)
    wrong = (
        sa.make_url(empty.owner).set(password="open sesame").render_as_string(hide_password=False)
    )
    for address in (nowhere, wrong, f"mysql://x:{password}@y/z", password):
        monkeypatch.setenv(URL, address)
        for output in (run("upgrade", code=1), json.dumps(told("partitions", code=1))):
            assert password not in output
            assert "sesame" not in output


def test_roles_are_the_ones_an_upgrade_asks_for(
    postgres: PostgresServer, empty: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUNTIME_ROLE, "cm_of_this_test")
    assert "CREATE ROLE" in told("upgrade", code=1)["error"]
    statements = told("roles", "--owner", OWNER, "--runtime", "cm_of_this_test")["sql"]
    for statement in statements:
        if '"cm_of_this_test"' in statement:
            postgres.execute(statement)
    try:
        assert told("upgrade")["migrated"] is True
    finally:
        postgres.execute('DROP OWNED BY "cm_of_this_test"', empty.name)
        postgres.execute('DROP ROLE "cm_of_this_test"')
    assert run("roles").startswith('CREATE ROLE "claude_mem_owner" LOGIN')


def test_partitions_are_made_listed_and_taken_out(postgres: PostgresServer, empty: Urls) -> None:
    run("upgrade")
    assert told("partitions")["made"] == []
    made = told("partitions", "--since", "2024-03")
    assert "prompts_y2024m03" in made["made"]
    assert {it["month"] for it in made["partitions"]} >= {
        None,
        "2024-03",
        f"{datetime.now(UTC):%Y-%m}",
    }
    assert told("partitions", "--since", "2024-3-1", code=2)["code"] == "USAGE"
    assert told("partitions", "--detach-older-than", "12", code=2)["code"] == "USAGE"
    age = (datetime.now(UTC).year - 2024) * 12 + datetime.now(UTC).month - 3
    out = told("partitions", "--detach-older-than", str(age - 1), "--yes")
    assert sorted(out["detached"]) == sorted(
        f"{table}_y2024m03"
        for table in ("prompts", "observations", "code_changes", "ingested_events")
    )
    assert told("partitions", "--detach-older-than", str(age - 1), "--yes")["detached"] == []
    shown = run("partitions")
    assert "2024-03, detached" in shown
    assert "outside of every month" in shown
