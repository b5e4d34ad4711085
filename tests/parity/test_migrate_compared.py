"""What is compared, what is not sound, several stores in one enterprise, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlean
import typer
from migrating_support import E, Row, bring, event, in_store, on_target, record, written
from typer.testing import CliRunner

from claude_mem.app.transfer.plan import MOVED
from claude_mem.app.transfer.postgres import URL
from claude_mem.cli import migrate as command
from claude_mem.kernel.errors import Invalid, MemError, NotFound
from claude_mem.kernel.ids import new_id
from servers import PostgresServer, Urls

# -- comparing -----------------------------------------------------------------------------------


TAMPERINGS: dict[str, tuple[str, str, str]] = {
    "a letter": (
        "prompts",
        "UPDATE prompts SET content = content || '.' WHERE id = '{0}'",
        "different",
    ),
    "a millisecond": (
        "observations",
        "UPDATE observations SET occurred_at = occurred_at + interval '1 ms' WHERE id = '{0}'",
        "different",
    ),
    "a key in a document": (
        "sessions",
        "UPDATE sessions SET metadata_json = metadata_json || '{{\"x\": 1}}' WHERE id = '{0}'",
        "different",
    ),
    "a null": (
        "code_changes",
        "UPDATE code_changes SET reason_text = 'x', version = 1 WHERE id = '{0}'",
        "different",
    ),
    "a row": ("summaries", "DELETE FROM summaries WHERE id = '{0}'", "missing"),
    "a number": (
        "learnings",
        "UPDATE learnings SET confidence_score = confidence_score / 2 WHERE id = '{0}'",
        "different",
    ),
}


@pytest.mark.parametrize("what", sorted(TAMPERINGS))
def test_a_row_that_was_tampered_with_is_found(
    what: str, whole: Path, brought: tuple[Urls, Row], postgres: PostgresServer
) -> None:
    urls, _ = brought
    table, statement, kind = TAMPERINGS[what]
    rows = [row for row in in_store(whole, table) if what != "a null" or row["reason_text"] is None]
    victim = rows[len(rows) // 2]["id"]
    copy = f"CREATE TABLE kept AS SELECT * FROM {table} WHERE id = '{victim}'"
    postgres.execute(copy, urls.name)
    postgres.execute(statement.format(victim), urls.name)
    told = bring(whole, urls, verify_only=True)
    assert not told["ok"]
    assert told["verified"][table][kind] == [victim]
    assert sum(it["fault_count"] for it in told["verified"].values()) == 1
    for sql in (
        f"DELETE FROM {table} WHERE id = '{victim}'",
        f"INSERT INTO {table} SELECT * FROM kept",
        "DROP TABLE kept",
    ):
        postgres.execute(f"SET session_replication_role = replica; {sql}", urls.name)
    assert bring(whole, urls, verify_only=True)["ok"]


def test_what_is_newer_there_stays_and_is_told(
    store: Path, urls: Urls, postgres: PostgresServer
) -> None:
    assert bring(store, urls)["ok"]
    victim = in_store(store, "observations")[0]["id"]
    postgres.execute(
        f"UPDATE observations SET title = 'of the server', version = version + 1 WHERE id = '{victim}'",
        urls.name,
    )
    with written(store) as tx:  # the same range changes here
        tx.exec_driver_sql("UPDATE observations SET title = 'of here'")
    told = bring(store, urls)
    assert told["ok"], told
    assert told["verified"]["observations"]["newer"] == 1
    titles = {row["id"]: row["title"] for row in on_target(postgres, urls, "observations")}
    assert titles.pop(victim) == "of the server"
    assert set(titles.values()) == {"of here"}


# -- what is not sound ---------------------------------------------------------------------------


def test_what_is_not_sound_is_told_and_left_out(
    store: Path, urls: Urls, postgres: PostgresServer
) -> None:
    with written(store) as tx:
        tx.exec_driver_sql("PRAGMA foreign_keys = OFF")
        ids = [
            row[0] for row in tx.exec_driver_sql("SELECT id FROM observations ORDER BY id LIMIT 6")
        ]
        for victim, change in zip(
            ids,
            (
                "metadata_json = '{\"a\": '",
                "content = CAST(x'ff' AS TEXT)",
                "occurred_at = 'yesterday'",
                "occurred_at = 1000000000000000",
                "prompt_id = 'no id'",
                "exit_status = 3000000000",
            ),
            strict=True,
        ):
            tx.exec_driver_sql(f"UPDATE observations SET {change} WHERE id = '{victim}'")
    looked = bring(store, urls, dry_run=True)
    assert on_target(postgres, urls, "observations") == []
    told = bring(store, urls)
    assert not told["ok"]
    assert told["faults"] == looked["faults"]
    found = {fault["key"]: fault["what"] for fault in told["faults"]}
    assert list(found) == ids
    assert [found[it] for it in ids] == [
        "metadata_json: no JSON",
        "content: no text in UTF-8",
        "occurred_at: no whole number",
        "occurred_at: out of range",
        "prompt_id: no id",
        "exit_status: out of range",
    ]
    there = {row["id"] for row in on_target(postgres, urls, "observations")}
    assert there == {row["id"] for row in in_store_bytes(store)} - set(ids)
    assert all(it["fault_count"] == 0 for it in told["verified"].values())


def in_store_bytes(folder: Path) -> list[Row]:
    raw = sqlean.connect(str(folder / "claude-mem.db"))
    try:
        return [{"id": row[0]} for row in raw.execute("SELECT id FROM observations")]
    finally:
        raw.close()


def test_what_the_target_refuses_is_told_row_by_row(
    store: Path, urls: Urls, postgres: PostgresServer
) -> None:
    """A row that an older program wrote, before a condition was made."""
    postgres.execute(
        "ALTER TABLE observations ADD CONSTRAINT ck_of_the_test CHECK (title <> 'refused')",
        urls.name,
    )
    with written(store) as tx:
        ids = [
            row[0] for row in tx.exec_driver_sql("SELECT id FROM observations ORDER BY id LIMIT 40")
        ]
        for victim in (ids[3], ids[30]):
            tx.exec_driver_sql(f"UPDATE observations SET title = 'refused' WHERE id = '{victim}'")
    told = bring(store, urls)
    assert not told["ok"]
    assert [(it["key"], it["what"]) for it in told["faults"]] == [
        (ids[3], "refused by ck_of_the_test"),
        (ids[30], "refused by ck_of_the_test"),
    ]
    assert sorted(told["verified"]["observations"]["missing"]) == sorted([ids[3], ids[30]])
    postgres.execute("ALTER TABLE observations DROP CONSTRAINT ck_of_the_test", urls.name)
    assert bring(store, urls)["ok"], "they are tried again"


def test_moments_of_far_years_are_exact(store: Path, urls: Urls, postgres: PostgresServer) -> None:
    far = {
        "0001-01-01T00:00:00.001Z": -62_135_596_799_999,
        "9999-12-31T23:59:59.999Z": 253_402_300_799_999,
    }
    ids = [row["id"] for row in in_store(store, "observations")][: len(far)]
    with written(store) as tx:
        for victim, moment in zip(ids, far.values(), strict=True):
            tx.exec_driver_sql(
                f"UPDATE observations SET occurred_at = {moment} WHERE id = '{victim}'"
            )
    assert bring(store, urls)["ok"]
    for victim, text in zip(ids, far, strict=True):
        found = postgres.execute(
            f"SELECT occurred_at = '{text}' FROM observations WHERE id = '{victim}'", urls.name
        )
        assert found == [(True,)]


# -- several stores ------------------------------------------------------------------------------


def test_several_stores_meet_in_one_enterprise(
    whole: Path, tmp_path: Path, urls: Urls, postgres: PostgresServer
) -> None:
    """Projects by key, learnings by what they say, a session of both only once."""
    lesson = "Always run the tests with tox, never with pytest directly."
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        record(
            tmp_path / name,
            [event(f"of {name}", 1, lesson), event(f"of {name}", 2, f"only {name} says this")],
            [event("of both", 3, f"this is {name}")],
        )
    first = bring(tmp_path / "one", urls)
    assert first["ok"]
    second = bring(tmp_path / "two", urls)
    assert second["projects"] == {"met": 1, "new": 0}
    assert [row["key"] for row in on_target(postgres, urls, "projects")] == ["/team/app"]
    (conflict,) = [it for it in second["faults"] if it["table"] == "sessions"]
    mine = {row["agent_session"]: row["id"] for row in in_store(tmp_path / "two", "sessions")}
    assert conflict["key"] == mine["of both"]
    assert not second["ok"]
    texts = {row["content"] for row in on_target(postgres, urls, "prompts")}
    assert {"only one says this", "only two says this", "this is one"} <= texts
    assert "this is two" not in texts
    assert second["learnings_met"] >= 1
    sources = on_target(postgres, urls, "learning_sources")
    shared = [
        it
        for it in on_target(postgres, urls, "learnings")
        if "tox" in it["title"] + it["description"]
    ]
    assert len(shared) == 1
    assert len([it for it in sources if it["learning_id"] == shared[0]["id"]]) == 2
    project = on_target(postgres, urls, "projects")[0]["id"]
    assert {row["project_id"] for row in on_target(postgres, urls, "sessions")} == {project}
    journaled = [
        it["state"] for it in on_target(postgres, urls, "change_journal") if it["kind"] == "session"
    ]
    assert {it["project_id"] for it in journaled if it and "project_id" in it} == {project}
    assert all(it["fault_count"] == 0 for it in second["verified"].values())
    for name in ("one", "two"):
        again = bring(tmp_path / name, urls)
        assert sum(it["sent"] for it in again["tables"].values()) == 0


def test_whose_it_becomes_has_to_be_known(
    whole: Path, urls: Urls, postgres: PostgresServer
) -> None:
    with pytest.raises(NotFound, match="no enterprise"):
        bring(whole, urls, enterprise=new_id())
    with pytest.raises(NotFound, match="no user nobody"):
        bring(whole, urls, user="nobody")
    second = new_id()
    postgres.execute(
        "INSERT INTO users (enterprise_id, id, username, email, role, preferences_json, quota_daily, quota_used_today,"
        f" is_active, created_at, updated_at) VALUES ('{E.enterprise_id}', '{second}', 'ada', 'ada@example.org', 'user',"
        " '{}', 0, 0, true, now(), now())",
        urls.name,
    )
    with pytest.raises(Invalid, match="ada, local"):
        bring(whole, urls)
    for name in (second, "ada", "ada@example.org"):
        assert bring(whole, urls, user=name, dry_run=True)["user"] == second
    bring(whole, urls, user="ada", with_index=False)
    assert {row["user_id"] for row in on_target(postgres, urls, "sessions")} == {second}
    jobs = {(row["task_type"], row["task_key"]) for row in on_target(postgres, urls, "task_queue")}
    assert ("index.rebuild", "all") in jobs


def test_a_look_writes_nothing(whole: Path, urls: Urls, postgres: PostgresServer) -> None:
    told = bring(whole, urls, dry_run=True)
    assert told["ok"]
    assert told["tables"]["prompts"]["sent"] == len(in_store(whole, "prompts"))
    assert told["tables"]["prompts"]["bytes"] > 10_000
    assert "db partitions --since" in told["advice"]
    for table in (*MOVED, "projects", "migrated_ranges", "task_queue", "search_documents"):
        assert on_target(postgres, urls, table) == [], table


def test_databases_that_do_not_fit_are_told(
    whole: Path, urls: Urls, postgres: PostgresServer, store: Path
) -> None:
    empty = postgres.database(migrated=False)
    with pytest.raises(MemError, match="db upgrade"):
        bring(whole, empty)
    postgres.drop(empty)
    with written(store) as tx:
        tx.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(MemError, match="claude-mem start"):
        bring(store, urls)


# -- the command ---------------------------------------------------------------------------------


def called(*arguments: str, code: int = 0) -> str:
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["migrate", "postgres", *arguments], env={"COLUMNS": "160"})
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def test_the_command(
    store: Path, urls: Urls, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(store))
    told = json.loads(called("--enterprise", E.enterprise_id, "--json", code=1))
    assert URL in told["error"]
    monkeypatch.setenv(URL, urls.runtime)
    assert "no id" in json.loads(called("--enterprise", "acme", "--json", code=1))["error"]
    assert (
        json.loads(called("--enterprise", new_id(), "--json", code=1))["code"]
        == "RESOURCE_NOT_FOUND"
    )
    looked = called("--enterprise", E.enterprise_id, "--dry-run")
    assert "would be sent" in looked
    assert "db partitions --since" in looked
    assert "the same without --dry-run" in looked
    done = called("--enterprise", E.enterprise_id.upper())
    assert "All is well." in done
    assert "becomes U+FFFD" in done
    assert "equal by count and hash" in called("--enterprise", E.enterprise_id, "--verify")
    postgres.execute("DELETE FROM summaries", urls.name)
    assert "missing" in called("--enterprise", E.enterprise_id, "--verify", code=1)
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(store / "nowhere"))
    assert (
        json.loads(called("--enterprise", E.enterprise_id, "--json", code=1))["code"] == "NOT_FOUND"
    )
