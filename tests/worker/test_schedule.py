"""Scheduled work: done by whoever holds the lease, and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from claude_mem.kernel.errors import Unavailable
from claude_mem.worker.schedule import Schedule, Task


class Paper:
    """A lease for one process: whoever asks first has it until it is given back."""

    holder: object = None

    def __init__(self, shared: type[Paper]) -> None:
        self._shared = shared
        self.fault: Exception | None = None

    async def take(self) -> bool:
        if self.fault is not None:
            raise self.fault
        if self._shared.holder is None:
            self._shared.holder = self
        return self._shared.holder is self

    async def give_back(self) -> None:
        if self._shared.holder is self:
            self._shared.holder = None


@pytest.fixture
def shared() -> type[Paper]:
    return type("Shared", (Paper,), {})


@pytest.fixture
async def made() -> AsyncIterator[list[Schedule]]:
    schedules: list[Schedule] = []
    yield schedules
    for schedule in schedules:
        await schedule.stop()


async def until(said: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not said():  # noqa: ASYNC110 - what is awaited is another task's state
            await asyncio.sleep(0.005)


async def test_one_leads_and_its_successor_goes_on(
    shared: type[Paper], made: list[Schedule]
) -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        done.append(number)

    for number in range(2):
        tasks = [Task("count", 0.01, lambda number=number: work(number))]  # type: ignore[misc]
        made.append(Schedule(Paper(shared), tasks, 0.005))
        made[-1].start()
        await until(lambda: made[0].leads)
    await until(lambda: len(done) >= 3)
    assert set(done) == {0}
    assert [it.leads for it in made] == [True, False]
    await made[0].stop()
    await until(lambda: 1 in done)
    assert made[1].leads


async def test_a_task_that_fails_is_shown_and_done_again(
    shared: type[Paper], made: list[Schedule]
) -> None:
    runs = 0

    async def work() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError("not yet")

    schedule = Schedule(Paper(shared), [Task("brittle", 0.0, work)], 0.005)
    made.append(schedule)
    schedule.start()
    await until(lambda: schedule.failing)
    assert schedule.failing == {"brittle": "not yet"}
    await until(lambda: not schedule.failing)
    assert runs >= 3


async def test_a_lease_that_cannot_be_asked_for_is_none(
    shared: type[Paper], made: list[Schedule]
) -> None:
    async def work() -> None:
        return None

    lease = Paper(shared)
    schedule = Schedule(lease, [Task("any", 1.0, work)], 0.005)
    made.append(schedule)
    schedule.start()
    await until(lambda: schedule.leads)
    lease.fault = Unavailable("the database is away")
    await until(lambda: not schedule.leads)
    lease.fault = None
    await until(lambda: schedule.leads)


async def test_a_task_that_takes_long_runs_once_at_a_time(
    shared: type[Paper], made: list[Schedule]
) -> None:
    running, most, rounds = 0, 0, 0

    async def work() -> None:
        nonlocal running, most, rounds
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.03)
        running -= 1
        rounds += 1

    schedule = Schedule(Paper(shared), [Task("slow", 0.0, work)], 0.002)
    made.append(schedule)
    schedule.start()
    await until(lambda: rounds >= 3)
    assert most == 1
