"""The contract of the `Inbox` port, run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.kernel.errors import Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope, local_scope
from claude_mem.ports.inbox import Entry, Inbox

SCOPE = local_scope()
OTHER = Scope(new_id(), LOCAL_USER, frozenset())
Opener = Callable[[], Inbox]


@pytest.fixture(params=["sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    return lambda: SqliteInbox(tmp_path / "inbox.db", bound=1_000)


@pytest.fixture
async def inbox(reopen: Opener) -> AsyncIterator[Inbox]:
    made = reopen()
    yield made
    await made.close()


def entries(count: int) -> list[Entry]:
    return [Entry(new_id(), f'{{"n":{n}}}'.encode()) for n in range(count)]


async def test_entries_come_out_in_order_until_acknowledged(inbox: Inbox) -> None:
    batch = entries(5)
    assert await inbox.append(SCOPE, batch) == 5
    assert [p.event_id for p in await inbox.take(3)] == [e.event_id for e in batch[:3]]
    taken = await inbox.take(10)
    assert [p.body for p in taken] == [e.body for e in batch]
    await inbox.ack([p.position for p in taken[:4]])
    assert [p.event_id for p in await inbox.take(10)] == [batch[4].event_id]
    assert await inbox.pending() == 1


async def test_an_id_that_waits_is_taken_once(inbox: Inbox) -> None:
    batch = entries(3)
    assert await inbox.append(SCOPE, batch) == 3
    assert await inbox.append(SCOPE, [*batch, *entries(1)]) == 1
    assert await inbox.pending() == 4


async def test_two_tenants_may_use_the_same_id(inbox: Inbox) -> None:
    batch = entries(1)
    assert await inbox.append(SCOPE, batch) == 1
    assert await inbox.append(OTHER, batch) == 1
    assert {p.enterprise_id for p in await inbox.take(9)} == {
        SCOPE.enterprise_id,
        OTHER.enterprise_id,
    }


async def test_what_was_appended_is_there_after_reopening(reopen: Opener) -> None:
    first = reopen()
    batch = entries(7)
    await first.append(SCOPE, batch)
    await first.close()
    second = reopen()
    assert await second.pending() == 7
    assert [p.event_id for p in await second.take(10)] == [e.event_id for e in batch]
    await second.close()


async def test_the_bound_refuses_whole_batches_and_says_when_to_return(inbox: Inbox) -> None:
    await inbox.append(SCOPE, entries(998))
    with pytest.raises(Unavailable) as refusal:
        await inbox.append(SCOPE, entries(3))
    assert refusal.value.retry_after
    assert await inbox.pending() == 998


async def test_a_buried_entry_waits_no_more_and_is_shown_to_its_tenant_only(inbox: Inbox) -> None:
    await inbox.append(SCOPE, entries(2))
    first = (await inbox.take(1))[0]
    await inbox.bury(first, "cannot be read", 123)
    assert await inbox.pending() == 1
    letters = await inbox.dead_letters(SCOPE, 10)
    assert [(d.event_id, d.reason, d.at) for d in letters] == [
        (first.event_id, "cannot be read", 123)
    ]
    assert await inbox.dead_letters(OTHER, 10) == []


async def test_waiting_ends_when_something_arrives(inbox: Inbox) -> None:
    waiter = asyncio.ensure_future(inbox.wait(30))
    await asyncio.sleep(0)
    await inbox.append(SCOPE, entries(1))
    await asyncio.wait_for(waiter, 10)


async def test_waiting_ends_by_itself(inbox: Inbox) -> None:
    await asyncio.wait_for(inbox.wait(0.01), 10)


async def test_500_appenders_at_once_lose_nothing(inbox: Inbox) -> None:
    batches = [entries(2) for _ in range(500)]
    added = await asyncio.gather(*(inbox.append(SCOPE, batch) for batch in batches))
    assert sum(added) == 1000
    assert len(await inbox.take(2000)) == 1000


async def test_the_count_stays_right_when_everything_happens_at_once(inbox: Inbox) -> None:
    async def consume() -> None:
        left = 200
        while left:
            taken = await inbox.take(30)
            await inbox.ack([p.position for p in taken])
            left -= len(taken)

    await asyncio.gather(consume(), *(inbox.append(SCOPE, entries(4)) for _ in range(50)))
    assert await inbox.pending() == 0


async def test_a_burst_gives_its_pages_back(tmp_path: Path) -> None:
    inbox = SqliteInbox(tmp_path / "burst.db")
    big = [Entry(new_id(), b"x" * 20_000) for _ in range(300)]
    await inbox.append(SCOPE, big)
    await inbox.ack([p.position for p in await inbox.take(300)])
    for _ in range(3):
        await inbox.maintain()
    await inbox.close()
    assert (tmp_path / "burst.db").stat().st_size < 1_000_000


async def test_dead_letters_are_dropped_by_id_and_enterprise(inbox: Inbox) -> None:
    await inbox.append(SCOPE, entries(2))
    for pending in await inbox.take(2):
        await inbox.bury(pending, "poison", 1)
    gone, kept = (letter.event_id for letter in await inbox.dead_letters(SCOPE, 9))
    assert await inbox.drop_dead_letters(OTHER, [gone]) == 0
    assert await inbox.drop_dead_letters(SCOPE, [gone, new_id()]) == 1
    assert [letter.event_id for letter in await inbox.dead_letters(SCOPE, 9)] == [kept]
    assert await inbox.pending() == 0
