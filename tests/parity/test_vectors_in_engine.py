"""What the engines hold of the vectors, on both: filled again, asked whose they are, begun by a model that says little."""

from __future__ import annotations

import pytest
from parity_support import SCOPE
from vectors_support import World

from claude_mem.kernel.errors import Unavailable
from claude_mem.ports.embedder import EmbedderState
from word_embedder import WordEmbedder

pytestmark = pytest.mark.anyio


async def test_an_engine_that_lost_everything_is_filled_again(world: World) -> None:
    await world.tell(*(f"text number{n}" for n in range(5)))
    await world.embed()
    ids = await world.in_engine()
    await world.side.write(lambda tx: world.side.vectors.remove(SCOPE, tx, sorted(ids)[:3]))
    await world.refill()
    assert await world.in_engine() == ids


async def test_whose_a_vector_is_is_looked_up_where_the_engine_does_not_know(world: World) -> None:
    await world.tell("the lock was chosen", "a cat on the roof", "the lock was kept")
    await world.embed()
    probe, model = world.embedder.vector("which lock"), world.embedder.model

    async def told() -> list[str]:
        found = await world.side.read(
            lambda tx: world.side.vectors.nearest(SCOPE, tx, model, probe, None, 3)
        )
        return [it.owner for it in found]

    known, near = await told(), await world.near("which lock")
    assert sorted(near) == ["a cat on the roof", "the lock was chosen", "the lock was kept"]
    assert all(known) == (world.side.name == "sqlite"), "SQLite's engine keeps it beside the vector"
    if world.side.name == "sqlite":  # as rows that an earlier program wrote
        for owner in ("NULL", "''", "'prompt x one'", "x'00ff'", "'prompt'"):
            set_all = f"UPDATE vector_rows SET owner = {owner}"
            await world.side.write(lambda tx, it=set_all: tx.exec_driver_sql(it))
            await world.side.write(
                lambda tx: world.side.vectors.purge(SCOPE, tx)
            )  # as when it starts
            assert await told() != known
            assert await world.near("which lock") == near
        await world.refill()
        assert await told() == known


class Unasked(WordEmbedder):
    """Says how many numbers its vectors have with its first answer, as an endpoint does."""

    def state(self) -> EmbedderState:
        return EmbedderState(self.model if self.seen else None, self.ready, "", "any")


async def test_a_model_that_has_not_said_how_many_numbers_it_makes_is_asked(world: World) -> None:
    await world.tell("the lock was chosen", "a cat on the roof")
    await world.embed(embedder=Unasked())
    assert (await world.near("which lock was chosen"))[0] == "the lock was chosen"
    away = Unasked(ready=False)
    with pytest.raises(Unavailable):
        await world.embed(embedder=away)
    assert away.seen == [], "one that is not ready is not asked"
