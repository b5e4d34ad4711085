"""What one listener is told: first what it missed, from the journal, then what happens, from the feed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from claude_mem.domains.ops import model
from claude_mem.domains.ops.feed import Listener
from claude_mem.domains.ops.reading import Page
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.ids import first_id, id_epoch_ms
from claude_mem.kernel.mailbox import Mailbox
from claude_mem.kernel.scope import Scope
from claude_mem.ports.bus import LiveEvent

_RECENT_MS = 60_000  # for so long the feed may still tell what was read from the journal


class Stream:
    """One reader; closed by whoever opened it. `after` is the id of the event it goes on from, None for now."""

    def __init__(
        self,
        scope: Scope,
        options: model.LiveOptions,
        types: frozenset[str] | None,
        after: str | None,
        read: Callable[[str], Awaitable[Page]],
    ) -> None:
        self.scope = scope
        self.listener = Listener(Mailbox[LiveEvent](options.queue), types)
        self._options = options
        self._read = read
        self._joined = now_ms()
        self._known: set[str] = set()  # read from the journal, and perhaps told by the feed too
        self._pages = 0
        # Entries may have been committed late, before the one that is named.
        self._after = after and first_id(max(id_epoch_ms(after) - options.overlap_ms, 0))

    @property
    def began(self) -> str:
        """Where a listener resumes that was told nothing yet."""
        return self._after or first_id(self._joined)

    async def next(self, wait_s: float) -> list[LiveEvent] | None:
        """The next events, at most a page; [] when there was none for `wait_s` seconds; None at the end.

        It ends when the listener was too slow, or the process stops: it resumes where it was, perhaps elsewhere.
        """
        mailbox = self.listener.mailbox
        while self._after is not None and not mailbox.is_ended:
            if events := await self._missed():
                return events
        taken = await mailbox.take(wait_s)
        if taken is None or not self._known:
            return taken
        fresh = [event for event in taken if event.id not in self._known]
        if now_ms() - self._joined > _RECENT_MS:
            self._known.clear()
        return fresh

    async def _missed(self) -> list[LiveEvent]:
        """A page of what came after; when that are too many, the one event that says so."""
        if self._pages == self._options.replay:
            self._after = None
            return [model.reset_at(now_ms())]
        self._pages += 1
        page = await self._read(self._after or "")
        recent = first_id(self._joined - _RECENT_MS)
        self._known.update(it for it in page.fresh if it >= recent)
        self._after = page.last if page.is_full else None
        wanted = [model.chosen(event, self.listener.types) for event in page.events]
        return [event for event in wanted if event is not None]
