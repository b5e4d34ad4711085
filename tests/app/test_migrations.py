"""Migrations: they make what the tables say, can be undone, and never harm a database that is there."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import sqlean
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection, Engine

from claude_mem import domains
from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.app import migrate
from claude_mem.app.migrate import READER_VERSION, ensure_current, run
from claude_mem.app.migrations import HEAD
from claude_mem.domains.sql import metadata
from claude_mem.kernel.errors import DatabaseDamaged, ForeignDatabase, MemError, NewerDatabase

SCRIPTS = Path(migrate.__file__).parent / "migrations"
# Made for engines and for later work: no domain's table, so no definition to hold them to.
WITHOUT_DEFINITION = {
    "alembic_version",
    "schema_info",
    "task_queue",
    "configurations",
    "stats_snapshots",
    "vector_rows",
    "vector_spaces",
}
# The whole installation's, not a tenant's.
NO_TENANT = {"alembic_version", "schema_info", "enterprises"}
ENTERPRISE = "00000000-0000-7000-8000-000000000001"
OTHER = "00000000-0000-7000-8000-0000000000aa"


def load_all_tables() -> None:
    for found in pkgutil.iter_modules(domains.__path__, f"{domains.__name__}."):
        if found.ispkg:
            package = importlib.import_module(found.name)
            if any(it.name == "tables" for it in pkgutil.iter_modules(package.__path__)):
                importlib.import_module(f"{found.name}.tables")


load_all_tables()


@contextmanager
def engine_on(path: Path) -> Iterator[Engine]:
    engine = make_engine(path, writer=True)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database at HEAD."""
    path = tmp_path / "claude-mem.db"
    assert ensure_current(path) is True
    return path


def migrate_to(path: Path, direction: str, revision: str) -> None:
    with engine_on(path) as engine, engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        run(connection, direction, revision)
        connection.exec_driver_sql("COMMIT")


def objects(path: Path) -> dict[str, str]:
    """Every object of the schema with its SQL."""
    raw = sqlean.connect(str(path))
    try:
        rows = raw.execute("SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_master")
        return dict(rows.fetchall())
    finally:
        raw.close()


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def fold(path: Path) -> None:
    """Move the write-ahead log into the file, so that bytes can be compared."""
    raw = sqlean.connect(str(path), isolation_level=None)
    raw.execute("PRAGMA journal_mode=DELETE").fetchall()
    raw.close()


def test_head_names_the_newest_file() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [HEAD]
    files = sorted(path.name for path in (SCRIPTS / "versions").glob("[0-9]*.py"))
    assert files[-1].startswith(f"{HEAD}_")
    assert len(list(script.walk_revisions())) == len(files), "a file is not in the chain"


def test_up_down_and_up_again(database: Path) -> None:
    first = objects(database)
    migrate_to(database, "downgrade", "base")
    left = {name for name in objects(database) if "sqlite_" not in name}
    assert left == {"table alembic_version"}
    migrate_to(database, "upgrade", "head")
    assert objects(database) == first


def shape_of(connection: Connection, table: str) -> dict[str, Any]:
    """Everything about a table that the two definitions must agree on."""
    look = sa.inspect(connection)
    sql = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
    ).scalar_one()
    return {
        "columns": {
            column["name"]: (str(column["type"]), column["nullable"])
            for column in look.get_columns(table)
        },
        "order": [column["name"] for column in look.get_columns(table)],
        "primary key": look.get_pk_constraint(table)["constrained_columns"],
        "unique": sorted(tuple(it["column_names"]) for it in look.get_unique_constraints(table)),
        "checks": sorted(
            (it["name"] or "", it["sqltext"]) for it in look.get_check_constraints(table)
        ),
        "indexes": sorted(
            (it["name"] or "", tuple(it["column_names"]), bool(it["unique"]))
            for it in look.get_indexes(table)
        ),
        "foreign keys": sorted(
            (
                tuple(it["constrained_columns"]),
                it["referred_table"],
                tuple(it["referred_columns"]),
                it["options"].get("ondelete", ""),
            )
            for it in look.get_foreign_keys(table)
        ),
        "without rowid": "WITHOUT ROWID" in sql.upper(),
    }


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """Shapes of all tables, by where they come from: the migrations, or the definitions."""
    folder = tmp_path_factory.mktemp("shapes")
    migrated, defined = folder / "migrated.db", folder / "defined.db"
    ensure_current(migrated)
    with engine_on(defined) as engine:
        metadata.create_all(engine)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in (migrated, defined):
        with engine_on(path) as engine, engine.connect() as connection:
            tables = sa.inspect(connection).get_table_names()
            found[path.stem] = {
                name: shape_of(connection, name)
                for name in tables
                if not name.startswith("search_fts")
            }
    return found


def test_the_migrations_make_the_defined_tables(
    shapes: dict[str, dict[str, dict[str, Any]]],
) -> None:
    assert set(shapes["migrated"]) - WITHOUT_DEFINITION == set(shapes["defined"])


# Explicit, so that each table is a test of its own and a missing one is seen above.
@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_a_migrated_table_equals_its_definition(
    table: str, shapes: dict[str, dict[str, dict[str, Any]]]
) -> None:
    assert shapes["migrated"][table] == shapes["defined"][table]


def test_a_documents_number_is_the_rowid_of_its_table(database: Path) -> None:
    """FTS5 and this table share the number; were it an ordinary column, each lookup would go
    through two trees and VACUUM would be free to renumber.
    """
    raw = sqlean.connect(str(database))
    plan = raw.execute("EXPLAIN QUERY PLAN SELECT * FROM search_documents WHERE id = 1").fetchall()
    raw.close()
    assert "INTEGER PRIMARY KEY" in plan[0][-1], plan


def test_every_tenants_keys_lead_with_the_enterprise(
    shapes: dict[str, dict[str, dict[str, Any]]],
) -> None:
    for name, shape in shapes["migrated"].items():
        if name in NO_TENANT:
            continue
        assert shape["columns"]["enterprise_id"][1] is False, f"{name}: enterprise_id may be null"
        keys = [tuple(shape["primary key"]), *shape["unique"]]
        if name == "search_documents":  # its number is the row id that FTS5 knows it by
            assert keys.pop(0) == ("id",)
        if name == "vector_rows":  # the number by which a graph knows it
            assert keys.pop(0) == ("number",)
        assert keys
        for key in keys:
            assert key[0] == "enterprise_id", f"{name}: {key} does not lead with the enterprise"
        for columns, _, referred, _ in shape["foreign keys"]:
            assert columns[0] == "enterprise_id", f"{name}: {columns} crosses enterprises"
            assert referred[0] in {"enterprise_id", "id"}


def add(connection: Connection, table: str, **values: Any) -> None:
    """Insert a row; what is not given and may not be null is filled in by type."""
    filled = {}
    for column in metadata.tables[table].columns:
        if column.name in values:
            filled[column.name] = values[column.name]
        elif not column.nullable:
            filled[column.name] = _filler(column)
    connection.execute(sa.insert(metadata.tables[table]).values(filled))


def _filler(column: sa.Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {}
    if isinstance(kind, sa.Boolean):
        return False
    if isinstance(kind, sa.Text):
        return "x"
    return 0


def session_with(connection: Connection, enterprise: str, session: str) -> None:
    """A session with three prompts of 100 tokens, two observations and two versions of a summary."""
    add(connection, "enterprises", id=enterprise)
    add(connection, "solutions", enterprise_id=enterprise, id="s", name="local")
    add(connection, "projects", enterprise_id=enterprise, id="p", solution_id="s", key="k")
    ours = {"enterprise_id": enterprise}
    inside = {**ours, "session_id": session}
    add(connection, "sessions", **ours, id=session, project_id="p", status="active", title="T")
    for number in range(3):
        row = {"id": f"p{number}", "prompt_type": "user", "token_count": 100}
        add(connection, "prompts", **inside, **row)
    for number in range(2):
        row = {"id": f"o{number}", "observation_type": "info"}
        add(connection, "observations", **inside, **row, importance_score=0.5)
    for version in (1, 2):
        row = {"id": f"m{version}", "summary_type": "session", "title": f"v{version}"}
        add(connection, "summaries", **inside, **row, content=f"body {version}", version=version)
    add(connection, "summaries", **inside, id="m9", summary_type="topic", version=9, title="no")


def test_the_session_view_does_not_multiply_sums(database: Path) -> None:
    with engine_on(database) as engine, engine.connect() as connection:
        session_with(connection, ENTERPRISE, "one")
        session_with(connection, OTHER, "one")  # the same id in another enterprise
        add(
            connection,
            "sessions",
            enterprise_id=ENTERPRISE,
            id="gone",
            project_id="p",
            status="deleted",
            agent_session="gone",
        )
        rows = connection.exec_driver_sql(
            "SELECT enterprise_id, prompts_total, observations_total, prompt_tokens,"
            " latest_summary_title, latest_summary_content FROM v_session_details"
            " ORDER BY enterprise_id"
        ).all()
    assert [tuple(row) for row in rows] == [
        (ENTERPRISE, 3, 2, 300, "v2", "body 2"),
        (OTHER, 3, 2, 300, "v2", "body 2"),
    ]


def test_a_session_with_nothing_is_in_the_view_with_zeros(database: Path) -> None:
    with engine_on(database) as engine, engine.connect() as connection:
        add(connection, "enterprises", id=ENTERPRISE)
        add(connection, "solutions", enterprise_id=ENTERPRISE, id="s")
        add(connection, "projects", enterprise_id=ENTERPRISE, id="p", solution_id="s")
        add(
            connection,
            "sessions",
            enterprise_id=ENTERPRISE,
            id="x",
            project_id="p",
            status="active",
        )
        row = connection.exec_driver_sql(
            "SELECT prompts_total, observations_total, prompt_tokens, latest_summary_title"
            " FROM v_session_details"
        ).one()
    assert tuple(row) == (0, 0, 0, None)


def test_the_popularity_view(database: Path) -> None:
    with engine_on(database) as engine, engine.connect() as connection:
        for name, uses, deleted in (("a", 4, False), ("b", 10, True)):
            add(
                connection,
                "learnings",
                enterprise_id=ENTERPRISE,
                id=name,
                category="pattern",
                confidence_score=0.5,
                usage_count=uses,
                is_deleted=deleted,
            )
        rows = connection.exec_driver_sql(
            "SELECT id, popularity_score FROM v_learning_popularity"
        ).all()
    assert [tuple(row) for row in rows] == [("a", 2.0)]


CHECKED = {
    "sessions": {"status": "sleeping"},
    "prompts": {"prompt_type": "shout"},
    "observations": {"observation_type": "rumour"},
    "code_changes": {"operation": "wish"},
    "summaries": {"summary_type": "novel"},
    "learnings": {"category": "gossip"},
    "users": {"role": "king"},
    "audit_logs": {"result_status": "maybe"},
}


@pytest.mark.parametrize("table", sorted(CHECKED))
def test_a_word_that_is_none_of_the_allowed_is_refused(table: str, database: Path) -> None:
    with engine_on(database) as engine, engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        with pytest.raises(sa.exc.IntegrityError, match="CHECK constraint failed: ck_"):
            add(connection, table, enterprise_id=ENTERPRISE, id="x", **CHECKED[table])


# -- ensure_current ------------------------------------------------------------------------------


def test_current_is_left_as_it_is(database: Path) -> None:
    fold(database)
    before = digest(database.parent)
    assert ensure_current(database) is False
    assert digest(database.parent) == before


def test_the_file_is_its_owners_alone(database: Path) -> None:
    assert database.stat().st_mode & 0o777 == 0o600


def pretend_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the database that is there one of an older revision: HEAD moves on by a revision."""
    monkeypatch.setattr(migrate, "HEAD", "9999-of-the-test")


def fake_run(statement: str, fail: bool) -> Any:
    def run_it(connection: Connection, direction: str, revision: str) -> None:
        assert (direction, revision) == ("upgrade", "head")
        connection.exec_driver_sql(statement)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999-of-the-test'")
        if fail:
            raise RuntimeError("killed half-way")

    return run_it


def test_an_older_database_is_copied_before_it_is_migrated(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine_on(database) as engine, engine.connect() as connection:
        session_with(connection, ENTERPRISE, "one")
    before = objects(database)
    pretend_older(monkeypatch)
    monkeypatch.setattr(migrate, "run", fake_run("CREATE TABLE later (id TEXT)", fail=False))
    assert ensure_current(database) is True
    assert "table later" in objects(database)
    folder = database.parent / "backups"
    assert folder.stat().st_mode & 0o777 == 0o700
    (copy,) = folder.iterdir()
    assert copy.stat().st_mode & 0o777 == 0o600
    assert f"-{HEAD}-" in copy.name
    assert objects(copy) == before
    raw = sqlean.connect(str(copy))
    assert raw.execute("SELECT count(*) FROM prompts").fetchone() == (3,)
    assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def test_a_migration_that_breaks_off_leaves_the_old_state(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = objects(database)
    pretend_older(monkeypatch)
    monkeypatch.setattr(migrate, "run", fake_run("CREATE TABLE later (id TEXT)", fail=True))
    with pytest.raises(RuntimeError, match="killed half-way"):
        ensure_current(database)
    assert objects(database) == before
    raw = sqlean.connect(str(database))
    assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    raw.close()
    assert list((database.parent / "backups").iterdir()), "the copy stays"


def test_a_first_migration_that_breaks_off_leaves_no_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "claude-mem.db"
    real = migrate.run

    def half(connection: Connection, direction: str, revision: str) -> None:
        real(connection, direction, revision)
        raise RuntimeError("killed half-way")

    monkeypatch.setattr(migrate, "run", half)
    with pytest.raises(RuntimeError, match="killed half-way"):
        ensure_current(path)
    assert objects(path) == {}
    monkeypatch.undo()
    assert ensure_current(path) is True
    assert not (tmp_path / "backups").exists(), "there was nothing to keep"


def test_a_database_for_newer_programs_is_refused_and_not_touched(database: Path) -> None:
    raw = sqlean.connect(str(database))
    raw.execute("UPDATE schema_info SET value = ?", (str(READER_VERSION + 1),))
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    fold(database)
    before = digest(database.parent)
    with pytest.raises(NewerDatabase) as refused:
        ensure_current(database)
    assert "upgrade this program" in refused.value.message
    assert digest(database.parent) == before


def test_a_newer_schema_that_may_still_be_read_is_used_as_it_is(database: Path) -> None:
    raw = sqlean.connect(str(database))
    raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.commit()
    raw.close()
    fold(database)
    before = digest(database.parent)
    assert ensure_current(database) is False
    assert digest(database.parent) == before


def foreign_sqlite(path: Path) -> None:
    raw = sqlean.connect(str(path))
    raw.execute("CREATE TABLE observations (id INTEGER PRIMARY KEY, text TEXT)")
    raw.execute("INSERT INTO observations (text) VALUES ('theirs')")
    raw.commit()
    raw.close()


def no_sqlite(path: Path) -> None:
    path.write_bytes(b"this is a letter, not a database\n" * 40)


def a_short_file(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00")


@pytest.mark.parametrize(
    ("make", "error", "way_out"),
    [
        (foreign_sqlite, ForeignDatabase, "CLAUDE_MEM_HOME"),
        (foreign_sqlite, ForeignDatabase, "import --upstream"),
        (no_sqlite, DatabaseDamaged, "db recover"),
        (a_short_file, DatabaseDamaged, "db recover"),
    ],
)
def test_what_is_not_ours_or_no_database_is_refused_and_not_touched(
    make: Any, error: type[MemError], way_out: str, tmp_path: Path
) -> None:
    path = tmp_path / "claude-mem.db"
    make(path)
    before, mode = digest(tmp_path), path.stat().st_mode
    with pytest.raises(error) as refused:
        ensure_current(path)
    assert way_out in refused.value.message
    assert digest(tmp_path) == before
    assert path.stat().st_mode == mode


def test_an_empty_file_is_ours_to_fill(tmp_path: Path) -> None:
    path = tmp_path / "claude-mem.db"
    path.touch(mode=0o600)
    assert ensure_current(path) is True
    assert "table sessions" in objects(path)
