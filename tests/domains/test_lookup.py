"""Rows by a list of values: the same on both engines, however long the list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from claude_mem.adapters.sqlite.connection import make_engine
from claude_mem.domains.sql import EpochMs, Lookup, id_type, text_type
from claude_mem.kernel.ids import new_id
from servers import Urls

_TABLE = sa.Table(
    "looked_up",
    sa.MetaData(),
    sa.Column("owner", text_type(), primary_key=True),
    sa.Column("id", id_type(), primary_key=True),
    sa.Column("number", sa.BigInteger),
    sa.Column("moment", EpochMs),
    sa.Column("bytes", sa.LargeBinary),
)
_T = _TABLE.c
_BY_ID = Lookup(
    sa.select(_T.id, _T.number, _T.moment, _T.bytes).where(
        _T.owner == sa.bindparam("owner"), _T.number >= sa.bindparam("least")
    ),
    _T.id,
)
_IDS = [new_id() for _ in range(1_400)]


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    if request.param == "sqlite":
        made = make_engine(tmp_path / "looked-up.db", writer=True)
    else:
        urls: Urls = request.getfixturevalue("postgres_urls")
        made = sa.create_engine(urls.owner, isolation_level="AUTOCOMMIT")
    _TABLE.create(made)
    with made.connect() as tx:
        for owner in ("ours", "theirs"):
            rows = [
                {"owner": owner, "id": one, "number": n, "moment": n, "bytes": bytes([n % 256])}
                for n, one in enumerate(_IDS)
            ]
            tx.execute(sa.insert(_TABLE), rows)
    yield made
    made.dispose()


@pytest.mark.parametrize("many", [0, 1, 2, 5, 64, 65, 250, 512, 513, 1_400])
def test_each_of_the_values_is_found_once(engine: sa.Engine, many: int) -> None:
    wanted = [*_IDS[:many], *_IDS[: many // 2], *([new_id()] if many else [])]
    with engine.connect() as tx:
        for _ in range(2):  # the second time by the text that was made the first time
            found = _BY_ID.rows(tx, wanted, owner="ours", least=0)
    rows = {tuple(row) for row in found}
    assert rows == {(one, n, n, bytes([n % 256])) for n, one in enumerate(_IDS[:many])}
    assert len(found) == len(rows)


def test_the_other_conditions_hold(engine: sa.Engine) -> None:
    with engine.connect() as tx:
        assert [row[1] for row in _BY_ID.rows(tx, _IDS[:9], owner="ours", least=8)] == [8]
        assert _BY_ID.rows(tx, _IDS[:9], owner="nobody", least=0) == []
        assert _BY_ID.rows(tx, ["' OR 1=1 --"] * 3, owner="ours", least=0) == []
