"""Vectors in step with what is remembered, on both engines: made by the job, gone with what they were made of."""

from __future__ import annotations

from typing import Any

import pytest
from parity_support import SCOPE, make_tenant, other_tenant
from vectors_support import World

from claude_mem.domains.capture import forget, reindex
from claude_mem.domains.intelligence.index import entry
from claude_mem.domains.memory import service as memory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval import chunks, jobs, vector_repository
from claude_mem.domains.retrieval.embedding import KIND
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.ports.queue import Job
from word_embedder import WordEmbedder

pytestmark = pytest.mark.anyio


async def test_what_is_told_is_found_by_what_it_means(world: World) -> None:
    await world.tell("the parcel was shipped", "invoices are rounded", "a lock is held")
    assert (await world.waiting())[KIND] == 1, "one job, whatever was told"
    assert await world.near("rounded invoices") == []
    await world.embed()
    assert (await world.near("rounded invoices"))[0] == "invoices are rounded"
    assert (await world.near("parcel shipped", limit=1)) == ["the parcel was shipped"]
    await world.check_in_step()
    assert len(world.embedder.seen) == 3
    await world.embed()
    assert len(world.embedder.seen) == 3, "nothing is embedded twice"


async def test_coverage_says_how_far_it_is(world: World) -> None:
    assert (await world.coverage()).total == 0
    await world.tell("one", "two", "three")
    before = await world.coverage()
    assert (before.embedded, before.total, before.waiting) == (0, 3, True)
    assert before.model == world.embedder.model
    await world.embed()
    after = await world.coverage()
    assert (after.embedded, after.total, after.waiting, after.reason) == (3, 3, False, "")
    await world.tell("four")
    assert (await world.coverage()).waiting


async def test_equal_texts_are_embedded_once(world: World) -> None:
    await world.tell("the same words", "the same words", "others")
    await world.embed()
    await world.tell("the same words", session="two")
    await world.embed()  # with nothing in its memory: the tables know
    assert sorted(world.embedder.seen) == ["others", "the same words"]
    assert len(await world.rows()) == 4
    await world.check_in_step()


async def test_long_texts_are_found_by_any_of_their_pieces(world: World) -> None:
    filler = "and so it went on with nothing of note. " * 60
    await world.tell(f"{filler}zanzibar harbour tide. {filler}", "a short one")
    await world.embed()
    rows = [row for row in await world.rows() if row["total_chunks"] > 1]
    assert sorted(row["chunk_index"] for row in rows) == list(range(len(rows)))
    vector = world.embedder.vector("so it went on with nothing of note")
    found = await world.side.read(lambda tx: world.leg.nearest(SCOPE, tx, vector, None, 5))
    assert len(found) == 2, "each thing once, by its nearest piece"
    assert found[0].similarity > found[1].similarity
    refs = list((await world.texts()).values())
    exact = await world.side.read(lambda tx: world.leg.similarities(SCOPE, tx, vector, refs))
    for near in found:
        assert exact[near.ref] == pytest.approx(near.similarity, abs=2e-3)


async def test_similarities_are_of_what_was_asked_and_has_a_vector(world: World) -> None:
    await world.tell("first thing", "second thing")
    await world.embed()
    await world.tell("third thing")
    texts = await world.texts()
    vector = world.embedder.vector("second thing")
    refs = [texts["second thing"], texts["third thing"], EntityRef("prompt", new_id())]
    found = await world.side.read(lambda tx: world.leg.similarities(SCOPE, tx, vector, refs))
    assert list(found) == [texts["second thing"]]
    assert found[texts["second thing"]] == pytest.approx(1, abs=1e-5)
    assert await world.side.read(lambda tx: world.leg.similarities(SCOPE, tx, vector, [])) == {}


async def test_only_projects_asked_for_are_searched(world: World) -> None:
    await world.tell("green apple", session="one")
    await world.tell("green pear", session="two")
    await world.embed()
    rows = await world.side.read(lambda tx: memory.session_rows(SCOPE, tx, "prompt", None, None))
    project = next(row["project_id"] for row in rows if row["content"] == "green pear")
    assert await world.near("green apple", projects=[project]) == ["green pear"]


async def test_forgetting_leaves_no_vector(world: World) -> None:
    await world.tell("to be forgotten", "the rest of it", session="one")
    await world.tell("to be kept", session="two")
    await world.embed()
    await world.side.write(lambda tx: forget.forget_session(SCOPE, tx, world.side.indexing, "one"))
    assert len(await world.rows()) == 1
    assert await world.near("to be forgotten") == ["to be kept"]
    await world.check_in_step()
    await world.embed()
    await world.check_in_step()


async def test_what_was_said_after_the_forgotten_is_embedded_without_it(world: World) -> None:
    world.reads = memory.get_with_before  # as the program does
    await world.tell("herons nest", "do that")
    await world.embed()
    assert "user: herons nest\ndo that" in world.embedder.seen
    ref = (await world.texts())["herons nest"]
    await world.side.write(lambda tx: forget.forget_entity(SCOPE, tx, world.side.indexing, ref))
    assert not await world.rows(), "not a moment longer"
    world.embedder.seen.clear()
    await world.embed()
    assert "do that" in world.embedder.seen
    assert not any("herons" in text for text in world.embedder.seen)


async def test_what_is_forgotten_while_it_is_embedded_gets_no_vector(world: World) -> None:
    await world.tell("to be forgotten", session="one")
    await world.tell("to be kept", session="two")

    class Slow(WordEmbedder):
        async def documents(self, texts: Any) -> list[bytes]:
            await world.side.write(
                lambda tx: forget.forget_session(SCOPE, tx, world.side.indexing, "one")
            )
            await world.tell("told meanwhile", session="three")
            return await super().documents(texts)

    slow = Slow()
    slow.name = "words"

    async def once() -> None:
        job = world.job(slow)
        assert await job._step(SCOPE, slow.model)

    await once()
    assert [row["resource_id"] for row in await world.rows()] == [
        (await world.texts())["to be kept"].id
    ]
    await world.embed()
    assert len(await world.rows()) == 2, "also what took the number of the forgotten"
    await world.check_in_step()


async def test_what_changes_loses_its_vector_at_once_and_gets_another(world: World) -> None:
    await world.tell("as it was", "the other one")
    await world.embed()
    ref = (await world.texts())["as it was"]

    def change(tx: Any) -> None:
        rows = memory.get_many(SCOPE, tx, [ref])
        changed = rows[ref] | {"content": "as it is now"}
        world.side.indexing.index(SCOPE, tx, [entry("prompt", changed)])

    await world.side.write(change)
    assert [row["resource_id"] for row in await world.rows()] != [ref.id]
    assert len(await world.rows()) == 1
    await world.embed()
    assert len(await world.rows()) == 2
    await world.check_in_step()


async def test_what_is_indexed_again_as_it_was_keeps_its_vector(world: World) -> None:
    await world.tell("one", "two", "three")
    await world.embed()
    before = {row["id"] for row in await world.rows()}

    def again(tx: Any) -> None:
        world.side.indexing.index(SCOPE, tx, list(reindex.entries(SCOPE, tx)))

    await world.side.write(again)
    await world.embed()
    assert {row["id"] for row in await world.rows()} == before
    assert len(world.embedder.seen) == 3
    assert not (await world.coverage()).waiting


async def test_an_index_made_anew_keeps_the_vectors_of_what_is_still_there(world: World) -> None:
    await world.tell("one", "two", "three")
    await world.embed()
    ref = (await world.texts())["two"]

    def anew(tx: Any) -> None:
        memory.erase(SCOPE, tx, [ref])  # behind the index's back
        world.side.indexing.rebuild(SCOPE, tx, reindex.entries(SCOPE, tx))

    await world.side.write(anew)
    assert ref.id not in {row["resource_id"] for row in await world.rows()}
    await world.embed()
    assert len(world.embedder.seen) == 3
    await world.check_in_step()


async def test_a_renewal_takes_the_vectors_of_what_is_gone(world: World) -> None:
    await world.tell("one", "two", "three")
    await world.embed()
    ref = (await world.texts())["two"]
    await world.side.write(lambda tx: memory.erase(SCOPE, tx, [ref]))
    from claude_mem.domains.capture.jobs import RebuildIndex

    rebuild = RebuildIndex(world.side.database, world.side.indexing)
    await rebuild.run(SCOPE, Job(SCOPE.enterprise_id, "j", "index.rebuild", "all", {}, 1, 5))
    assert len(await world.rows()) == 2
    await world.embed()
    assert len(world.embedder.seen) == 3
    await world.check_in_step()


async def test_the_newest_come_first_and_a_broken_job_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PIECES", 2)
    monkeypatch.setattr(jobs, "DOCUMENTS", 3)
    await world.tell(*(f"text number{n}" for n in range(7)))
    assert await world.job()._step(SCOPE, world.embedder.model)
    assert sorted(world.embedder.seen) == ["text number5", "text number6"]
    await world.tell("text number7", "text number8", "text number9")
    assert await world.job()._step(SCOPE, world.embedder.model)
    assert sorted(world.embedder.seen)[-2:] == ["text number8", "text number9"]
    await world.embed()
    assert len(world.embedder.seen) == len(set(world.embedder.seen)) == 10
    await world.check_in_step()
    assert world.waits, "others are let through between the steps"


async def test_many_interruptions_keep_a_bounded_note(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "DOCUMENTS", 1)
    monkeypatch.setattr(vector_repository, "MOST_GAPS", 3)
    await world.tell(*(f"old {n}" for n in range(4)))
    for n in range(12):
        await world.tell(f"new {n}", f"newer {n}")
        assert await world.job()._step(SCOPE, world.embedder.model)
        found = await world.side.read(
            lambda tx: vector_repository.progress(SCOPE, tx, world.embedder.model)
        )
        assert found is not None
        assert len(found.gaps) <= 3
    await world.embed()
    assert len(world.embedder.seen) == 28
    await world.check_in_step()


async def test_without_a_model_the_job_waits_and_says_so(world: World) -> None:
    await world.tell("one")
    world.embedder.ready = False
    with pytest.raises(Unavailable, match="claude-mem model install"):
        await world.embed()
    found = await world.coverage()
    assert (found.embedded, found.total, found.waiting) == (0, 1, True)
    assert "claude-mem model install" in found.reason
    world.embedder.ready = True
    world.embedder.away = True
    with pytest.raises(Unavailable, match="endpoint"):
        await world.embed()
    world.embedder.away = False
    await world.embed()
    await world.check_in_step()


async def test_no_job_is_made_where_nothing_could_embed(world: World) -> None:
    world.embedder.ready = False
    await world.tell("one")
    assert KIND not in await world.waiting()


async def test_a_refused_text_keeps_no_other_from_being_found(world: World) -> None:
    world.embedder.refused = "poison"
    await world.tell("good one", "poison pill", "good two", "good three")
    await world.embed()
    assert len(await world.rows()) == 3
    assert not (await world.coverage()).waiting, "it is not tried again and again"


async def test_another_model_takes_over_and_the_old_vectors_go(world: World) -> None:
    await world.tell("the parcel was shipped", "invoices are rounded")
    await world.embed()
    other = WordEmbedder(name="better", dimension=32)
    old, world.embedder = world.embedder, other
    keeper = type(world.side.keeper)(world.side.vectors, other, world.side.queue)
    object.__setattr__(world.side, "keeper", keeper)
    assert await world.near("rounded invoices") == [], "the old model's are not asked"
    assert (await world.coverage()).embedded == 0
    assert await world.job()._step(SCOPE, other.model)
    assert {row["model_name"] for row in await world.rows()} == {"words", "better"}
    await world.embed()
    assert {row["model_name"] for row in await world.rows()} == {"better"}
    assert (await world.near("rounded invoices"))[0] == "invoices are rounded"
    await world.check_in_step()
    probe = old.vector("anything")
    left = await world.side.read(
        lambda tx: world.side.vectors.nearest(SCOPE, tx, old.model, probe, None, 10)
    )
    assert left == ()


async def test_texts_cut_in_another_way_are_embedded_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.tell("one", "two")
    await world.embed()
    for module in (chunks, vector_repository):
        monkeypatch.setattr(module, "CHUNKING", 2)
    await world.embed()
    assert len(await world.rows()) == 2
    found = await world.side.read(
        lambda tx: vector_repository.progress(SCOPE, tx, world.embedder.model)
    )
    assert found is not None
    assert found.chunking == 2
    await world.check_in_step()


async def test_enterprises_never_meet(world: World) -> None:
    theirs = other_tenant()
    await world.side.database.write(theirs, lambda tx: make_tenant(tx, theirs))
    await world.tell("ours alone", "ours again")
    await world.tell("theirs alone", scope=theirs)
    await world.tell("ours last")
    await world.embed()
    await world.embed(theirs)
    assert len(await world.near("theirs alone", limit=9)) == 3
    assert await world.near("ours alone", scope=theirs) == ["theirs alone"]
    assert (await world.coverage(theirs)).embedded == 1
    assert len(world.embedder.seen) == 4, "nothing of another's is used again"


async def test_a_search_is_not_answered_from_before_its_vectors(world: World) -> None:
    from claude_mem.domains.retrieval import repository

    await world.tell("one")
    before = await world.side.read(lambda tx: repository.collection(SCOPE, tx))
    await world.embed()
    after = await world.side.read(lambda tx: repository.collection(SCOPE, tx))
    assert after.generation > before.generation
