"""Rate limits: how many requests a minute a key, events a second, searches a person, and strangers an address may make.

Owns which limits a request counts against: one of its own kind, so that none can use up what another kind needs; what
costs most, events and searches, afterwards also against the enterprise's, so that many keys are no way around it.
Stands behind the gatekeeper, which has authenticated; strangers are counted when it has turned them away. Knows no
engine: the counter is a port.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from claude_mem.api.middleware import Application, Receive, Send
from claude_mem.kernel.errors import RateLimited
from claude_mem.kernel.scope import Scope
from claude_mem.ports.limits import Allowance, Limiter

_API = "/api/v1"
_EVENTS, _HOOKS = f"{_API}/events", f"{_API}/hooks/"
_SEARCH, _SUGGEST = f"{_API}/search", f"{_API}/search/suggest"
_CONTEXT = f"{_API}/context"  # made of a search
_HEALTH = "/health"
_PROBES = frozenset({"/health/live", "/health/ready"})  # ask often, and must learn the truth
_NOBODY = "anonymous"  # stands where an enterprise's id does; no id looks like it
_EVENT_WINDOW_S = 10  # so that a burst of ten seconds' worth passes
_MINUTE_S = 60
_STRANGER_WINDOW_S = 15 * 60

# What a caller's requests are counted under, and how many a minute it may make; None: its user, and the usual number.
LimitOf = Callable[[Scope], tuple[str, int] | None]


@dataclass(frozen=True, slots=True)
class Rates:
    """What is allowed. `requests` a minute are those of a key that says nothing of its own."""

    requests: int = 600
    events: int = 1_000  # a second, of a key
    searches: int = 120  # a minute, of a person, whatever keys
    suggestions: int = 600  # the same: one each key that is typed
    strangers: int = 100  # a quarter of an hour, of an address
    enterprise_events: int = 5_000  # a second, of all keys of an enterprise together
    enterprise_searches: int = 3_000  # a minute, of all its people together


@dataclass(frozen=True, slots=True)
class _Bucket:
    """What a request counts against: whose, which, how many `what` within how many seconds."""

    owner: str
    name: str
    limit: int
    window_s: int
    what: str
    shared: _Bucket | None = None  # of the whole enterprise, which it counts against as well


class Throttle:
    """An ASGI application around `app`.

    `proxies` is how many proxies of one's own a request comes through, each of which adds to `X-Forwarded-For`: what
    stands before what they added, anybody can write.
    """

    def __init__(
        self,
        app: Application,
        limiter: Limiter,
        rates: Rates,
        limit_of: LimitOf,
        proxies: int = 0,
    ) -> None:
        self._app = app
        self._limiter = limiter
        self._rates = rates
        self._limit_of = limit_of
        self._proxies = proxies

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI. Raises RateLimited, for the gatekeeper to render."""
        if scope["type"] == "http":
            caller: Scope | None = scope["state"].get("caller")
            path = scope["path"].removeprefix(_API)
            # With a key the report is whole, and costs queries; without one it is a word.
            is_probe = path in _PROBES or (path == _HEALTH and caller is None)
            if caller is not None and not is_probe:
                await self._known(scope, caller)
            elif not is_probe:
                await self.stranger(scope)
        await self._app(scope, receive, send)

    async def stranger(self, scope: MutableMapping[str, Any]) -> None:
        """Count a request of somebody who is not known, or was turned away. Raises RateLimited."""
        place = address(scope, self._proxies)
        most = self._rates.strangers
        bucket = _Bucket(_NOBODY, place, most, _STRANGER_WINDOW_S, "requests without a valid key")
        await self._spend(scope, bucket, 1)

    async def _known(self, scope: MutableMapping[str, Any], caller: Scope) -> None:
        bucket, is_batch = self._bucket(scope["method"], scope["path"], caller)
        await self._spend(scope, bucket, 1)
        if is_batch:

            async def spend(count: int) -> None:
                await self._spend(scope, bucket, count, spent=1)

            scope["state"]["spend"] = (
                spend  # whoever reads the body knows how many events there are
            )

    def _bucket(self, method: str, path: str, caller: Scope) -> tuple[_Bucket, bool]:
        rates, tenant, person = self._rates, caller.enterprise_id, caller.user_id
        key, requests = self._limit_of(caller) or (f"user {person}", rates.requests)
        if method == "POST" and (path == _EVENTS or path.startswith(_HOOKS)):
            most = rates.events * _EVENT_WINDOW_S
            all_events = rates.enterprise_events * _EVENT_WINDOW_S
            shared = _Bucket(tenant, "all events", all_events, _EVENT_WINDOW_S, _of_all("events"))
            bucket = _Bucket(tenant, f"events {key}", most, _EVENT_WINDOW_S, "events", shared)
            return bucket, path == _EVENTS
        if path == _SUGGEST:
            most = rates.suggestions
            bucket = _Bucket(tenant, f"suggest {person}", most, _MINUTE_S, "suggestions")
        elif path in (_SEARCH, _CONTEXT) or path.startswith(f"{_SEARCH}/"):
            all_searches, what = rates.enterprise_searches, _of_all("searches")
            shared = _Bucket(tenant, "all searches", all_searches, _MINUTE_S, what)
            name, most = f"search {person}", rates.searches
            bucket = _Bucket(tenant, name, most, _MINUTE_S, "searches", shared)
        else:
            bucket = _Bucket(tenant, f"requests {key}", requests, _MINUTE_S, "requests")
        return bucket, False

    async def _spend(
        self, scope: MutableMapping[str, Any], bucket: _Bucket, cost: int, spent: int = 0
    ) -> None:
        """Count `cost` of something, of which `spent` was counted before. Raises RateLimited.

        One's own limit first: who is above that uses nothing up for the others of the enterprise. The headers of an
        answer tell of one's own too, unless it is the enterprise's that refuses.
        """
        # What is as large as the limit must be able to pass.
        found = await self._limiter.hit(
            bucket.owner,
            bucket.name,
            bucket.limit,
            bucket.window_s,
            min(cost, bucket.limit) - spent,
        )
        if found.is_allowed and bucket.shared is not None:
            await self._spend(scope, bucket.shared, cost, spent)
        scope["state"]["answer_headers"] = _headers(found)
        if not found.is_allowed:
            raise RateLimited(
                f"too many {bucket.what}: {bucket.limit} within {bucket.window_s} s are allowed; "
                f"try again in {found.retry_s} s",
                retry_after=found.retry_s,
            )


def _of_all(what: str) -> str:
    return f"{what} of your enterprise"


def address(scope: MutableMapping[str, Any], proxies: int) -> str:
    """Where a request comes from; of an IPv6 address the network, for whoever has one has all of its addresses."""
    client = scope.get("client")
    text = str(client[0]) if client else ""
    if proxies:
        forwarded = [
            part.strip()
            for name, value in scope["headers"]
            if name == b"x-forwarded-for"
            for part in value.decode("latin-1").split(",")
        ]
        if forwarded:
            text = forwarded[-min(proxies, len(forwarded))]
    try:
        found = ipaddress.ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return text
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _headers(found: Allowance) -> list[tuple[bytes, bytes]]:
    """`Reset` in seconds from now, as `Retry-After` is: no clock has to agree with ours."""
    return [
        (b"x-ratelimit-limit", b"%d" % found.limit),
        (b"x-ratelimit-remaining", b"%d" % found.remaining),
        (b"x-ratelimit-reset", b"%d" % found.reset_s),
    ]
