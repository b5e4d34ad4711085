"""What the engine's errors become."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from claude_mem.adapters.postgres.database import PostgresDatabase
from claude_mem.kernel.errors import Invalid
from claude_mem.kernel.scope import nobody
from servers import Urls


async def test_what_is_more_than_the_engine_can_do_is_told_without_its_words(
    postgres_urls: Urls,
) -> None:
    database = PostgresDatabase(postgres_urls.runtime, 1)
    many = "|".join(f"'secret{number:06}'" for number in range(90_000))
    try:
        with pytest.raises(Invalid, match="ask for less") as caught:
            await database.read(
                nobody(), lambda tx: tx.execute(sa.select(sa.func.to_tsquery(many)))
            )
    finally:
        await database.close()
    assert "secret" not in str(caught.value)
