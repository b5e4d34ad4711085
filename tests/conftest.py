"""What every test shares: a private home, so that nothing of the person running the tests is touched."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio._backends._asyncio import TestRunner
from hypothesis import settings as hypothesis_settings

from claude_mem.adapters.onnx.folder import ModelFolder
from claude_mem.adapters.onnx.pinned import PRECISIONS
from claude_mem.app.build import System, build_local
from claude_mem.app.settings import load
from claude_mem.domains.access import service as access
from claude_mem.domains.context import answer
from claude_mem.kernel.scope import local_scope
from deployment import Servers
from nats_servers import nats_server
from redis_servers import redis_server
from servers import NoServer, PostgresServer, Urls, postgres_server

# How long a property takes says how busy the machine is.
hypothesis_settings.register_profile("untimed", deadline=None)
hypothesis_settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: at the end of a run, what is left is to be shared out in small pieces."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the product collects garbage in earnest, and would look through all of it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def runners_that_end() -> Iterator[None]:
    """End the task that anyio runs tests in instead of having it cancelled with its loop.

    The error of that cancellation outlives the loop, and by its traceback all that the fixtures made: hundreds of whole
    systems by the end of a run, which every collection of garbage looks through. `test_let_go.py` holds this to its word.
    """
    leave = TestRunner.__exit__

    def end_then_leave(self: TestRunner, *raised: Any) -> None:
        task = self._runner_task
        if task is not None and not task.done():
            self._send_stream.close()
            self.get_loop().run_until_complete(task)
        leave(self, *raised)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TestRunner, "__exit__", end_then_leave)
        yield


@pytest.fixture
def anyio_backend() -> str:
    """The one event loop the product runs on."""
    return "asyncio"


@pytest.fixture(autouse=True)
def private_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """HOME, the agent's folder and the data folder all lie in the test's own folder."""
    home = tmp_path / "home"
    home.mkdir()
    for name in [name for name in os.environ if name.startswith("CLAUDE")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / ".claude"))
    monkeypatch.setenv("CLAUDE_MEM_HOME", str(home / ".claude-mem"))
    # What would bring a model finds nothing, at once: no test asks a network.
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return home


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for context waits for it. Its deadlines are measured by the benchmark: here a busy machine must not
    decide what a session is told.
    """
    for name in ("START_S", "PROMPT_S", "PROMPT_LIMIT_S", "CATCH_UP_S"):
        monkeypatch.setattr(answer, name, 20.0)


@pytest.fixture(scope="session")
def model_folder() -> ModelFolder:
    """The embedding model in both precisions, with what it is made from; `make test` brings it once."""
    folder = ModelFolder(Path(sys.prefix) / "models")
    faults = [fault for it in PRECISIONS if (fault := folder.fault(it))]
    if faults:
        said = f"no embedding model for tests (make test brings it): {faults[0]}"
        if os.environ.get("CI") == "true":
            pytest.fail(said)
        pytest.skip(said)
    return folder


@pytest.fixture
async def system(private_home: Path) -> AsyncIterator[System]:
    """The local profile, running in this process, without its background loop: tests drain themselves."""
    settings = load(private_home / ".claude-mem")
    settings.home.mkdir(mode=0o700, parents=True)
    made = build_local(settings)
    database = made.parts.state["database"]
    await database.write(local_scope(), access.make_local_organisation)
    yield made
    await made.inbox.close()
    await database.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test process, started by the first test that asks for it."""
    try:
        with postgres_server() as server:
            yield server
    except NoServer as missing:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no PostgreSQL for tests: {missing}")


@pytest.fixture
def postgres_urls(postgres: PostgresServer) -> Iterator[Urls]:
    """A database of this test's own, at the newest schema: its addresses, by role."""
    urls = postgres.database()
    yield urls
    postgres.drop(urls)


@pytest.fixture(scope="session")
def servers(postgres: PostgresServer) -> Iterator[Servers]:
    """PostgreSQL, Redis and NATS of this test process, for tests that kill none of them."""
    with redis_server() as redis, nats_server() as nats:
        yield Servers(postgres, redis, nats)


# What a test asks of the whole system, it asks of both profiles: tests that name no engine run on each.
@pytest.fixture(params=["local", "server"])
def profile(request: pytest.FixtureRequest) -> str:
    """Which profile a test runs on; one that is about this machine's files is marked `local`."""
    wanted: str = request.param
    if wanted == "server" and request.node.get_closest_marker("local") is not None:
        pytest.skip("about the local profile's own files")
    return wanted
