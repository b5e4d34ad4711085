"""Days in the zone of whoever asks, on both engines: in questions, in what is indexed, and after the zone changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from parity_support import SCOPE, Row, Side, on_postgres, on_sqlite

from claude_mem.domains.access import repository as organisation
from claude_mem.domains.capture.jobs import RebuildIndex
from claude_mem.domains.retrieval.model import IndexEntry, Query
from claude_mem.domains.retrieval.service import IndexingService
from claude_mem.kernel.clock import from_iso
from claude_mem.kernel.ids import new_id
from claude_mem.ports.queue import Job
from servers import Urls

pytestmark = pytest.mark.anyio
NOON = "2026-06-10T10:30:00Z"  # half past midnight of the 11th on Kiritimati, of the 9th still on Samoa
JOB = Job("1", "index.rebuild", "all", SCOPE.enterprise_id, {}, 1, 3)


@pytest.fixture(params=["sqlite", "postgres"])
async def side(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Side]:
    if request.param == "sqlite":
        async with on_sqlite(tmp_path) as made:
            yield made
    else:
        urls: Urls = request.getfixturevalue("postgres_urls")
        async with on_postgres(tmp_path, urls.runtime) as made:
            yield made


def said(moment: str, text: str) -> Row:
    data = {"content": text, "prompt_id": f"p {moment}"}
    common = {"agent": "claude-code", "session": moment, "project": "/p", "occurred_at": moment}
    return {"id": new_id(), "type": "prompt.submitted", **common, "data": data}


async def live_in(side: Side, zone: str | None) -> None:
    await side.write(lambda tx: organisation.change_enterprise(SCOPE, tx, {"timezone": zone}))


async def of_the_day(side: Side, question: str, now: str) -> set[str]:
    """Moments of the hits that the question's day speaks for."""
    found = await side.search.search(SCOPE, Query(question, limit=20), from_iso(now))
    assert found.hits
    dated = [it for it in found.hits if "date" in dict(it.reasons)]
    return {str(it.row["content"]).rpartition(" ")[2] for it in dated}


@pytest.mark.parametrize("question", ["what of the kettle flag yesterday?", "昨天 kettle flag"])
@pytest.mark.parametrize(
    ("zone", "yesterday"),
    [
        (None, "second"),
        ("Pacific/Kiritimati", "first"),
        ("Pacific/Pago_Pago", "second"),
        ("Asia/Shanghai", "second"),
        ("America/Los_Angeles", "first"),  # 06:59 UTC is a minute before their midnight
        ("America/Denver", "second"),
    ],
)
async def test_yesterday_is_that_of_the_zone_on_both_sides_of_the_date_line(
    side: Side, zone: str | None, yesterday: str, question: str
) -> None:
    await side.take(
        [
            said("2026-06-10T06:59:00Z", "the kettle flag was renamed: first"),
            said("2026-06-09T06:59:00Z", "the kettle flag was renamed: second"),
        ]
    )
    await live_in(side, zone)
    assert await of_the_day(side, question, NOON) == {yesterday}


SPRING = {"late": "2026-03-29T22:30:00Z", "early": "2026-03-28T23:30:00Z"}
AUTUMN = {"late": "2026-10-25T22:30:00Z", "early": "2026-10-24T22:30:00Z"}


@pytest.mark.parametrize(
    ("moments", "now", "days"),
    [
        # A day of 23 hours: half past ten UTC is the next day already, by summer time.
        (SPRING, "2026-03-30T10:00:00Z", {"early"}),
        # One of 25 hours: it began by summer time, and half past ten UTC is still of it, by winter time.
        (AUTUMN, "2026-10-26T10:00:00Z", {"late", "early"}),
    ],
)
async def test_days_on_which_clocks_change(
    side: Side, moments: dict[str, str], now: str, days: set[str]
) -> None:
    await side.take([said(moment, f"kettle flag, {name}") for name, moment in moments.items()])
    await live_in(side, "Europe/Berlin")
    assert await of_the_day(side, "the kettle flag yesterday", now) == days


async def test_what_a_text_says_of_days_is_in_the_zone_and_made_anew_when_that_changes(
    side: Side,
) -> None:
    async def finds(day: str) -> bool:
        found = await side.search.search(SCOPE, Query(f'"{day}"', fusion="lexical"))
        return bool(found.hits)

    async def is_current() -> bool:
        return await side.read(lambda tx: side.indexing.is_current(SCOPE, tx))

    rebuild = RebuildIndex(side.database, side.indexing)
    await side.take([said(NOON, "I fixed the tap yesterday")])
    assert (await finds("9 June 2026"), await finds("10 June 2026")) == (True, False)
    assert await is_current()
    await live_in(side, "Pacific/Kiritimati")
    assert not await is_current()
    await rebuild.run(SCOPE, JOB)
    assert await is_current()
    assert (await finds("9 June 2026"), await finds("10 June 2026")) == (False, True)
    await live_in(side, None)
    await rebuild.run(SCOPE, JOB)
    assert await is_current()
    assert await finds("9 June 2026")


async def test_a_renewal_for_another_zone_begins_afresh(side: Side) -> None:
    await side.take([said(NOON, "I fixed the tap yesterday")])
    await live_in(side, "Pacific/Kiritimati")
    await side.write(lambda tx: side.indexing.start_renewal(SCOPE, tx))
    await side.take([said("2026-06-10T10:31:00Z", "And the sink yesterday")])  # for Kiritimati
    await live_in(side, "Pacific/Pago_Pago")
    await RebuildIndex(side.database, side.indexing).run(SCOPE, JOB)
    found = await side.search.search(SCOPE, Query('"8 June 2026"', fusion="lexical"))
    assert len(found.hits) == 2
    assert await side.read(lambda tx: side.indexing.is_current(SCOPE, tx))


async def test_the_deployments_zone_is_noted_with_the_first_thing_that_is_indexed(
    side: Side,
) -> None:
    there = IndexingService(side.lexical, side.keeper, "Asia/Tokyo")
    assert await side.read(lambda tx: there.is_current(SCOPE, tx)), "there is nothing to make anew"
    entry = IndexEntry("prompt", new_id(), "", "tap", *[None] * 5, (), (), from_iso(NOON))
    await side.write(lambda tx: there.index(SCOPE, tx, [entry]))
    assert await side.read(lambda tx: there.is_current(SCOPE, tx))
    assert not await side.read(lambda tx: side.indexing.is_current(SCOPE, tx))
