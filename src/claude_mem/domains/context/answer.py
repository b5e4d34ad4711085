"""What a hook prints: context for SessionStart and UserPromptSubmit, within its deadline or not at all.

Implements `capture.model.ContextSource`. Owns what each running session was given; the table is the truth, what is held
here only saves reading it and bridges the moment until it is written (after the answer: an answer is not held up by the
disk). Must never raise into the door, and never answer late.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
import structlog

from claude_mem.domains.access import service as access
from claude_mem.domains.capture.model import ProjectKeys
from claude_mem.domains.context import repository
from claude_mem.domains.context.model import Ask, Context, Options, Rendered, texts_of, unit_keys
from claude_mem.domains.context.service import ContextService
from claude_mem.domains.context.working import WorkingMemory
from claude_mem.domains.memory.model import EntityRef
from claude_mem.domains.retrieval.hybrid import NO_MEANING, Meant
from claude_mem.kernel.clock import now_ms
from claude_mem.kernel.scope import Scope
from claude_mem.ports.cache import Cache
from claude_mem.ports.database import Database, Tx

START_S: Final = 0.18  # until SessionStart is answered: the hook waits 0.25 in all
PROMPT_S: Final = 0.036  # in which all work for a prompt is begun, and until it is answered:
PROMPT_LIMIT_S: Final = 0.15
EMBED_S: Final = 0.02  # a prompt's vector that takes longer is done without
CATCH_UP_S: Final = 0.08  # of it, for what was just recorded to become rows
_SHARE: Final = 0.75  # of the time, after which nothing more is begun
_REMEMBERED = 500  # sessions
_TEXTS = 150  # of what a session was given; a later repeat in other words is told from them
_GOING_ON = ("resume", "fork")  # what was given before is still in such a conversation
_CUTS = ("compact", "clear")
_MACHINE = frozenset({"system", "loop_wakeup", "schedule_wakeup", "poll_event"})
_WARM_AFTER_S: Final = 0.1  # an answer that is made must first go out
_LONGEST_PLACE, _LONGEST_SESSION = 4096, 200
_log = structlog.get_logger("context")


@dataclass(slots=True)
class _Seen:
    """What a session was given: keys of units, and the newest texts; `since` is when its conversation was last cut
    short.
    """

    units: set[str] = field(default_factory=set)
    texts: deque[str] = field(default_factory=lambda: deque(maxlen=_TEXTS))
    since: int = 0
    is_loaded: bool = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A context to be made: where, for which session (None: any), for which prompt (None: a beginning)."""

    place: str
    session: str | None = None
    prompt: str | None = None
    until: float = float("inf")
    working: bool = False
    meaning: Meant = NO_MEANING


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the answers stand on. `catch_up` makes rows of what waits; `project_keys` and `branch` look at folders.

    `warm` is called soon after an answer, for whoever asked will ask again; it returns at once. `shared`: other
    processes answer the same sessions, so that only the table knows what each was given, at once. `cache` is for
    working memory: worth it where the tables are behind a network.
    """

    database: Database
    rendered: Rendered
    project_keys: ProjectKeys
    pending: Callable[[], Awaitable[int]]
    catch_up: Callable[[], Awaitable[object]]
    branch: Callable[[str], str]
    warm: Callable[[], object] | None = None
    shared: bool = False
    cache: Cache | None = None


class HookContext:
    """One a process."""

    def __init__(self, service: ContextService, around: Surroundings, options: Options) -> None:
        self._service = service
        self._around = around
        self._options = options
        self.working = WorkingMemory(around.database, around.cache)
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._answering = 0
        self._answered = asyncio.Event()
        self._answered.set()

    async def answered(self) -> None:
        """Return when nobody waits for an answer."""
        await self._answered.wait()

    async def answer(self, scope: Scope, event: str, payload: dict[str, Any], place: str) -> bytes:
        """See the protocol."""
        self._answering += 1
        self._answered.clear()
        try:
            return await self._answer(scope, event, payload, place)
        finally:
            self._answering -= 1
            if not self._answering:
                self._answered.set()
            if self._around.warm is not None:
                asyncio.get_running_loop().call_later(_WARM_AFTER_S, self._around.warm)

    async def _answer(self, scope: Scope, event: str, payload: dict[str, Any], place: str) -> bytes:
        started = time.monotonic()
        at_start = event == "SessionStart"
        try:
            if at_start and self._options.at_start:
                async with asyncio.timeout(START_S):
                    text = await self._start(scope, payload, place, started)
            elif event == "UserPromptSubmit" and self._options.at_prompt:
                async with asyncio.timeout(PROMPT_LIMIT_S):
                    text = await self._prompt(scope, payload, place, started)
            else:
                return b""
        except TimeoutError:
            _log.warning(
                "context.late", hook_event=event, ms=round((time.monotonic() - started) * 1000)
            )
            text = await self._last_rendered(scope, payload, place) if at_start else ""
        except Exception as error:  # noqa: BLE001 - recording goes on whatever becomes of the context
            _log.error("context.failed", hook_event=event, exc_info=error)
            return b""
        return _body(event, text) if text else b""

    def forget(
        self, scope: Scope, tx: Tx, refs: Sequence[EntityRef], agent_session: str | None
    ) -> None:
        """See the protocol."""
        repository.drop_entities(scope, tx, refs)
        if agent_session is not None:
            repository.drop_session(scope, tx, agent_session)

    async def forgotten(self, scope: Scope, sessions: Sequence[str] = ()) -> None:
        """See the protocol."""
        await self.working.drop(scope, sessions)
        for key in [key for key in self._seen if key[0] == scope.enterprise_id]:
            self._seen.pop(key, None)
        await asyncio.to_thread(self._around.rendered.drop_all)

    async def refresh(self, scope: Scope, project_id: str) -> None:
        """Render anew what is kept for a project's places, after something was learned about it."""
        for place in await asyncio.to_thread(self._around.rendered.places, scope, project_id):
            await self._keep(scope, place, self._around.rendered.generation)

    async def settle(self) -> None:
        """Wait until everything noted is written."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(
        self, scope: Scope, payload: dict[str, Any], place: str, started: float
    ) -> str:
        waits = (
            await self._around.pending() > 0
        )  # asked first: this very event is about to be added
        session, place = _session_of(payload), place or _folder(payload)
        source = payload.get("source")
        seen = self._of(scope, session)
        if source in _CUTS:
            await self._cut_short(scope, session, seen, str(source))
        if waits:
            await self._caught_up()
        generation = self._around.rendered.generation
        self._note_given(scope, session, seen)
        wanted = _Wanted(place, session, until=started + START_S * _SHARE, working=source in _CUTS)
        _, context = await self._read(scope, wanted, seen)
        seen.texts.extend(_texts(context))
        await self._noted(scope, session, seen, context, "SessionStart")
        if not self._around.shared:
            self._later(self._keep(scope, place, generation))
        return context.text

    async def _prompt(
        self, scope: Scope, payload: dict[str, Any], place: str, started: float
    ) -> str:
        prompt = payload.get("prompt")
        if not isinstance(prompt, str) or prompt.lstrip().startswith("/"):
            return ""
        if payload.get("agent_id") or payload.get("source") in _MACHINE:
            return ""
        session, place = _session_of(payload), place or _folder(payload)
        seen = self._of(scope, session)
        # In no thread of its own: nearly always there is no such file, and a thread's turn costs milliseconds.
        self._note_given(scope, session, seen)
        meaning = await self._service.meaning(prompt, now_ms(), EMBED_S)
        wanted = _Wanted(place, session, prompt, until=started + PROMPT_S * _SHARE, meaning=meaning)
        try:
            _, context = await self._read(scope, wanted, seen)
        finally:
            meaning.drop()
        seen.texts.extend(_texts(context))
        await self._noted(scope, session, seen, context, "UserPromptSubmit")
        return context.text

    async def _last_rendered(self, scope: Scope, payload: dict[str, Any], place: str) -> str:
        """What was rendered last for the place, as the hook does it when there is no worker."""
        if payload.get("source") in _GOING_ON:
            return ""
        record = await asyncio.to_thread(
            self._around.rendered.load, scope, place or _folder(payload)
        )
        if record is None:
            return ""
        session = _session_of(payload)
        units = [(kind, one, unit) for kind, one, unit in record["units"]]
        self._note(scope, session, self._of(scope, session), units, "SessionStart")
        return str(record["text"])

    def _note_given(self, scope: Scope, session: str, seen: _Seen) -> None:
        """Take over what a hook says that it gave by itself, while no worker answered."""
        given = self._around.rendered.given(scope, session)
        self._note(scope, session, seen, [(k, i, u) for k, i, u in given], "SessionStart")

    async def _read(
        self, scope: Scope, wanted: _Wanted, seen: _Seen | None
    ) -> tuple[str | None, Context]:
        """(project, context); both of nothing where the place is not known."""
        key = self._around.project_keys(wanted.place)
        branch = "" if wanted.prompt is not None else self._around.branch(wanted.place)

        def work(tx: Tx) -> tuple[str | None, Context]:
            if seen is not None and wanted.session is not None:
                _load(scope, tx, wanted.session, seen)
            project = access.named_project(scope, tx, key)
            ask = self._ask(wanted, project, seen, branch)
            given = frozenset(seen.units) if seen is not None else frozenset()
            told = tuple(seen.texts) if seen is not None else ()
            context = self._service.assemble(scope, tx, ask, given, told)
            return (None if project is None else project[0]), context

        return await self._around.database.read(scope, work)

    def _ask(
        self, wanted: _Wanted, project: tuple[str, str] | None, seen: _Seen | None, branch: str
    ) -> Ask:
        options, at_start = self._options, wanted.prompt is None
        return Ask(
            project_id=project[0] if project else None,
            project=project[1] if project else "",
            query=wanted.prompt,
            budget=options.budget if at_start else options.prompt_budget,
            session=wanted.session,
            own_since=seen.since if seen is not None else 0,
            branch=branch,
            threshold=0.0 if at_start else options.threshold,
            now=now_ms(),
            until=wanted.until,
            with_working=wanted.working,
            meaning=wanted.meaning,
        )

    async def _keep(self, scope: Scope, place: str, generation: int) -> None:
        """Keep what a new session at a place would be told, whatever this one knows already."""
        project_id, context = await self._read(scope, _Wanted(place), None)
        if project_id is None:
            return
        record = {
            "place": place,
            "project_id": project_id,
            "text": context.text,
            "units": _units(context),
        }
        await asyncio.to_thread(self._around.rendered.save, scope, record, generation)

    async def _noted(
        self, scope: Scope, session: str, seen: _Seen, context: Context, event: str
    ) -> None:
        """Note what is about to be given; where others answer too, it is written before the answer goes out."""
        task = self._note(scope, session, seen, _units(context), event)
        if task is not None and self._around.shared:
            await asyncio.wait({task})

    def _of(self, scope: Scope, session: str) -> _Seen:
        if self._around.shared:
            return _Seen()
        key = (scope.enterprise_id, session)
        seen = self._seen.setdefault(key, _Seen())
        self._seen.move_to_end(key)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        return seen

    async def _cut_short(self, scope: Scope, session: str, seen: _Seen, source: str) -> None:
        now = now_ms()
        seen.units.clear()
        seen.texts.clear()
        seen.since, seen.is_loaded = now, True
        task = self._write(scope, lambda tx: repository.cut_short(scope, tx, session, source, now))
        if self._around.shared:  # over several connections what is noted next could come before it
            await asyncio.wait({task})

    def _note(
        self, scope: Scope, session: str, seen: _Seen, units: list[repository.Given], event: str
    ) -> asyncio.Task[Any] | None:
        if not units:
            return None
        now = now_ms()
        seen.units |= {unit for _, _, unit in units}
        return self._write(
            scope, lambda tx: repository.note_given(scope, tx, session, units, event, now)
        )

    async def _caught_up(self) -> None:
        """Let what was just recorded count, for a bounded time; it goes on in the background."""
        task = self._later(self._around.catch_up())
        await asyncio.wait({task}, timeout=CATCH_UP_S)

    def _write(self, scope: Scope, work: Callable[[Tx], None]) -> asyncio.Task[Any]:
        return self._later(self._around.database.write(scope, work))

    def _later(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        """Run it after the answer; what fails is logged, for there is nobody to tell."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - see above
                _log.error("context.not_noted", exc_info=error)

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _load(scope: Scope, tx: Tx, session: str, seen: _Seen) -> None:
    """What the table says a session was given, once."""
    if not seen.is_loaded:
        given, since = repository.given_units(scope, tx, session)
        seen.units |= given
        seen.since = max(seen.since, since)
        seen.is_loaded = True


def _texts(context: Context) -> Iterator[str]:
    for one in context.items:
        yield from texts_of(one.unit)


def _units(context: Context) -> list[repository.Given]:
    return [
        (one.unit.kind, one.unit.id, key) for one in context.items for key in unit_keys(one.unit)
    ]


def _session_of(payload: dict[str, Any]) -> str:
    """As the wire event names it."""
    return str(payload.get("session_id"))[:_LONGEST_SESSION]


def _folder(payload: dict[str, Any]) -> str:
    cwd = payload.get("cwd")
    return cwd[:_LONGEST_PLACE] if isinstance(cwd, str) else ""


def _body(event: str, text: str) -> bytes:
    """The JSON that the client takes for added context."""
    given = {"hookEventName": event, "additionalContext": text}
    return orjson.dumps({"hookSpecificOutput": given})
