"""Rate limits at the API, on both counters: who is held back, from what, and what they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from api_support import API, BASE, Api, refusal

from claude_mem.adapters.local.limits import LocalLimiter
from claude_mem.adapters.redis.connection import Connection
from claude_mem.adapters.redis.limits import RedisLimiter
from claude_mem.api.application import make_app
from claude_mem.api.throttle import Rates, Throttle, address
from claude_mem.kernel.errors import AuthInvalid, AuthMissing
from claude_mem.kernel.ids import new_id
from claude_mem.kernel.scope import ALL_PERMISSIONS, LOCAL_ENTERPRISE, LOCAL_USER, Scope
from claude_mem.ports.limits import Limiter
from redis_servers import RedisServer, redis_server

pytestmark = pytest.mark.anyio

pytestmark = pytest.mark.local

RATES = Rates(requests=5, events=1, searches=3, suggestions=4, strangers=6)
OTHER_USER, OTHER_TENANT = new_id(), new_id()
# token: enterprise, user
KEYS = {
    "one": (LOCAL_ENTERPRISE, LOCAL_USER),
    "two": (LOCAL_ENTERPRISE, LOCAL_USER),
    "colleague": (LOCAL_ENTERPRISE, OTHER_USER),
    "stranger": (OTHER_TENANT, LOCAL_USER),  # of another tenant, who says to be the same user
    "fast": (LOCAL_ENTERPRISE, LOCAL_USER),
}


@dataclasses.dataclass(frozen=True, slots=True)
class KeyScope(Scope):
    """A scope that knows the key that was shown."""

    key: str = ""


def authenticate(authorization: str | None) -> Scope:
    if not authorization:
        raise AuthMissing("this needs a key")
    token = authorization.removeprefix("Bearer ")
    if token not in KEYS:
        raise AuthInvalid("no such key")
    return KeyScope(*KEYS[token], ALL_PERMISSIONS, key=token)


def limit_of(scope: Scope) -> tuple[str, int] | None:
    assert isinstance(scope, KeyScope)
    return (scope.key, 50 if scope.key == "fast" else RATES.requests)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as made:
        yield made


@pytest.fixture(params=["local", "redis"])
async def limiter(request: pytest.FixtureRequest) -> AsyncIterator[Limiter]:
    made: Limiter = LocalLimiter(lambda: 0)
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.say("FLUSHALL")
        made = RedisLimiter(Connection(server.url, patience_s=10), lambda: 0)
    yield made
    await made.close()


class Door:
    """The application behind its limits, as clients of several addresses meet it."""

    def __init__(self, api: Api, limiter: Limiter, proxies: int = 0, rates: Rates = RATES) -> None:
        parts = dataclasses.replace(
            api.system.parts,
            authenticate=authenticate,
            throttle=lambda app: Throttle(app, limiter, rates, limit_of, proxies),
        )
        self._app = make_app(parts)

    async def ask(
        self,
        path: str,
        key: str | None = "one",
        method: str = "GET",
        client: str = "192.0.2.1",
        **more: Any,
    ) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if key is not None:
            headers["authorization"] = f"Bearer {key}"
        transport = httpx.ASGITransport(self._app, client=(client, 5), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as http:
            return await http.request(method, f"{API}{path}", headers=headers, **more)

    async def passed(
        self, times: int, path: str, key: str | None = "one", **more: Any
    ) -> list[int]:
        return [(await self.ask(path, key, **more)).status_code for _ in range(times)]


@pytest.fixture
def door(api: Api, limiter: Limiter) -> Door:
    return Door(api, limiter)


async def test_a_key_has_so_many_requests_and_is_told_about_them(door: Door) -> None:
    first = await door.ask("/sessions")
    assert first.status_code == 200
    told = {name: value for name, value in first.headers.items() if "ratelimit" in name}
    assert told == {
        "x-ratelimit-limit": "5",
        "x-ratelimit-remaining": "4",
        "x-ratelimit-reset": "12",
    }
    assert await door.passed(4, "/sessions") == [200] * 4
    refused = await door.ask("/sessions")
    body = refusal(refused, 429, "RATE_LIMITED")
    assert "requests" in body["error"]
    assert refused.headers["retry-after"] == "12"
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.headers["x-ratelimit-reset"] == "60"


async def test_each_key_and_each_tenant_has_its_own(door: Door) -> None:
    assert await door.passed(6, "/sessions") == [200] * 5 + [429]
    assert await door.passed(1, "/sessions", "two") == [200]
    assert await door.passed(1, "/sessions", "colleague") == [200]
    assert await door.passed(1, "/sessions", "stranger") == [200]


async def test_a_keys_own_number_counts(door: Door) -> None:
    assert (await door.ask("/sessions", "fast")).headers["x-ratelimit-limit"] == "50"
    assert await door.passed(10, "/sessions", "fast") == [200] * 10


async def test_searches_count_for_the_person_whatever_the_key(door: Door) -> None:
    search = {"params": {"q": "rounding"}}
    assert await door.passed(2, "/search", "one", **search) == [200, 200]
    assert await door.passed(1, "/search", "two", method="POST", json={"q": "rounding"}) == [200]
    assert await door.passed(1, "/search", "fast", **search) == [429]
    assert await door.passed(1, "/context", "fast", **search) == [429]  # made of a search
    assert await door.passed(1, "/search", "colleague", **search) == [200]
    assert await door.passed(1, "/search", "stranger", **search) == [200]


async def test_typing_and_recording_use_nothing_up_for_others(door: Door, api: Api) -> None:
    typed = await door.passed(5, "/search/suggest", params={"q": "ro"})
    assert typed[-1] == 429
    assert 429 not in typed[:-1]
    recorded = [
        await door.ask("/events", method="POST", json={"events": [api.event()]}) for _ in range(11)
    ]
    assert [it.status_code for it in recorded] == [202] * 10 + [429]
    assert recorded[0].headers["x-ratelimit-limit"] == "10"
    assert await door.passed(3, "/search", params={"q": "rounding"}) == [200] * 3
    assert await door.passed(5, "/sessions") == [200] * 5


async def test_events_count_one_by_one_and_a_batch_is_taken_whole_or_not_at_all(
    door: Door, api: Api
) -> None:
    batch = {"events": [api.event() for _ in range(7)]}
    taken = await door.ask("/events", method="POST", json=batch)
    assert taken.json()["accepted"] == 7
    assert taken.headers["x-ratelimit-remaining"] == "3"
    again = {"events": [api.event() for _ in range(4)]}
    refused = await door.ask("/events", method="POST", json=again)
    assert "events" in refusal(refused, 429, "RATE_LIMITED")["error"]
    await api.settle()
    assert (await api.counts())["prompts"] == 7


async def test_a_batch_above_the_limit_passes_when_nothing_else_is_asked(
    door: Door, api: Api
) -> None:
    batch = {"events": [api.event() for _ in range(12)]}
    assert (await door.ask("/events", method="POST", json=batch)).json()["accepted"] == 12
    assert (await door.ask("/events", method="POST", json=batch)).status_code == 429


async def test_an_enterprise_has_so_many_searches_whoever_asks(api: Api, limiter: Limiter) -> None:
    door = Door(api, limiter, rates=dataclasses.replace(RATES, enterprise_searches=4))
    search = {"params": {"q": "rounding"}}
    assert await door.passed(4, "/search", "one", **search) == [200] * 3 + [429], "its own limit"
    assert await door.passed(1, "/search", "colleague", **search) == [200], "nothing was used up"
    refused = await door.ask("/search", "colleague", **search)
    assert "searches of your enterprise" in refusal(refused, 429, "RATE_LIMITED")["error"]
    assert refused.headers["retry-after"] == "15"
    assert refused.headers["x-ratelimit-limit"] == "4"
    assert await door.passed(1, "/search", "stranger", **search) == [200], "another enterprise"
    assert await door.passed(1, "/sessions", "colleague") == [200], "no search"


async def test_an_enterprise_has_so_many_events_whatever_the_keys(
    api: Api, limiter: Limiter
) -> None:
    door = Door(api, limiter, rates=dataclasses.replace(RATES, enterprise_events=2))

    async def handed_in(key: str, count: int) -> httpx.Response:
        batch = {"events": [api.event() for _ in range(count)]}
        return await door.ask("/events", key, method="POST", json=batch)

    taken = await handed_in("one", 10)
    assert (taken.status_code, taken.headers["x-ratelimit-limit"]) == (202, "10")
    assert (await handed_in("colleague", 9)).status_code == 202
    refused = await handed_in("fast", 2)
    assert "events of your enterprise" in refusal(refused, 429, "RATE_LIMITED")["error"]
    assert int(refused.headers["retry-after"]) >= 1
    assert (await handed_in("stranger", 5)).status_code == 202, "another enterprise"
    await api.settle()
    assert (await api.counts())["prompts"] == 19, "what was refused is not recorded"


async def test_a_batch_above_the_enterprises_limit_passes_when_nothing_else_is_asked(
    api: Api, limiter: Limiter
) -> None:
    rates = dataclasses.replace(RATES, events=5, enterprise_events=1)
    door = Door(api, limiter, rates=rates)
    batch = {"events": [api.event() for _ in range(12)]}
    assert (await door.ask("/events", method="POST", json=batch)).status_code == 202
    assert (await door.ask("/events", "two", method="POST", json=batch)).status_code == 429


async def test_hooks_count_as_events(door: Door) -> None:
    statuses = []
    for _ in range(11):
        answer = await door.ask(
            "/hooks/claude-code",
            method="POST",
            json={"hook_event_name": "SessionEnd", "session_id": "s", "cwd": "/tmp/x"},
            headers={"x-event-id": new_id(), "x-event-time": "1790000000000"},
        )
        statuses.append(answer.status_code)
    assert statuses == [200] * 10 + [429]


async def test_strangers_are_counted_by_address_and_keys_still_open(door: Door) -> None:
    statuses = await door.passed(3, "/sessions", None) + await door.passed(3, "/sessions", "guess")
    assert statuses == [401] * 6
    refused = await door.ask("/sessions", "guess")
    refusal(refused, 429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "150"
    assert "www-authenticate" not in refused.headers
    assert await door.passed(1, "/sessions", None, client="192.0.2.2") == [401]
    # Whoever shares the address with one who guesses is not locked out.
    assert await door.passed(5, "/sessions", "one") == [200] * 5


@pytest.mark.parametrize(
    ("path", "key"),
    [
        *(
            (path, key)
            for path in ("/health/live", "/health/ready")
            for key in (None, "guess", "one")
        ),
        ("/health", None),
        ("/health", "guess"),
    ],
)
async def test_probes_are_never_held_back(door: Door, path: str, key: str | None) -> None:
    assert await door.passed(20, path, key) == [200] * 20
    assert await door.passed(1, "/sessions", key) == [200 if key == "one" else 401]


async def test_a_whole_report_counts_as_a_request(door: Door) -> None:
    assert 429 in await door.passed(20, "/health", "one")


async def test_behind_a_proxy_the_address_is_what_the_proxy_says(
    api: Api, limiter: Limiter
) -> None:
    door = Door(api, limiter, proxies=1)
    forged = [{"x-forwarded-for": f"10.9.9.{n}, 203.0.113.7"} for n in range(7)]
    statuses = [(await door.ask("/sessions", None, headers=it)).status_code for it in forged]
    assert statuses == [401] * 6 + [429]
    other = {"x-forwarded-for": "203.0.113.8"}
    assert (await door.ask("/sessions", None, headers=other)).status_code == 401


@pytest.mark.parametrize(
    ("client", "forwarded", "proxies", "found"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "10.0.0.1", 0, "192.0.2.1"),
        ("192.0.2.1", "10.0.0.1, 10.0.0.2", 1, "10.0.0.2"),
        ("192.0.2.1", "10.0.0.1,10.0.0.2", 2, "10.0.0.1"),
        ("192.0.2.1", "10.0.0.1", 2, "10.0.0.1"),
        ("192.0.2.1", "", 2, "192.0.2.1"),
        ("2001:db8:1:2:3::4", "", 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "[2001:db8::1]", 1, "2001:db8::/64"),
        ("192.0.2.1", "fe80::1%eth0", 1, "fe80::/64"),
        ("testclient", "", 0, "testclient"),
    ],
)
def test_an_address_is_taken_from_where_nobody_can_write(
    client: str, forwarded: str, proxies: int, found: str
) -> None:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert address({"client": (client, 5), "headers": headers}, proxies) == found


def test_a_unix_socket_has_one_address() -> None:
    assert address({"client": None, "headers": []}, 0) == ""


async def test_while_the_counter_is_away_the_process_counts_by_itself(
    api: Api, server: RedisServer
) -> None:
    with redis_server() as gone:
        url = gone.url
    connection = Connection(url)
    door = Door(api, RedisLimiter(connection, meanwhile=LocalLimiter(lambda: 0)))
    assert await door.passed(8, "/sessions") == [200] * 5 + [429] * 3
    assert await door.passed(8, "/sessions", None) == [401] * 6 + [429] * 2
    assert connection.tally.failed == 1
    assert connection.health()["status"] == "degraded"
    await connection.close()


async def test_without_a_throttle_nobody_is_held_back_or_told(api: Api) -> None:
    answers = [await api.client.get(f"{API}/sessions") for _ in range(8)]
    assert {it.status_code for it in answers} == {200}
    assert not any("ratelimit" in name for it in answers for name in it.headers)
