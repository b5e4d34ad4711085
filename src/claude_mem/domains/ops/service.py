"""Live streams of one process: who listens, how many may, and what a resumed stream is told first.

A stream joins its enterprise's feed, then reads from the journal what came after the event it names, then goes on with
what the feed tells; what it has read itself is not told again. So there is no gap, whichever replica it comes to.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from claude_mem.domains.ops import model
from claude_mem.domains.ops.feed import Feed
from claude_mem.domains.ops.reading import read_page
from claude_mem.domains.ops.stream import Stream
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.errors import Detail, Invalid, RateLimited, Unavailable
from claude_mem.kernel.ids import is_id, new_id
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import Bus, LiveEvent
from claude_mem.ports.database import Database

_RETRY_AFTER_S = 10


class LiveService:
    """One per process; made without an event loop, used within one."""

    def __init__(
        self, database: Database, bus: Bus, options: model.LiveOptions | None = None
    ) -> None:
        self._database = database
        self._bus = bus
        self._options = options or model.LiveOptions()
        self._feeds: dict[str, Feed] = {}
        self._streams: set[Stream] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def changed(self, scope: Scope, since: int) -> None:
        """A `memory.model.Changed`: say on every replica that there are new entries. Never fails."""
        await self._bus.publish(scope, [LiveEvent(new_id(), model.CHANGED, since, {})])

    async def index_updated(self, scope: Scope) -> None:
        """Say that the search index was made anew. Never fails."""
        await self._bus.publish(scope, [LiveEvent(new_id(), model.INDEX_UPDATED, now_ms(), {})])

    def count(self, scope: Scope) -> int:
        """How many streams of the enterprise are open in this process."""
        return sum(it.scope.enterprise_id == scope.enterprise_id for it in self._streams)

    async def open(
        self, scope: Scope, types: frozenset[str] | None = None, after: str | None = None
    ) -> Stream:
        """A stream of the enterprise's events from now on, or from those after the event `after`. Release it.

        Raises Invalid (naming the field), RateLimited when too many are open, Unavailable.
        """
        _check(types, after)
        self._check_room(scope)
        stream = Stream(
            scope,
            self._options,
            types,
            after,
            lambda place: read_page(scope, self._database, place, frozenset(), self._options),
        )
        self._streams.add(stream)
        try:
            await self._feed(scope).join(stream.listener)
        except BaseException:
            self.release(scope, stream)
            raise
        return stream

    def release(self, scope: Scope, stream: Stream) -> None:
        """Let a stream go; the feed of an enterprise to which nobody listens any more ends."""
        self._streams.discard(stream)
        feed = self._feeds.get(scope.enterprise_id)
        if feed is None:
            return
        feed.leave(stream.listener)
        if feed.is_idle:
            del self._feeds[scope.enterprise_id]
            closing = asyncio.create_task(feed.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End every stream, and open none any more. May be called again."""
        self._closed = True
        feeds, self._feeds = list(self._feeds.values()), {}
        for stream in list(self._streams):
            stream.listener.mailbox.end()
        await asyncio.gather(*(feed.close() for feed in feeds), *self._closing)

    def _feed(self, scope: Scope) -> Feed:
        found = self._feeds.get(scope.enterprise_id)
        if found is None:
            found = Feed(scope, self._database, self._bus, self._options)
            self._feeds[scope.enterprise_id] = found
        return found

    def _check_room(self, scope: Scope) -> None:
        if self._closed:
            raise Unavailable("this server is stopping: try again", retry_after=1)
        users = Counter((it.scope.enterprise_id, it.scope.user_id) for it in self._streams)
        options = self._options
        full = (
            users[scope.enterprise_id, scope.user_id] >= options.per_user
            or self.count(scope) >= options.per_enterprise
            or len(self._streams) >= options.per_process
        )
        if full:
            raise RateLimited(
                "too many live streams are open: close one and try again",
                retry_after=_RETRY_AFTER_S,
            )


def _check(types: frozenset[str] | None, after: str | None) -> None:
    unknown = sorted((types or frozenset()) - set(model.TYPES))
    if unknown or types == frozenset():
        known = ", ".join(model.TYPES)
        message = f"{', '.join(unknown)}: no such type" if unknown else "names no type"
        raise Invalid(
            f"types: {message}", details=(Detail("types", f"{message}; there are {known}"),)
        )
    if after is not None and not is_id(after):
        message = "expected the id of an event of this stream"
        raise Invalid(f"last_event_id: {message}", details=(Detail("last_event_id", message),))
