"""A typed client of the HTTP API. Every tool of ours outside the worker goes through it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from claude_mem.sdk.errors import API, ApiError, NotReachable
from claude_mem.sdk.organisation import Organisation
from claude_mem.sdk.stream import Event, EventStream

_LONG_QUERY = 1_000  # characters: percent-encoded, a longer one may not fit into an address
_SILENCE_S = 45.0  # on a live stream: three heartbeats

__all__ = ["API", "ApiError", "Client", "Event", "EventStream", "NotReachable", "Receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """Events taken: new ones and known ones."""

    accepted: int
    duplicates: int


class Client:
    """`base_url` without the API root (`http://127.0.0.1:37700`); `socket`: go through a Unix socket instead.

    `trust_env`: heed the environment's proxies and certificates, which a server elsewhere may need.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        socket: str | None = None,
        timeout: float = 30.0,
        trust_env: bool = False,
    ) -> None:
        self.base_url = base_url
        self.organisation = Organisation(self)
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            transport=httpx.HTTPTransport(uds=socket) if socket else None,
            # A proxy has no business between a person and their own machine.
            trust_env=trust_env,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the connection."""
        self._http.close()

    def health(self, *, fresh: bool = False) -> dict[str, Any]:
        """The full health report; `fresh` has the rows of a large store counted anew."""
        return self.request("GET", "/health", params={"fresh": True} if fresh else None)

    def post_events(self, events: Sequence[dict[str, Any]]) -> Receipt:
        """Hand in 1 to 1000 events; on return they are on disk."""
        body = self.request("POST", "/events", json={"events": list(events)})
        return Receipt(body["accepted"], body["duplicates"])

    def search(self, q: str, **filters: Any) -> dict[str, Any]:
        """Search; `filters` are the endpoint's query parameters (None is left out)."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        if len(q) > _LONG_QUERY:
            return self.request("POST", "/search", json={"q": q, **wanted})
        return self.request("GET", "/search", params={"q": q, **wanted})

    def suggest(self, q: str, **options: Any) -> dict[str, Any]:
        """What a query may become; `options` are the endpoint's parameters (None is left out)."""
        wanted = {name: value for name, value in options.items() if value is not None}
        return self.request("GET", "/search/suggest", params={"q": q, **wanted})

    def similar(self, **asked: Any) -> dict[str, Any]:
        """Cases like a `text`, or like the `type` and `id` of something remembered; None is left out."""
        wanted = {name: value for name, value in asked.items() if value is not None}
        return self.request("POST", "/search/similar", json=wanted)

    def forget(
        self, what: str, *, entity_id: str | None = None, project: str | None = None
    ) -> dict[str, int]:
        """Take something out for good; returns how many of each kind went."""
        body = {"what": what, "id": entity_id, "project": project}
        forgotten: dict[str, int] = self.request("POST", "/forget", json=body)["forgotten"]
        return forgotten

    def wait_until_indexed(self, timeout: float = 60.0) -> bool:
        """Wait until nothing is waiting to be indexed; False when `timeout` seconds were not enough."""
        deadline = time.monotonic() + timeout
        while True:
            if self.health()["checks"]["inbox"]["pending"] == 0:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)

    def export_lines(self, **filters: Any) -> Iterator[bytes]:
        """The export as raw JSON lines, streamed."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        try:
            with self._http.stream("GET", f"{API}/export", params=wanted, timeout=None) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _api_error(answer)
                for line in answer.iter_lines():
                    if line:
                        yield line.encode()
        except httpx.TransportError as error:
            raise NotReachable(f"{self.base_url} does not answer: {error}") from error

    def stream(
        self,
        *,
        types: Sequence[str] = (),
        last_event_id: str | None = None,
        patience: float | None = None,
    ) -> EventStream:
        """What happens, as it happens: an iterator without end that comes back by itself when the stream is lost.

        `types`: only these; `last_event_id`: go on after that event; `patience`: seconds without a stream after which
        NotReachable is raised, None for never.
        """
        return EventStream(
            lambda last: self.open_stream(types, last),
            last_event_id=last_event_id,
            patience=patience,
        )

    @contextmanager
    def open_stream(self, types: Sequence[str], last: str | None) -> Iterator[Iterator[bytes]]:
        """One connection to the live stream, as bytes. Raises ApiError or NotReachable."""
        headers = {"Last-Event-ID": last} if last else {}
        params = {"types": ",".join(types)} if types else {}
        timeout = httpx.Timeout(self._http.timeout.connect, read=_SILENCE_S)
        try:
            with self._http.stream(
                "GET", f"{API}/stream/events", params=params, headers=headers, timeout=timeout
            ) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise _api_error(answer)
                yield answer.iter_bytes()
        except httpx.TransportError as error:
            raise NotReachable(f"{self.base_url} does not answer: {error}") from error

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """One call below the API root. Raises ApiError or NotReachable."""
        try:
            answer = self._http.request(method, f"{API}{path}", **options)
        except httpx.TransportError as error:
            raise NotReachable(f"{self.base_url} does not answer: {error}") from error
        if answer.status_code >= 400:
            raise _api_error(answer)
        body: dict[str, Any] = answer.json() if answer.content else {}
        return body


def _api_error(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    after = answer.headers.get("retry-after", "")
    seconds = float(after) if after.replace(".", "", 1).isdigit() else None
    return ApiError(answer.status_code, body if isinstance(body, dict) else {}, seconds)
