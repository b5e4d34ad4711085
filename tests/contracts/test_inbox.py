"""The contract of the `Inbox` port, run on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from claude_mem.adapters.nats.inbox import NatsInbox
from claude_mem.adapters.sqlite.inbox import SqliteInbox
from claude_mem.kernel.errors import TooLarge, Unavailable
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import LOCAL_USER, Scope, local_scope
from claude_mem.ports.inbox import PAGE_BYTES, Entry, Inbox
from nats_servers import NatsServer, nats_server

SCOPE = local_scope()
OTHER = Scope(new_id(), LOCAL_USER, frozenset())
Opener = Callable[[], Inbox]


@pytest.fixture(scope="session")
def nats() -> Iterator[NatsServer]:
    with nats_server() as server:
        yield server


@pytest.fixture(params=["sqlite", "nats"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "sqlite":
        return lambda: SqliteInbox(tmp_path / "inbox.db", bound=1_000)
    return request.getfixturevalue("open_nats")


@pytest.fixture
def open_nats(nats: NatsServer) -> Callable[..., NatsInbox]:
    """Opens replicas of one deployment, which no other test sees."""
    name = f"test-{new_id()}"
    return lambda **settings: NatsInbox([nats.url], name=name, **{"bound": 1_000, **settings})


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
    letters = (await inbox.dead_letters(SCOPE, 10)).letters
    assert [(d.event_id, d.reason, d.at) for d in letters] == [
        (first.event_id, "cannot be read", 123)
    ]
    assert (await inbox.dead_letters(OTHER, 10)).letters == []


async def test_a_dead_letter_goes_back_among_those_that_wait(inbox: Inbox) -> None:
    await inbox.append(SCOPE, entries(1))
    first = (await inbox.take(1))[0]
    await inbox.bury(first, "cannot be read", 123)
    assert (await inbox.waiting(SCOPE), await inbox.count_dead_letters(SCOPE)) == (0, 1)
    assert (await inbox.waiting(OTHER), await inbox.count_dead_letters(OTHER)) == (0, 0)
    [letter] = (await inbox.dead_letters(SCOPE, 10)).letters
    await inbox.return_dead_letter(letter, b"mended")
    assert (await inbox.waiting(SCOPE), await inbox.count_dead_letters(SCOPE)) == (1, 0)
    assert await inbox.waiting(OTHER) == 0
    [again] = await inbox.take(10)
    assert (again.enterprise_id, again.event_id, again.body) == (
        SCOPE.enterprise_id,
        first.event_id,
        b"mended",
    )


async def test_a_letter_put_aside_again_meanwhile_is_not_lost(inbox: Inbox) -> None:
    batch = entries(1)
    await inbox.append(SCOPE, batch)
    await inbox.bury((await inbox.take(1))[0], "cannot be read", 123)
    [old] = (await inbox.dead_letters(SCOPE, 10)).letters
    await inbox.append(SCOPE, batch)  # as somebody else who hands it in again
    await inbox.bury((await inbox.take(1))[0], "still not", 456)
    await inbox.return_dead_letter(old, old.body)
    for waiting in await inbox.take(10):
        await inbox.bury(waiting, "never", 789)
    assert [it.event_id for it in (await inbox.dead_letters(SCOPE, 10)).letters] == [
        batch[0].event_id
    ]


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
    gone, kept = (letter.event_id for letter in (await inbox.dead_letters(SCOPE, 9)).letters)
    assert await inbox.drop_dead_letters(OTHER, [gone]) == 0
    assert await inbox.drop_dead_letters(SCOPE, [gone, new_id()]) == 1
    assert [letter.event_id for letter in (await inbox.dead_letters(SCOPE, 9)).letters] == [kept]
    assert await inbox.pending() == 0


async def test_an_id_that_was_let_go_may_come_again(inbox: Inbox) -> None:
    batch = entries(2)
    await inbox.append(SCOPE, batch)
    done, poisoned = await inbox.take(2)
    await inbox.ack([done.position])
    await inbox.bury(poisoned, "to be repaired", 1)
    assert await inbox.append(SCOPE, batch) == 2
    assert [p.event_id for p in await inbox.take(9)] == [e.event_id for e in batch]


async def test_an_id_is_no_pattern(inbox: Inbox) -> None:
    batch = [Entry(odd, b"{}") for odd in ("*", ">", "a.b", "a b", "a", "\u8bb0", "%2A")]
    assert await inbox.append(SCOPE, batch) == len(batch)
    taken = await inbox.take(9)
    assert [p.event_id for p in taken] == [e.event_id for e in batch]
    for pending in taken[2:]:
        await inbox.bury(pending, "poison", 1)
    assert await inbox.drop_dead_letters(SCOPE, ["*", ">", "a.*", "*.b"]) == 0
    assert {d.event_id for d in (await inbox.dead_letters(SCOPE, 9)).letters} == {
        e.event_id for e in batch[2:]
    }
    assert await inbox.drop_dead_letters(SCOPE, ["a", "a.b", "\u8bb0"]) == 3


async def test_a_dead_letter_keeps_what_it_was_and_why(inbox: Inbox) -> None:
    body = '{"text": "line\\n\u8bb0\u5fc6"}'.encode() + b"\xff\r\n"
    reason = "KeyError:\r\n  \u201ckind\u201d \U0001f4a5 " + "x" * 500
    await inbox.append(SCOPE, [Entry(new_id(), body)])
    await inbox.bury((await inbox.take(1))[0], reason, 17)
    (letter,) = (await inbox.dead_letters(SCOPE, 9)).letters
    assert (letter.body, letter.reason, letter.at) == (body, reason, 17)


async def test_the_newest_dead_letters_come_first_and_one_event_has_one(inbox: Inbox) -> None:
    batch = entries(5)
    await inbox.append(SCOPE, batch)
    for at, pending in zip((10, 20, 30, 40, 50), await inbox.take(5), strict=True):
        await inbox.bury(pending, "first", at)
    assert [d.at for d in (await inbox.dead_letters(SCOPE, 3)).letters] == [50, 40, 30]
    await inbox.append(SCOPE, batch[:1])
    await inbox.bury((await inbox.take(1))[0], "again", 60)
    letters = (await inbox.dead_letters(SCOPE, 9)).letters
    assert [(d.at, d.reason) for d in letters[:2]] == [(60, "again"), (50, "first")]
    assert len(letters) == 5


async def bury(inbox: Inbox, scope: Scope, bodies: list[bytes], at: int = 1) -> list[str]:
    """Put aside an event a body, the last one as the newest: their ids."""
    batch = [Entry(new_id(), body) for body in bodies]
    await inbox.append(scope, batch)
    for later, pending in enumerate(await inbox.take(len(batch))):
        await inbox.bury(pending, "poison", at + later)
    return [entry.event_id for entry in batch]


async def test_dead_letters_are_read_in_pages(inbox: Inbox) -> None:
    ids = await bury(inbox, SCOPE, [b"{}"] * 10)
    theirs = await bury(inbox, OTHER, [b"{}"] * 3)
    pages = [await inbox.dead_letters(SCOPE, 4)]
    while pages[-1].before is not None:
        pages.append(await inbox.dead_letters(SCOPE, 4, pages[-1].before))
    assert [[it.event_id for it in page.letters] for page in pages] == [
        ids[9:5:-1],
        ids[5:1:-1],
        ids[1::-1],
    ]
    exact = await inbox.dead_letters(OTHER, 3)
    assert [it.event_id for it in exact.letters] == theirs[::-1]
    assert exact.before is None, "what fits exactly is all there is"


async def test_pages_go_on_rightly_while_letters_go_and_come(inbox: Inbox) -> None:
    ids = await bury(inbox, SCOPE, [b"{}"] * 8)
    first = await inbox.dead_letters(SCOPE, 3)
    assert [it.event_id for it in first.letters] == ids[7:4:-1]
    # The letter at the place itself goes, one before it, one after it; and others come.
    await inbox.drop_dead_letters(SCOPE, [ids[5], ids[6], ids[3]])
    await inbox.return_dead_letter(first.letters[0], b"{}")
    await bury(inbox, SCOPE, [b"{}"], at=100)
    second = await inbox.dead_letters(SCOPE, 3, first.before)
    assert [it.event_id for it in second.letters] == [ids[4], ids[2], ids[1]]
    last = await inbox.dead_letters(SCOPE, 3, second.before)
    assert ([it.event_id for it in last.letters], last.before) == ([ids[0]], None)
    assert (await inbox.dead_letters(SCOPE, 3, (1, ""))).letters == [], "there is nothing before it"


async def test_a_page_of_large_letters_is_shorter_and_loses_none(inbox: Inbox) -> None:
    ids = await bury(inbox, SCOPE, [b"x" * 1_000_000] * 10)
    page = await inbox.dead_letters(SCOPE, 10)
    assert 1 <= len(page.letters) < 10
    assert sum(len(it.body) for it in page.letters) <= PAGE_BYTES
    rest = await inbox.dead_letters(SCOPE, 10, page.before)
    assert [it.event_id for it in (*page.letters, *rest.letters)] == ids[::-1]
    assert rest.before is None


async def test_one_dead_letter_is_found_by_its_event_and_enterprise(inbox: Inbox) -> None:
    odd = [Entry(name, name.encode()) for name in ("*", ">", "a.b", "\u8bb0")]
    await inbox.append(SCOPE, odd)
    for pending in await inbox.take(9):
        await inbox.bury(pending, "l\u00f6st nichts", 7)
    for entry in odd:
        letter = await inbox.dead_letter(SCOPE, entry.event_id)
        assert letter is not None
        assert (letter.event_id, letter.enterprise_id) == (entry.event_id, SCOPE.enterprise_id)
        assert (letter.body, letter.reason, letter.at) == (entry.body, "l\u00f6st nichts", 7)
        assert await inbox.dead_letter(OTHER, entry.event_id) is None
    assert await inbox.dead_letter(SCOPE, "a.*") is None
    found = await inbox.dead_letter(SCOPE, "*")
    assert found is not None
    await inbox.return_dead_letter(found, found.body)
    assert await inbox.dead_letter(SCOPE, "*") is None
    assert await inbox.count_dead_letters(SCOPE) == 3


async def test_every_dead_letter_of_an_enterprise_can_be_gone_through(inbox: Inbox) -> None:
    assert [it async for it in inbox.every_dead_letter(SCOPE)] == []
    ids = await bury(inbox, SCOPE, [b"{}"] * 450)
    await bury(inbox, OTHER, [b"{}"] * 2)
    seen = []
    async for letter in inbox.every_dead_letter(SCOPE):
        seen.append(letter.event_id)
        await inbox.drop_dead_letters(SCOPE, [letter.event_id])
    assert sorted(seen) == sorted(ids)
    assert (await inbox.dead_letters(SCOPE, 9)).letters == []
    assert await inbox.count_dead_letters(OTHER) == 2


async def test_nats_gives_replicas_different_entries(open_nats: Callable[..., NatsInbox]) -> None:
    one, other = open_nats(), open_nats()
    batch = entries(10)
    await one.append(SCOPE, batch)
    first, second = await one.take(6), await other.take(6)
    assert (len(first), len(second)) == (6, 4)
    assert {p.event_id for p in (*first, *second)} == {e.event_id for e in batch}
    await one.ack([p.position for p in first])
    assert await other.pending() == 4
    await one.close()
    await other.close()


async def take_from_another(inbox: Inbox, count: int) -> dict[str, int]:
    """What comes to `inbox` until it has `count` entries: position by event id."""
    got: dict[str, int] = {}
    async with asyncio.timeout(60):
        while len(got) < count:
            await inbox.wait(0.2)
            got.update({p.event_id: p.position for p in await inbox.take(99)})
    return got


async def test_nats_gives_on_what_a_replica_left_when_it_closes(
    open_nats: Callable[..., NatsInbox],
) -> None:
    closed, other = open_nats(ack_wait=3_600), open_nats(ack_wait=3_600)
    batch = entries(4)
    await closed.append(SCOPE, batch)
    assert len(await closed.take(2)) == 2
    await closed.close()
    assert set(await take_from_another(other, 4)) == {e.event_id for e in batch}
    await other.close()


async def test_nats_gives_on_what_a_silent_replica_holds(
    open_nats: Callable[..., NatsInbox],
) -> None:
    silent, other = open_nats(ack_wait=1), open_nats(ack_wait=1)
    batch = entries(4)
    await silent.append(SCOPE, batch)
    kept = await silent.take(2)
    got = await take_from_another(other, 4)
    assert set(got) == {e.event_id for e in batch}
    assert await silent.take(9) == []  # it no longer takes them for its own
    await other.ack(list(got.values()))
    await silent.ack([p.position for p in kept])  # too late, and harmless
    assert await other.pending() == 0
    await silent.close()
    await other.close()


@pytest.mark.slow
async def test_nats_lets_a_replica_keep_what_it_takes_again_and_again(
    open_nats: Callable[..., NatsInbox],
) -> None:
    """A recorder that cannot reach the database comes back for the same entries."""
    busy, other = open_nats(ack_wait=4), open_nats(ack_wait=4)
    await busy.append(SCOPE, entries(3))
    first = await busy.take(3)
    for _ in range(10):
        await asyncio.sleep(0.5)
        assert await busy.take(3) == first
        assert await other.take(3) == []
    await busy.close()
    await other.close()


async def test_nats_holds_the_bound_itself_and_doubles_nothing_of_what_fitted(
    open_nats: Callable[..., NatsInbox],
) -> None:
    inbox, tighter = open_nats(bound=10), open_nats(bound=4)
    known, new = entries(2), entries(3)
    await inbox.append(SCOPE, known)
    assert await tighter.pending() == 2  # it has set the broker's bound by now
    with pytest.raises(Unavailable) as refusal:
        await inbox.append(SCOPE, [*known, *new])
    assert refusal.value.retry_after
    assert await inbox.pending() == 4
    await inbox.ack([p.position for p in await inbox.take(2)])
    assert await inbox.append(SCOPE, new) == 1
    assert {p.event_id for p in await inbox.take(9)} == {e.event_id for e in new}
    await inbox.close()
    await tighter.close()


async def test_nats_stores_all_or_none_of_a_large_batch(
    open_nats: Callable[..., NatsInbox],
) -> None:
    inbox, tighter = open_nats(), open_nats(bound=299)
    batch, more = entries(150), entries(150)
    assert await inbox.append(SCOPE, batch) == 150
    assert await tighter.pending() == 150
    with pytest.raises(Unavailable):
        await inbox.append(SCOPE, more)
    assert await inbox.pending() == 150
    assert await inbox.append(SCOPE, [*batch, *more[:149]]) == 149
    taken = await inbox.take(300)
    assert [p.event_id for p in taken] == [e.event_id for e in (*batch, *more[:149])]
    await inbox.close()
    await tighter.close()


async def test_nats_says_of_an_event_it_cannot_take_that_it_is_too_large(
    open_nats: Callable[..., NatsInbox],
) -> None:
    inbox = open_nats()
    with pytest.raises(TooLarge, match="max_payload"):
        await inbox.append(SCOPE, [*entries(1), Entry(new_id(), b"x" * 1_040_000)])
    assert await inbox.pending() == 0
    largest = Entry(new_id(), b"x" * 1_030_000)
    await inbox.append(SCOPE, [largest, *entries(1)])
    await inbox.bury((await inbox.take(1))[0], "\U0001f4a5" * 9_999, 1)
    (letter,) = (await inbox.dead_letters(SCOPE, 9)).letters
    assert letter.body == largest.body
    await inbox.close()


async def test_nats_keeps_nothing_of_what_was_let_go(
    nats: NatsServer, open_nats: Callable[..., NatsInbox]
) -> None:
    inbox = open_nats()
    needle = new_id().encode()

    def found() -> bool:
        return any(needle in path.read_bytes() for path in nats.store.rglob("*.blk"))

    await inbox.append(SCOPE, [Entry(new_id(), needle * 100) for _ in range(50)])
    assert found()
    await inbox.ack([p.position for p in await inbox.take(50)])
    await inbox.maintain()
    assert not found()
    await inbox.close()


async def test_nats_brings_the_bound_up_to_date_and_leaves_the_rest(
    open_nats: Callable[..., NatsInbox],
) -> None:
    first = open_nats(bound=2)
    batch = entries(3)
    with pytest.raises(Unavailable):
        await first.append(SCOPE, batch)
    await first.close()
    second = open_nats(bound=3)
    assert await second.append(SCOPE, batch) == 3
    await second.close()
